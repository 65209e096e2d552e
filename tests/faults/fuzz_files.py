"""Fuzzes the file readers with damaged and forged files: `python -m tests.faults.fuzz_files SEED COUNT`.

Runs in a separate process, because crashes and excessive memory use count as failures too: at most 0.5 GB above the
initial usage is allowed. Prints the number of refused and of harmless files and the CPU time in seconds of the slowest
one. Ends with a traceback at the first file that is neither.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import resource
import shutil
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nanollm.config import ModelConfig, TrainConfig
from nanollm.errors import InputError
from nanollm.explain.ablation import Means, load_means, save_means
from nanollm.explain.findings import load_findings, measure_findings, save_findings
from nanollm.inference.generate import generate_text
from nanollm.runs import run_files
from nanollm.runs.record import write_status
from nanollm.runs.store import CorpusRef, RunStore
from nanollm.runs.table import tabulate
from nanollm.runs.transfer.archive import export, import_
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import load_model, read_tensors, save_checkpoint, write_tensors
from nanollm.train.events import Eval, Start, Step, to_json
from nanollm.train.loop import TrainState
from tests.conftest import random_model

HALF_A_GIGABYTE = 2**29
VOCABULARY = "abcdefgh \n"
CONFIG = ModelConfig(len(VOCABULARY), embedding_dim=8, num_layers=2, ffn_hidden_dim=12, context_length=6)
TRAINING = TrainConfig(num_steps=3, batch_size=2, precision="float32", threads=1)
INVALID_VALUES: list[Any] = [
    *(None, True, -1, 0, 1, 3, 64, 4096, 16_384, 2**31, 2**63, 10**30, 1.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "nan", "../../evil", "/etc/passwd", "a" * 10_000, "\ud800", "=1+1", "<b>", [], {}, [[]], {"a": {}}),
    *(["a"] * 10, list(range(10)), "[" * 5_000, {str(i): i for i in range(100)}),
]
NAMES = ("../evil", "/tmp/evil", "a/../../evil", "evil\0.json", "x" * 300, ".hidden", "run.json/", "worker.lock", " ")


def main(seed: int, count: int) -> None:
    draw, refused, slowest = random.Random(seed), 0, 0.0
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        home = Path(place) / "home"
        originals = make(home)
        for kind, path in originals.items():
            assert READERS[kind](path, home / "store"), f"{kind}: whole"  # also loads all lazily imported modules
        before = sorted(Path(place).rglob("*"))
        limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + HALF_A_GIGABYTE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for number in range(count):
            kind = draw.choice(list(originals))
            file = home / "file"
            file.write_bytes(mutated(kind, originals[kind], draw))
            began = time.process_time()
            try:
                READERS[kind](file, home / "store")
            except InputError as error:
                refused += 1
                assert "\n" not in str(error) and len(str(error)) < 400, str(error)[:1000]
            except BaseException:
                print(f"number {number} of seed {seed}: {kind}", file=sys.stderr)
                raise
            slowest = max(slowest, time.process_time() - began)
            file.unlink()
            assert sorted(Path(place).rglob("*")) == before, "something was left behind"
    print(json.dumps({"refused": refused, "harmless": count - refused, "slowest": slowest}))


def make(home: Path) -> dict[str, Path]:
    """Write one intact file of each kind and return their paths."""
    state = TrainState.new(random_model(CONFIG), TRAINING)
    store, corpus = RunStore(home / "made"), CorpusRef("tale", "ab" * 32, 500, len(VOCABULARY))
    settings = {"embedding_dim": 8, "num_layers": 2, "ffn_hidden_dim": 12, "context_length": 6, "num_steps": 3}
    run = store.create(settings={**settings, "batch_size": 2}, corpus=corpus, queued=False)
    means = Means(torch.ones(2, CONFIG.heads, 8).numpy(), torch.ones(2, 8).numpy(), 100)
    for step in (0, 3):
        path = run.folder / f"checkpoint_{step:08d}.safetensors"
        how = {"tokenizer": CharTokenizer(VOCABULARY), "train_config": run.train_config, "val_loss": 2.0}
        model = random_model(run.model_config)
        save_checkpoint(path, model, step=step, **how)
        save_means(run_files.means_path(path), means)
        ids = np.arange(500) % len(VOCABULARY)
        save_findings(run_files.findings_path(path), measure_findings(model, how["tokenizer"], ids, means))
    start = Start(0, 3, "float32", 1, "cpu", "2", run.model_config.num_parameters, 450, 50)
    events = [start, Eval(0, 2.3, 2.3, 0.0), Step(3, 2.1, 0.1, 1.0, 36, 0.1, 360.0), Eval(3, 2.0, 2.0, 0.1, True)]
    (run.folder / run_files.METRICS).write_text("".join(to_json(event) + "\n" for event in events))
    (run.folder / run_files.BASELINES).write_text(
        json.dumps({"uniform": 2.3, "unigram": 2.2, "bigram": 2.1, "trigram": None, "counted": 450})
    )
    write_status(run.folder, "completed", step=3, seconds=0.1, val_loss=2.0)
    state.save(home / "resume")
    return {
        "checkpoint": run.snapshot(3).path,
        "means": run.snapshot(3).means_path,
        "findings": run.snapshot(3).findings_path,
        "resume file": home / "resume",
        "archive": export(run, home / "archive.zip"),
    }


def read_checkpoint(path: Path, _: Path) -> bool:
    loaded = load_model(path)
    with np.errstate(all="ignore"):  # finite weights may overflow
        return bool(generate_text(loaded.model, loaded.tokenizer, loaded.tokenizer.characters[0], 5))


def read_archive(path: Path, root: Path) -> bool:
    """Import an archive, read everything as the page does, and delete the run."""
    store = RunStore(root)
    try:
        run = import_(store, path)
    except InputError:
        assert not list(root.iterdir()), "something was left behind"
        root.rmdir()
        raise
    assert store.get(run.id).status().state in ("completed", "stopped", "diverged")
    assert tabulate(store.list()).csv() and run.curve()
    assert all(isinstance(event.step, int) for event in run.events())
    assert run.baselines is None or run.baselines.uniform > -1e300
    for snapshot in run.snapshots():
        assert snapshot.best in (True, False) and read_checkpoint(snapshot.path, root)
    store.delete(run.id)
    assert {left.name for left in root.iterdir()} <= {".lock"}
    shutil.rmtree(root)
    return True


READERS: dict[str, Callable[[Path, Path], object]] = {
    "checkpoint": read_checkpoint,
    "means": lambda path, _: load_means(path),
    "findings": lambda path, _: load_findings(path).context_use.sufficient_length(),
    "resume file": lambda path, _: TrainState.load(path, TRAINING),
    "archive": read_archive,
}


def mutated(kind: str, original: Path, draw: random.Random) -> bytes:
    content = original.read_bytes()
    ways = [flipped, cut, *([forged_entry, forged_names, bomb] if kind == "archive" else [signed, forged_header])]
    return draw.choice(ways)(content, draw)


def flipped(content: bytes, draw: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 8])):
        place = draw.choice([draw.randrange(len(changed)), draw.randrange(64), -1 - draw.randrange(100)])
        changed[place] = draw.randrange(256)
    return bytes(changed) if changed != content else b""


def cut(content: bytes, draw: random.Random) -> bytes:
    start, end = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    return draw.choice([content[:start], content[end:], content[:start] + content[end:], content + content[start:end]])


def signed(content: bytes, draw: random.Random) -> bytes:
    """Changed metadata or tensors with a valid digest."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        path.write_bytes(content)
        tensors, facts = read_tensors(path)
        facts.pop("format")
        if draw.random() < 0.5:
            insert_invalid_value(facts, draw)
        else:
            name = draw.choice(list(tensors))
            tensors[name] = draw.choice(CHANGES)(tensors[name])
        write_tensors(path, tensors, facts)
        return path.read_bytes()


