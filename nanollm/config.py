"""Model and training configuration: two frozen dataclasses, the presets, and validation.

Constructing a config validates every field and raises InputError if one is invalid, so code that receives a config
need not check it again. All differences between the presets are in PRESETS: neither the model nor the training loop
depends on a preset's name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Literal

from nanollm.errors import InputError

MAX_SEED = 2**31 - 1
# Constants of the model, shared by its implementations in PyTorch and numpy.
EPSILON = 1e-5  # added to variances, to avoid division by zero
ROTARY_BASE = 10_000.0  # RoFormer §3.3.2: wavelengths from 2π to 2π · 10,000 characters


def _setting(default: Any, help: str, low: float | None = None, high: float | None = None, choices: tuple = ()) -> Any:
    """A config field with its help text and bounds, used by `--help`, the page, TRAINING.md and the validation."""
    return field(default=default, metadata={"help": help, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of a TransformerLanguageModel. Equal configs have state dicts of equal shapes."""

    # Number of distinct characters in the training text (one token per character).
    vocab_size: int = _setting(65, "number of distinct characters the model knows", 1, 20_000)
    # D: every character is a vector of this size in all layers.
    embedding_dim: int = _setting(32, "width of the residual stream: numbers per character", 1, 4096)
    num_layers: int = _setting(2, "number of Transformer blocks (attention, then feed-forward)", 1, 64)
    # F: usually 2 to 4 times embedding_dim.
    ffn_hidden_dim: int = _setting(64, "hidden width of each feed-forward network", 1, 16_384)
    # H: must divide embedding_dim; each head has width K = D / H. None selects the default.
    num_heads: int | None = _setting(None, "attention heads per layer; the default is 4 if the width allows", 1, 64)
    # T: also the length of the training windows.
    context_length: int = _setting(128, "context window: how many characters back the model can look", 1, 4096)
    # Applied to the output of both sub-layers, during training only.
    dropout: float = _setting(0.0, "probability of zeroing each output value of a sub-layer in training", 0.0, 0.9)
    # "rotary" rotates queries and keys (Su et al. 2021); "learned" adds a trained vector per position.
    position: str = _setting("rotary", "position encoding: rotary or learned", choices=("rotary", "learned"))
    # Henry et al. 2020: attention scores depend on the angle between query and key, not on their lengths.
    qk_norm: bool = _setting(False, "normalize queries and keys before their dot product (QK normalization)")

    def __post_init__(self) -> None:
        if self.num_heads is None:
            object.__setattr__(self, "num_heads", _default_heads(self.embedding_dim, self.position))
        _check_fields(self)
        if self.embedding_dim % self.heads:
            raise InputError(
                f"embedding_dim ({self.embedding_dim}) must be divisible by num_heads ({self.heads}). "
                "Choose a num_heads that divides it."
            )
        if self.position == "rotary" and self.head_dim % 2:
            raise InputError(
                f"embedding_dim / num_heads ({self.head_dim}) must be even for rotary positions. "
                'Change one of them, or use position="learned".'
            )

    @property
    def heads(self) -> int:
        """num_heads as an int: the constructor has replaced None by the default."""
        assert self.num_heads is not None
        return self.num_heads

    @property
    def head_dim(self) -> int:
        """Width K of each head's queries, keys and values."""
        return self.embedding_dim // self.heads

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters of the model."""
        d, f = self.embedding_dim, self.ffn_hidden_dim
        attention = d + 3 * d * d + d * d + d  # LayerNorm; queries, keys, values; output projection with bias
        feed_forward = d + d * f + f * d + d  # LayerNorm; up projection; down projection with bias
        positions = self.context_length * d if self.position == "learned" else 0
        return self.vocab_size * d + positions + self.num_layers * (attention + feed_forward) + d

    @property
    def flops_per_character(self) -> int:
        """Floating-point operations of a forward pass per character of a full window. A training step takes 3 times it.

        2 per weight of each matrix product, plus the two products of attention over the window (Kaplan et al. 2020,
        "Scaling Laws for Neural Language Models", table 1).
        """
        d, f = self.embedding_dim, self.ffn_hidden_dim
        weights = self.num_layers * (4 * d * d + 2 * d * f) + self.vocab_size * d
        return 2 * weights + self.num_layers * 4 * d * self.context_length


@dataclass(frozen=True)
class TrainConfig:
    """Training hyperparameters. None of them affects what a trained model computes."""

    # How much the model reads: num_steps * batch_size * context_length characters.
    num_steps: int = _setting(1000, "training steps (optimizer updates)", 1, 10_000_000)
    batch_size: int = _setting(32, "text windows per step", 1, 4096)

    # The optimizer. "muon" (Jordan et al. 2024) updates the matrices of the blocks, AdamW all other parameters.
    optimizer: str = _setting("adamw", "optimizer: adamw or muon", choices=("adamw", "muon"))
    accumulation_steps: int = _setting(
        1, "gradient accumulation: micro-batches per step; more use less memory", 1, 1024
    )
    # The schedule: linear warmup to learning_rate, then cosine decay to learning_rate * final_lr_fraction.
    learning_rate: float = _setting(1e-3, "peak learning rate, reached at the end of the warmup", 0.0, 1e9)
    warmup_steps: int = _setting(100, "steps of linear learning rate warmup", 0, 1_000_000)
    final_lr_fraction: float = _setting(0.1, "learning rate at the last step, as a fraction of the peak", 0.0, 1.0)
    # Decoupled weight decay (Loshchilov & Hutter 2019), on matrices only, not on gains and biases.
    weight_decay: float = _setting(0.1, "weight decay: pulls weight matrices toward zero", 0.0, 10.0)
    beta1: float = _setting(0.9, "AdamW: decay rate of the mean of past gradients", 0.0, 0.9999)
    beta2: float = _setting(0.99, "AdamW: decay rate of the mean of past squared gradients", 0.0, 0.99999)
    grad_clip: float = _setting(1.0, "clip gradients to this norm; 0 disables clipping", 0.0, 1e9)

    # The end of the text is the validation split: the model never trains on it.
    validation_fraction: float = _setting(0.1, "fraction of the text, at its end, used for validation", 0.0, 0.5)
    log_interval: int = _setting(10, "steps between points of the training loss curve", 1, 1_000_000)
    eval_interval: int = _setting(100, "steps between measurements of the validation loss", 1, 1_000_000)
    checkpoint_interval: int = _setting(500, "steps between files for resuming the training", 1, 1_000_000)

    # "auto" is resolved once per machine, torch version and shape (train/calibration.py), and recorded in the run.
    precision: str = _setting(
        "auto", "number format of matrix products; auto selects the fastest here", choices=("auto", "float32", "bf16")
    )
    threads: int | Literal["auto"] = _setting("auto", "CPU threads; auto selects the fastest number here", 1, 1024)
    attention_kernel: str = _setting(
        "auto",
        "attention in float32 on CPUs: auto compiles a faster kernel if there is a C compiler",
        choices=("auto", "pytorch", "compiled"),
    )
    seed: int = _setting(42, "random seed; the same seed reproduces the run", 0, MAX_SEED)

    def __post_init__(self) -> None:
        _check_fields(self)
        if self.batch_size % self.accumulation_steps:
            raise InputError(
                f"batch_size ({self.batch_size}) must be divisible by accumulation_steps ({self.accumulation_steps}). "
                "Choose an accumulation_steps that divides it."
            )


# Renamed fields: the old name, the new name, and what happens to the value.
_RENAMED = {
    "final_learning_rate": ("final_lr_fraction", "The value stays the same."),
    "similarity": ("qk_norm", 'Use true instead of "cosine" and false instead of "dot".'),
}

# The dimensions and num_steps of nano, small and medium are given; all other settings were tuned (TRAINING.md).
PRESETS: dict[str, dict[str, Any]] = {
    "sprint": dict(
        embedding_dim=128, num_layers=2, ffn_hidden_dim=384, num_steps=200, qk_norm=True,
        context_length=64, batch_size=32, optimizer="muon", learning_rate=2e-2, warmup_steps=10,
        final_lr_fraction=0.05, weight_decay=0.0, eval_interval=40, checkpoint_interval=80,
    ),
    "nano": dict(
        embedding_dim=32, num_layers=2, ffn_hidden_dim=64, num_steps=1000,
        context_length=64, batch_size=64, learning_rate=2e-2, final_lr_fraction=0.02, eval_interval=50,
    ),
    "small": dict(
        embedding_dim=64, num_layers=4, ffn_hidden_dim=128, num_steps=3000,
        context_length=128, batch_size=32, learning_rate=1e-2, final_lr_fraction=0.02, eval_interval=100,
    ),
    "medium": dict(
        embedding_dim=128, num_layers=6, ffn_hidden_dim=256, num_steps=10_000,
        context_length=192, batch_size=32, learning_rate=4e-3, final_lr_fraction=0.02, eval_interval=250, dropout=0.2,
    ),
}  # fmt: skip


def preset(name: str) -> dict[str, Any]:
    """Return a copy of a preset's settings. Raises InputError if there is no preset with this name."""
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(f"There is no preset {_shown(name)}: choose one of {', '.join(PRESETS)}.")
    return dict(PRESETS[name])


