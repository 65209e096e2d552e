"""Data-parallel training: several processes train one model, each on its shard of every batch.

torchrun starts the processes and sets RANK, WORLD_SIZE, MASTER_ADDR …; torch.distributed communicates through gloo
(CPUs) or nccl (GPUs). Each step averages the gradients over all ranks, so that their weights stay bit-identical. Only
tensors are sent, no pickles.
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

TIMEOUT_SECONDS = 300.0  # after which a rank counts as lost; evaluation and saving must take less
TIMEOUT_VARIABLE = "NANOLLM_RANK_TIMEOUT"


@dataclass(frozen=True)
class Ranks:
    """This process's rank in a distributed training, and the collective operations.

    All ranks must call every method except shard(). The methods raise PeerLostError if a rank ended or does not
    respond. With a world_size of 1 they do not communicate.
    """

    rank: int = 0
    world_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes files, evaluates and receives pause requests."""
        return self.rank == 0

    def shard(self, batch: Tensor) -> Tensor:
        """Return this rank's rows (B / world_size, T) of a batch (B, T) that is the same on all ranks."""
        return batch if self.world_size == 1 else batch.chunk(self.world_size)[self.rank]

    def all_reduce_mean(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over all ranks, in place.

        All tensors are sent as one: for small models, the latency of a message exceeds the time for its content
        (DistributedDataParallel sends several during the backward pass; compared in tests/benchmarks/distributed.py).
        """
        if self.world_size == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with _peer_errors():
            dist.all_reduce(flat)
        flat /= self.world_size
        for tensor, mean in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def all_reduce_max(self, number: int) -> int:
        """Return the maximum of the numbers of all ranks."""
        if self.world_size == 1:
            return number
        tensor = torch.tensor(number, device=_device())
        with _peer_errors():
            dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
        return int(tensor)

    def broadcast(self, numbers: Sequence[float | None]) -> list[float | None]:
        """Return the numbers of rank 0. The other ranks pass a sequence of the same length."""
        if self.world_size == 1:
            return list(numbers)
        known = [math.nan if number is None else number for number in numbers]
        tensor = torch.tensor(known, dtype=torch.float64, device=_device())
        with _peer_errors():
            dist.broadcast(tensor, src=0)
        return [None if math.isnan(number) else number for number in tensor.tolist()]

    def all_gather(self, state: Tensor) -> list[Tensor]:
        """Return the states (S,) uint8 of all ranks, on the CPU, in the order of the ranks."""
        if self.world_size == 1:
            return [state]
        own = state.to(_device())
        states = [torch.empty_like(own) for _ in range(self.world_size)]
        with _peer_errors():
            dist.all_gather(states, own)
        return [state.cpu() for state in states]

    def broadcast_bytes(self, content: bytes = b"") -> bytes:
        """Return the bytes of rank 0. The other ranks need not pass any."""
        if self.world_size == 1:
            return content
        size = torch.tensor(len(content), device=_device())
        with _peer_errors():
            dist.broadcast(size, src=0)
        own = torch.frombuffer(bytearray(content), dtype=torch.uint8) if self.is_main else torch.empty(int(size))
        tensor = own.to(_device(), torch.uint8)
        with _peer_errors():
            dist.broadcast(tensor, src=0)
        return tensor.cpu().numpy().tobytes()


SINGLE_PROCESS = Ranks()


@contextmanager
def process_group() -> Iterator[Ranks]:
    """Context manager: join the processes started by torchrun. Yields SINGLE_PROCESS if there are no others.

    Raises InputError if the other processes cannot be reached.
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
        store = _fresh_store(store, rank, world_size)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"The other processes cannot be reached ({error}): check the torchrun addresses.") from error
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


def _fresh_store(store: Store, rank: int, world_size: int) -> Store:
    """Return a section of the key-value store that contains nothing from ranks of an earlier start.

    torchrun keeps its store when it restarts the ranks, so PyTorch would read the addresses of processes that no longer
    exist. Therefore each rank sends a random request id, and rank 0 replies with the (random) name of the section.
    Raises RuntimeError if a rank does not respond in time.
    """
    if rank:
        request = secrets.token_hex(8)
        store.set(f"request {rank}", request)
        name = store.get(f"reply {request}").decode()  # blocks until it is set
        store.set(f"{rank} joined {name}", "")
        return PrefixStore(name, store)
    name, deadline = secrets.token_hex(8), time.monotonic() + _timeout()
    for other in range(1, world_size):
        while not store.check([f"{other} joined {name}"]):
            # The request may be that of an earlier start, so reply until the rank has joined.
            store.set(f"reply {store.get(f'request {other}').decode()}", name)
            if time.monotonic() > deadline:
                raise RuntimeError(f"rank {other} does not respond")
            time.sleep(0.02)
    return PrefixStore(name, store)


def exit_now(status: int) -> NoReturn:
    """Exit immediately: a normal interpreter shutdown may abort, because gloo does not join all of its threads."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@contextmanager
def _peer_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # raised by gloo and nccl, also for timeouts
        raise PeerLostError(f"Another process ended or does not respond ({error}).") from error


def local_world_size() -> int:
    """Return the number of ranks on this machine, which share its CPUs."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def was_restarted() -> bool:
    """Whether torchrun has restarted the ranks after one of them ended."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def _timeout() -> float:
    try:
        return max(1.0, float(os.environ.get(TIMEOUT_VARIABLE, TIMEOUT_SECONDS)))
    except ValueError as error:
        raise InputError(f"{TIMEOUT_VARIABLE} must be a number of seconds, such as 300.") from error


def _device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
