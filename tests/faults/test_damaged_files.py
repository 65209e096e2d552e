"""FAULTS A2, A5: whatever a disk does to a file is noticed before a number of it is used; so is another format.

And C8: so is what somebody has put into it on purpose.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nanollm import checkpoint
from nanollm.checkpoint import load_checkpoint, load_model, save_checkpoint
from nanollm.config import ModelConfig, TrainConfig
from nanollm.errors import InputError
from nanollm.model import TransformerLanguageModel
from nanollm.tokenizer import CharTokenizer
from nanollm.train import Dataset, TrainState, train
from tests.conftest import random_model

VOCABULARY = '\n "\\,/:abdegist{}\u00e9\u2028🦊'  # what JSON must escape, and the digest's own words
CONFIG = ModelConfig(len(VOCABULARY), embedding_dim=8, num_layers=2, ffn_hidden_dim=12, context_length=6)
TRAINING = TrainConfig(num_steps=3, batch_size=2, precision="float32", threads=1)

Load = Callable[[Path], Any]


@pytest.fixture(scope="module", params=["checkpoint", "checkpoint into a model", "resume file"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Load]:
    """A whole file, and what is asked to read it."""
    path = tmp_path_factory.mktemp("files") / "file.safetensors"
    state = TrainState.new(random_model(CONFIG), TRAINING)
    data = Dataset.from_ids([i % len(VOCABULARY) for i in range(200)], 0.1)
    list(train(state, data, TRAINING))
    load: Load = load_model
    if request.param == "resume file":
        state.save(path)
        load = lambda path: TrainState.load(path, TRAINING)  # noqa: E731
    else:
        save_checkpoint(path, state.model, step=3, tokenizer=CharTokenizer(VOCABULARY), train_config=TRAINING)
        if request.param == "checkpoint into a model":
            load = lambda path: load_checkpoint(path, random_model(CONFIG))  # noqa: E731
    load(path)  # as it is, it can be read
    return path, load


def refused(saved: tuple[Path, Load], content: bytes) -> None:
    damaged = saved[0].with_name("damaged.safetensors")
    damaged.write_bytes(content)
    with pytest.raises(InputError, match=r"^damaged\.safetensors .*[:.]") as error:
        saved[1](damaged)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_a2_500_flipped_bits(saved: tuple[Path, Load]) -> None:
    whole, draw = saved[0].read_bytes(), random.Random(11)
    header = 8 + int.from_bytes(whole[:8], "little")
    # Half of them in the header, which is a small part of a real file but has more ways to be read wrongly.
    for bit in [draw.randrange(8 * header) for _ in range(250)] + [draw.randrange(8 * len(whole)) for _ in range(250)]:
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        refused(saved, bytes(content))


def test_a2_every_5_percent_cut_off_or_zeroed(saved: tuple[Path, Load]) -> None:
    whole = saved[0].read_bytes()
    edges = [len(whole) * percent // 100 for percent in range(0, 101, 5)]
    for start, end in itertools.pairwise(edges):
        refused(saved, whole[:start])
        zeroed = whole[:start] + bytes(end - start) + whole[end:]
        assert zeroed != whole
        refused(saved, zeroed)
    refused(saved, whole + b"\0")
    refused(saved, whole + whole)


@pytest.mark.parametrize("version", [0, 2, 99, "1", None])
def test_a5_another_format_is_named(saved: tuple[Path, Load], monkeypatch, version: object) -> None:
    other = saved[0].with_name("other.safetensors")
    tensors, facts = checkpoint.read_tensors(saved[0])
    facts.pop("format")
    monkeypatch.setattr(checkpoint, "FORMAT", version)
    checkpoint.write_tensors(other, tensors, facts)
    monkeypatch.undo()
    with pytest.raises(InputError) as error:
        saved[1](other)
    assert str(error.value) == (
        f"other.safetensors has format {version!r}, this nano-llm reads format {checkpoint.FORMAT}: update nano-llm."
    )


@pytest.mark.parametrize("mutations", [300, pytest.param(5_000, marks=pytest.mark.slow)])
def test_c8_a_hostile_file_is_refused_however_well_signed(
    saved: tuple[Path, Load], monkeypatch, mutations: int
) -> None:
    """Whoever makes a file can sign it, too: its header says anything, and nothing of that is believed."""
    whole, draw, refused = saved[0].read_bytes(), random.Random(13), 0
    header, rest = split(whole)
    for _ in range(mutations):
        changed = json.loads(json.dumps(header))
        for _ in range(draw.randint(1, 2)):
            mutate(changed, draw)
        hostile = saved[0].with_name("hostile.safetensors")
        hostile.write_bytes(signed(changed, rest if draw.random() < 0.8 else rest[: draw.randrange(len(rest))]))
        try:
            saved[1](hostile)
        except InputError as error:
            assert "\n" not in str(error) and len(str(error)) < 400
            refused += 1
    assert refused > mutations / 2  # the others said something harmless: another step, another loss


def test_c8_a_small_file_that_claims_to_be_a_large_model_makes_none(saved: tuple[Path, Load], monkeypatch) -> None:
    header, rest = split(saved[0].read_bytes())
    facts = json.loads(header["__metadata__"]["nanollm"])
    facts["model"] |= {"embedding_dim": 4096, "num_layers": 64, "ffn_hidden_dim": 16_384}
    header["__metadata__"]["nanollm"] = json.dumps(facts)
    hostile = saved[0].with_name("hostile.safetensors")
    hostile.write_bytes(signed(header, rest))

    def made(config: ModelConfig) -> None:
        assert config.embedding_dim < 4096, "50 GB would have been taken"

    unchanged = TransformerLanguageModel.from_config
    monkeypatch.setattr(TransformerLanguageModel, "from_config", lambda config: made(config) or unchanged(config))
    with pytest.raises(InputError):
        saved[1](hostile)


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    """A file's header and the tensors' bytes after it."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def signed(header: dict[str, Any], rest: bytes) -> bytes:
    """A file of this header with a digest that is right, wherever there is a place for it."""
    if isinstance(header.get("__metadata__"), dict) and "digest" in header["__metadata__"]:
        header["__metadata__"]["digest"] = "0" * 64
    line = json.dumps(header, separators=(",", ":")).encode()
    line = line.ljust(-(-len(line) // 8) * 8)
    content = len(line).to_bytes(8, "little") + line + rest
    unsigned = b'"digest":"' + b"0" * 64 + b'"'
    return content.replace(unsigned, b'"digest":"' + hashlib.sha256(content).hexdigest().encode() + b'"')


def mutate(header: dict[str, Any], draw: random.Random) -> None:
    """Change one thing that the header says: of a tensor, of the metadata, or in the facts inside them."""
    odd = [0, -1, 1, 2**31, 2**63, 1e308, "", "x" * 1000, None, [], {}, [[1]], True, "BF16", "F64", "I8", [8, 0], [-8]]
    metadata = header.get("__metadata__")
    told = metadata.get("nanollm") if isinstance(metadata, dict) else None
    facts = json.loads(told) if isinstance(told, str) and told.startswith("{") else {}
    places: list[dict[str, Any]] = [header, *(v for v in header.values() if isinstance(v, dict)), facts]
    places += [v for v in facts.values() if isinstance(v, dict)]
    place = draw.choice([place for place in places if place])
    name = draw.choice(list(place))
    kind = draw.random()
    if kind < 0.6:
        place[name] = draw.choice(odd)
    elif kind < 0.8:
        del place[name]
    else:
        place["another"] = place[name]
    if facts and isinstance(metadata, dict) and metadata.get("nanollm") == told:
        metadata["nanollm"] = json.dumps(facts)