CHANGES: list[Callable[[torch.Tensor], torch.Tensor]] = [
    lambda tensor: tensor.double(),
    lambda tensor: tensor.to(torch.int8),
    lambda tensor: tensor.to(torch.bfloat16),
    lambda tensor: tensor.bool(),
    lambda tensor: tensor.flatten().clone(),
    lambda tensor: tensor[None].clone(),
    lambda tensor: tensor[:0].clone() if tensor.dim() else torch.zeros(0),
    lambda tensor: torch.full_like(tensor.float(), torch.nan),
    lambda tensor: torch.full_like(tensor.float(), 3e38),
    lambda tensor: torch.zeros(()),
]


def forged_header(content: bytes, draw: random.Random) -> bytes:
    """The file's header with invalid values and a valid digest."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    facts = json.loads(header["__metadata__"]["nanollm"])
    insert_invalid_value(draw.choice([header, facts, facts.get("model") or facts]), draw)
    if isinstance(header.get("__metadata__"), dict) and isinstance(header["__metadata__"].get("nanollm"), str):
        header["__metadata__"] |= {"nanollm": json.dumps(facts), "digest": "0" * 64}
    text = json.dumps(header, separators=(",", ":")).encode()
    claimed = draw.choice([len(text), len(text), len(text) + 1, 0, 2**40, 2**63])
    unsigned = struct.pack("<Q", claimed) + text + content[8 + length :]
    return unsigned.replace(b'"digest":"' + b"0" * 64, b'"digest":"' + hashlib.sha256(unsigned).hexdigest().encode())


def insert_invalid_value(values: Any, draw: random.Random) -> None:
    """Insert an invalid value into nested values, or remove a value."""
    while True:
        keys = list(values) if isinstance(values, dict) else list(range(len(values)))
        if not keys:
            return
        key = draw.choice(keys)
        if not isinstance(values[key], (dict, list)) or draw.random() < 0.3:
            break
        values = values[key]
    if draw.random() < 0.2:
        del values[key]
    else:
        values[key] = draw.choice(INVALID_VALUES)


def forged_entry(content: bytes, draw: random.Random) -> bytes:
    """Change one file of the archive: its JSON or its content."""
    entries = unzipped(content)
    name = draw.choice([draw.choice(list(entries)), "run.json", "status.json", "metrics.jsonl", "baselines.json"])
    if name.endswith(".json"):
        facts = json.loads(entries[name])
        insert_invalid_value(facts, draw)
        entries[name] = json.dumps(facts).encode()
    elif name.endswith(".jsonl"):
        rows = [json.loads(line) for line in entries[name].splitlines()]
        insert_invalid_value(rows, draw)
        draw.choice([rows.reverse, rows.copy])()
        entries[name] = draw.choice([b"", b"[" * 100_000]) + b"\n".join(json.dumps(row).encode() for row in rows)
    else:
        ways = [flipped, cut, signed, forged_header] if name.endswith(".safetensors") else [flipped, cut]
        entries[name] = draw.choice(ways)(entries[name], draw)
    return zipped(entries, draw)


def forged_names(content: bytes, draw: random.Random) -> bytes:
    """Rename, duplicate or remove a file of the archive."""
    entries = unzipped(content)
    name, other = draw.choice(list(entries)), draw.choice([*NAMES, *entries])
    moved = entries.pop(name)
    if draw.random() < 0.7:
        entries[other] = moved
    return zipped(entries, draw)


def bomb(content: bytes, draw: random.Random) -> bytes:
    """A zip bomb: a file of zeros, or false numbers of files or sizes."""
    entries = unzipped(content)
    entries[draw.choice(["metrics.jsonl", "run.json", "checkpoint_00000001.safetensors"])] = bytes(80 * 2**20)
    packed = bytearray(zipped(entries, draw) if draw.random() < 0.1 else content)
    for place in draw.choice([[-12, -11], [-10, -9, -8, -7], [-6, -5, -4, -3], []]):
        packed[place] = draw.choice([255, 0, draw.randrange(256)])
    directory = [found.start() for found in re.finditer(b"PK\1\2", bytes(packed))]
    if directory:  # sizes in the central directory
        packed[draw.choice(directory) + draw.randrange(20, 28)] = draw.randrange(256)
    return bytes(packed)


def unzipped(content: bytes) -> dict[str, bytes]:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        with zipfile.ZipFile(file) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


def zipped(entries: dict[str, bytes], draw: random.Random) -> bytes:
    kinds = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2] if draw.random() < 0.3 else [0]
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", draw.choice(kinds)) as archive:
            for name, data in entries.items():
                archive.writestr(name, data)
        file.seek(0)
        return file.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
