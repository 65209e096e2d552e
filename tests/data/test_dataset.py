"""Dataset: splits keep the dtype of the ids, and batches do not depend on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from nanollm.config import ModelConfig, TrainConfig
from nanollm.data.dataset import Dataset
from nanollm.errors import InputError
from nanollm.model import TransformerLanguageModel
from nanollm.train.evaluation import evaluate

N, B, T = 500, 4, 16
IDS = np.arange(N) % 200
MODEL = ModelConfig(vocab_size=200, embedding_dim=8, num_heads=1, context_length=T)


def mapped(path: Path) -> np.memmap:
    IDS.astype(np.uint16).tofile(path)
    return np.memmap(path, np.uint16, mode="c")


OTHERS = {
    "tensor": lambda _: torch.from_numpy(IDS),
    "list": lambda _: IDS.tolist(),
    "mapped": mapped,
    "backwards": lambda _: IDS[::-1].copy()[::-1],
    "in steps": lambda _: np.repeat(IDS, 2)[::2],
    "read-only": lambda _: np.frombuffer(IDS.tobytes(), IDS.dtype),
}


@pytest.mark.parametrize("kind", ["uint8", "uint16", "uint32", "int32", "int64", ">u2", *OTHERS])
@pytest.mark.filterwarnings("error")
def test_batches_do_not_depend_on_the_dtype(tmp_path: Path, kind: str) -> None:
    data = Dataset.from_ids(OTHERS[kind](tmp_path / "ids") if kind in OTHERS else IDS.astype(kind), 0.1)
    assert (len(data.train), len(data.val)) == (450, 50)
    data.check(MODEL, TrainConfig())
    starts = torch.randint(450 - T, (B, 1), generator=torch.Generator().manual_seed(7))
    windows = torch.from_numpy(IDS)[starts + torch.arange(T + 1)]
    read, next_ones = data.batch(B, T, torch.Generator().manual_seed(7))
    assert read.dtype == next_ones.dtype == torch.int64
    assert torch.equal(read, windows[:, :-1]) and torch.equal(next_ones, windows[:, 1:])


def test_ids_are_not_copied() -> None:
    ids = IDS.astype(np.uint16)
    data = Dataset.from_ids(ids, 0.1)
    assert np.shares_memory(data.train, ids) and np.shares_memory(data.val, ids)


@pytest.mark.parametrize("ids", [[], [0.5], [[1, 2]], [True, False], np.zeros(3), torch.zeros(3)])
def test_ids_that_are_not_a_sequence_of_integers_are_rejected(ids: object) -> None:
    with pytest.raises(InputError, match="one-dimensional sequence of integers"):
        Dataset.from_ids(ids, 0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int64])
@pytest.mark.parametrize("place", [0, N - 1])
def test_ids_outside_of_the_vocabulary_are_rejected(dtype: type, place: int) -> None:
    ids = IDS.astype(dtype)
    ids[place] = 200
    with pytest.raises(InputError, match="from 0 to 199"):
        Dataset.from_ids(ids, 0.1).check(MODEL, TrainConfig())
    ids[place] = 199
    Dataset.from_ids(ids, 0.1).check(MODEL, TrainConfig())


def test_negative_ids_are_rejected() -> None:
    with pytest.raises(InputError, match="from 0 to 199"):
        Dataset.from_ids(IDS - 1, 0.1).check(MODEL, TrainConfig())


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs /proc/self/smaps")
def test_memory_mapped_ids_are_not_loaded_completely(tmp_path: Path) -> None:
    path, random = tmp_path / "ids", torch.Generator().manual_seed(7)

    def held() -> int:
        _, about = Path("/proc/self/smaps").read_text().split(str(path))
        return 1024 * int(about.split("Rss:")[1].split()[0])

    np.zeros(4 * 2**20, np.uint16).tofile(path)
    data = Dataset.from_ids(np.memmap(path, np.uint16, mode="c"), 0.1)
    assert held() == 0
    assert not data.batch(64, T, random)[0].any() and held() == 0
    evaluate(TransformerLanguageModel.from_config(MODEL), data.train)
    assert held() == 0
    data.train.sum()
    assert held() > 7 * 2**20
