"""Several processes that train one model: each learns from its share of every batch, and all take the same step.

torchrun starts the processes and tells each its place (RANK, WORLD_SIZE, MASTER_ADDR …); torch.distributed carries the
numbers, through gloo between processors and nccl between GPUs. What is exchanged at each step is one gradient, so
the ranks' weights stay equal bit by bit. Only tensors travel: nothing is pickled.
"""

from __future__ import annotations

import math
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from nanollm.errors import InputError, PeerLostError

TIMEOUT_SECONDS = 300.0  # a rank that is silent for so long has hung; evaluating and saving must fit in
TIMEOUT_VARIABLE = "NANOLLM_RANK_TIMEOUT"


@dataclass(frozen=True)
class Ranks:
    """This process's place among those that train together.

    Every method but share() must be called by all of them, and raises PeerLostError when one is gone or silent.
    """

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes, measures and is asked to pause."""
        return self.rank == 0

    def shard(self, batch: Tensor) -> Tensor:
        """This rank's rows of a batch (B, T) that all ranks have drawn alike: (B / world_size, T)."""
        return batch if self.world_size == 1 else batch.chunk(self.world_size)[self.rank]

    def all_reduce_mean(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over all ranks.

        All travel as one: a message costs more than what is in it as long as a model is small (PyTorch's
        DistributedDataParallel sends several, while the backward pass goes on; tests/benchmarks/distributed.py).
        """
        if self.world_size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with _talking():
            dist.all_reduce(flat)
        flat /= self.world_size
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def all_reduce_max(self, number: int) -> int:
        """The largest of the ranks' numbers."""
        if self.world_size == 1:
            return number
        tensor = torch.tensor(number, device=_device())
        with _talking():
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return int(tensor)

    def broadcast(self, numbers: Sequence[float | None]) -> list[float | None]:
        """The first rank's numbers; the others say only how many they expect."""
        if self.world_size == 1:
            return list(numbers)
        known = [math.nan if number is None else number for number in numbers]
        tensor = torch.tensor(known, dtype=torch.float64, device=_device())
        with _talking():
            dist.broadcast(tensor, src=0)
        return [None if math.isnan(number) else number for number in tensor.tolist()]

    def all_gather(self, state: Tensor) -> list[Tensor]:
        """Every rank's state (S,), uint8 on the processor, in the order of the ranks."""
        if self.world_size == 1:
            return [state]
        own = state.to(_device())
        states = [torch.empty_like(own) for _ in range(self.world_size)]
        with _talking():
            dist.all_gather(states, own)
        return [state.cpu() for state in states]

    def broadcast_bytes(self, content: bytes = b"") -> bytes:
        """The first rank's bytes, at every rank."""
        if self.world_size == 1:
            return content
        size = torch.tensor(len(content), device=_device())
        with _talking():
            dist.broadcast(size, src=0)
        own = torch.frombuffer(bytearray(content), dtype=torch.uint8) if self.is_main else torch.empty(int(size))
        tensor = own.to(_device(), torch.uint8)
        with _talking():
            dist.broadcast(tensor, src=0)
        return tensor.cpu().numpy().tobytes()


SINGLE_PROCESS = Ranks()


@contextmanager
def process_group() -> Iterator[Ranks]:
    """This process among those that torchrun started; SINGLE_PROCESS where nobody did.

    Raises InputError if the others cannot be reached.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1 or "RANK" not in os.environ:
        yield SINGLE_PROCESS
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    timeout = timedelta(seconds=_timeout())
    try:
        store, rank, world_size = next(rendezvous("env://", timeout=timeout))
        store.set_timeout(timeout)
        store = _fresh(store, rank, world_size)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"The other processes cannot be reached ({error}): check torchrun's addresses.") from error
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _fresh(store: Store, rank: int, world_size: int) -> Store:
    """A part of the store in which nothing was left by ranks that have ended since.

    torchrun keeps its store when it starts the ranks again, and PyTorch would find the addresses of the dead in it.
    So each of them asks with a number that is only known since now, and the first one, who answers those who ask,
    gives the part a name. Raises RuntimeError if one of them does not come.
    """
    if rank:
        question = secrets.token_hex(8)
        store.set(f"question {rank}", question)
        name = store.get(f"answer to {question}").decode()  # waits for it
        store.set(f"{rank} heard of {name}", "")
        return PrefixStore(name, store)
    name, deadline = secrets.token_hex(8), time.monotonic() + _timeout()
    for other in range(1, world_size):
        while not store.check([f"{other} heard of {name}"]):
            store.set(f"answer to {store.get(f'question {other}').decode()}", name)  # it may be that of a dead one
            if time.monotonic() > deadline:
                raise RuntimeError(f"number {other} of them is missing")
            time.sleep(0.02)
    return PrefixStore(name, store)


def exit_now(status: int) -> NoReturn:
    """End this process at once with an exit status: an orderly end may abort, as gloo does not join all its threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@contextmanager
def _talking() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # what gloo and nccl raise, a timeout included
        raise PeerLostError(f"Another of the processes ended or fell silent ({error}).") from error


def local_world_size() -> int:
    """How many of the processes run on this machine, and so share its processors."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def was_restarted() -> bool:
    """Whether torchrun has started these processes again after one of them ended."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def _timeout() -> float:
    try:
        return max(1.0, float(os.environ.get(TIMEOUT_VARIABLE, TIMEOUT_SECONDS)))
    except ValueError as error:
        raise InputError(f"{TIMEOUT_VARIABLE} must be a number of seconds.") from error


def _device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
