"""Training: the loop (a generator of events), the training step, its state, optimizers, evaluation and checkpoints.

`train`, `train_with_config`, `set_seed`, `load_checkpoint` and `save_checkpoint` are imported lazily (PEP 562), so that
modules without torch, such as `nanollm.train.events`, can be imported without loading it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanollm.train.checkpoint import load_checkpoint, save_checkpoint
    from nanollm.train.loop import set_seed, train, train_with_config

__all__ = ["load_checkpoint", "save_checkpoint", "set_seed", "train", "train_with_config"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'nanollm.train' has no attribute {name!r}")
    module = "checkpoint" if name.endswith("_checkpoint") else "loop"
    return getattr(import_module(f"nanollm.train.{module}"), name)