def make_configs(settings: Mapping[str, Any], vocab_size: int) -> tuple[ModelConfig, TrainConfig]:
    """Build both configs from one flat mapping of their fields; missing fields keep their defaults.

    Raises InputError for an unknown name (naming the closest known one), for the old name of a renamed field (naming
    the new one), and for a value out of bounds.
    """
    known = {f.name for f in (*fields(ModelConfig), *fields(TrainConfig))}
    for name in settings:
        if isinstance(name, str) and name in _RENAMED:
            new_name, value_change = _RENAMED[name]
            raise InputError(f"{name} is now {new_name}. {value_change}")
        if name not in known:
            nearest = difflib.get_close_matches(str(name), known, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"the settings are {', '.join(sorted(known))}."
            raise InputError(f"There is no setting {str(name)!r}: {hint}")
    pick = lambda cls: {f.name: settings[f.name] for f in fields(cls) if f.name in settings}  # noqa: E731
    model = ModelConfig(**{"vocab_size": vocab_size, **pick(ModelConfig)})
    if model.vocab_size != vocab_size:
        raise InputError(
            f"vocab_size is {model.vocab_size}, but the text has {vocab_size} distinct characters: omit vocab_size."
        )
    return model, TrainConfig(**pick(TrainConfig))


def require_enough_text(characters: int, model: ModelConfig, train: TrainConfig) -> None:
    """Raise InputError if the training split of a text with this many characters is shorter than one window."""
    training_characters = characters - int(characters * train.validation_fraction)
    if training_characters <= model.context_length:
        raise InputError(
            f"The training split has only {training_characters:,} characters, too few for a context_length of "
            f"{model.context_length}. Use a longer text or a smaller context_length."
        )


def current_names(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings read from a file, with field names of earlier versions replaced by the current ones."""
    settings = dict(stored)
    if "final_learning_rate" in settings:
        settings.setdefault("final_lr_fraction", settings.pop("final_learning_rate"))
    if "similarity" in settings:
        similarity = settings.pop("similarity")
        settings.setdefault("qk_norm", similarity == "cosine" if similarity in ("dot", "cosine") else similarity)
    return settings


def renamed_settings() -> tuple[str, ...]:
    """Former names of settings, which make_configs() rejects with an error that gives the current name."""
    return tuple(_RENAMED)


def to_dict(config: ModelConfig | TrainConfig) -> dict[str, Any]:
    """Return the config as a dict for JSON; `ModelConfig(**to_dict(config)) == config`."""
    return asdict(config)


def _default_heads(embedding_dim: Any, position: Any) -> int:
    """4 heads if the width is divisible by 4 (and rotary heads get an even width), else 3, 2 or 1."""
    if not isinstance(embedding_dim, Integral) or embedding_dim < 1:
        return 1  # _check_fields() reports the error
    width = 1 if isinstance(position, str) and position == "learned" else 2
    return next((heads for heads in (4, 3, 2) if embedding_dim % (heads * width) == 0), 1)


def _check_fields(config: ModelConfig | TrainConfig) -> None:
    for f in fields(config):
        object.__setattr__(config, f.name, _checked(f, getattr(config, f.name)))


def _checked(f: Field, value: Any) -> Any:
    """Return the value, with numpy numbers converted to Python numbers (JSON accepts no others).

    Raises InputError if the type is wrong or the value is out of bounds. NaN is out of bounds; bool is not a number.
    """
    low, high, choices = f.metadata["low"], f.metadata["high"], f.metadata["choices"]
    if choices:
        if not isinstance(value, str) or value not in choices:
            raise InputError(f"{f.name} is {_shown(value)}: choose one of {', '.join(choices)}.")
        return value
    if f.type == "bool":
        if not isinstance(value, bool):
            raise InputError(f"{f.name} is {_shown(value)}: it must be true or false.")
        return value
    if "auto" in str(f.type) and isinstance(value, str) and value == "auto":
        return value
    kind, words = (Real, "a number") if f.type == "float" else (Integral, "a whole number")
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:  # true for NaN
        raise InputError(f"{f.name} is {_shown(value)}: it must be {words} from {low:,.10g} to {high:,.10g}.")
    return int(value) if isinstance(value, Integral) else float(value)


def _shown(value: Any) -> str:
    """The value as quoted in an error message, at most 40 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        return "far too large"
    return text if len(text) <= 40 else text[:37] + "..."
