"""nano-llm: train small character-level Transformers, sample from them and inspect them.

The public names are imported lazily (PEP 562), so that `import nanollm` is fast and listing runs does not import torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nanollm.config import PRESETS, ModelConfig, TrainConfig, make_configs, preset
    from nanollm.data.corpus import CorpusStore
    from nanollm.data.dataset import Dataset
    from nanollm.errors import InputError
    from nanollm.explain.attention import attention_map
    from nanollm.inference.generate import generate, generate_text, generate_texts
    from nanollm.model import TransformerLanguageModel
    from nanollm.runs.process.launcher import Launcher
    from nanollm.runs.store import RunStore
    from nanollm.tokenizer import CharTokenizer
    from nanollm.train.checkpoint import load_checkpoint, load_model, save_checkpoint
    from nanollm.train.evaluation import evaluate
    from nanollm.train.loop import set_seed, train_with_config
    from nanollm.train.state import TrainState

# By default, the threads of GNU OpenMP, which PyTorch uses on Linux, wait for each other in a busy loop. If another
# process occupies a core, a training step then takes thirty times as long instead of twice. This limits the loop to
# microseconds. It must be set before torch is imported, and has no effect on other OpenMP libraries.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "1000"

# The module of each public name. `nanollm.train` is the package, so the function train() is not among them.
_MODULES = {
    "train.checkpoint": ("load_checkpoint", "load_model", "save_checkpoint"),
    "config": ("PRESETS", "ModelConfig", "TrainConfig", "make_configs", "preset"),
    "data.corpus": ("CorpusStore",),
    "data.dataset": ("Dataset",),
    "errors": ("InputError",),
    "train.evaluation": ("evaluate",),
    "explain.attention": ("attention_map",),
    "inference.generate": ("generate", "generate_text", "generate_texts"),
    "model": ("TransformerLanguageModel",),
    "runs.process.launcher": ("Launcher",),
    "runs.store": ("RunStore",),
    "tokenizer": ("CharTokenizer",),
    "train.loop": ("set_seed", "train_with_config"),
    "train.state": ("TrainState",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "PRESETS",
    "CharTokenizer",
    "CorpusStore",
    "Dataset",
    "InputError",
    "Launcher",
    "ModelConfig",
    "RunStore",
    "TrainConfig",
    "TrainState",
    "TransformerLanguageModel",
    "attention_map",
    "evaluate",
    "generate",
    "generate_text",
    "generate_texts",
    "load_checkpoint",
    "load_model",
    "make_configs",
    "preset",
    "save_checkpoint",
    "set_seed",
    "train_with_config",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'nanollm' has no attribute {name!r}")
    return getattr(import_module(f"nanollm.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
