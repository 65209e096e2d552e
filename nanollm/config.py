"""What a model is and how it is trained: two frozen dataclasses, the presets, and what they cost.

A config that exists is valid: construction checks every field and raises InputError with a sentence. Scaling from nano
to medium happens here and nowhere else; no line of the model or of the training loop knows a preset's name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import Field, asdict, dataclass, field, fields
from numbers import Integral, Real
from typing import Any, Literal

from nanollm.errors import InputError

MAX_SEED = 2**31 - 1


def _setting(default: Any, help: str, low: float | None = None, high: float | None = None, choices: tuple = ()) -> Any:
    """A config field with its one-line explanation and its bounds; `--help`, the page and the checks all read them."""
    return field(default=default, metadata={"help": help, "low": low, "high": high, "choices": choices})


@dataclass(frozen=True)
class ModelConfig:
    """The shape of a TransformerLanguageModel: two configs that are equal have state dicts of the same shapes."""

    vocab_size: int = _setting(65, "how many different characters the model knows", 1, 20_000)
    embedding_dim: int = _setting(32, "width of the residual stream: how many numbers stand for one character", 1, 4096)
    num_layers: int = _setting(2, "how many blocks (attention, then feed-forward) follow each other", 1, 64)
    ffn_hidden_dim: int = _setting(64, "hidden width of each feed-forward network", 1, 16_384)
    num_heads: int | None = _setting(None, "attention heads in each layer; by default 4 where the width allows", 1, 64)
    context_length: int = _setting(128, "the window: how many characters back the model can look", 1, 4096)
    dropout: float = _setting(0.0, "share of each block's output silenced at random in training", 0.0, 0.9)
    position: str = _setting("rotary", "how the model knows the order of characters", choices=("rotary", "learned"))
    qk_norm: bool = _setting(False, "normalize queries and keys before their dot product (QK normalization)")

    def __post_init__(self) -> None:
        if self.num_heads is None:
            object.__setattr__(self, "num_heads", _default_heads(self.embedding_dim, self.position))
        _check_fields(self)
        if self.embedding_dim % self.heads:
            raise InputError(
                f"embedding_dim {self.embedding_dim} cannot be shared out among {self.heads} heads: "
                "choose num_heads so that it divides embedding_dim."
            )
        if self.position == "rotary" and self.head_dim % 2:
            raise InputError(
                f"Rotary positions turn pairs of numbers, and in heads of width {self.head_dim} one is left over: "
                'make embedding_dim / num_heads even, or use position="learned".'
            )

    @property
    def heads(self) -> int:
        """num_heads once construction has settled its default."""
        assert self.num_heads is not None
        return self.num_heads

    @property
    def head_dim(self) -> int:
        """Width of one head's queries, keys and values."""
        return self.embedding_dim // self.heads

    @property
    def num_parameters(self) -> int:
        """How many numbers training adjusts: the sizes of model.py's tensors, added up."""
        d, f = self.embedding_dim, self.ffn_hidden_dim
        attention = d + 3 * d * d + d * d + d  # LayerNorm; queries, keys, values; output projection with its bias
        feed_forward = d + d * f + f * d + d  # LayerNorm; up; down with its bias
        positions = self.context_length * d if self.position == "learned" else 0
        return self.vocab_size * d + positions + self.num_layers * (attention + feed_forward) + d

    @property
    def flops_per_character(self) -> int:
        """Floating-point operations of one forward pass, per character of a full window; training takes three times it.

        Two for each weight of a matrix product, plus attention's two products over the window (Kaplan et al. 2020,
        "Scaling Laws for Neural Language Models", table 1).
        """
        d, f = self.embedding_dim, self.ffn_hidden_dim
        weights = self.num_layers * (4 * d * d + 2 * d * f) + self.vocab_size * d
        return 2 * weights + self.num_layers * 4 * d * self.context_length


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. Nothing in it changes what a finished model computes."""

    num_steps: int = _setting(1000, "training steps", 1, 10_000_000)
    batch_size: int = _setting(32, "windows of text in one step", 1, 4096)
    optimizer: str = _setting("adamw", "how gradients become updates", choices=("adamw", "muon"))
    accumulation_steps: int = _setting(1, "pieces that a batch is computed in; more take less memory", 1, 1024)
    learning_rate: float = _setting(1e-3, "highest learning rate, reached after the warm-up", 0.0, 1e9)
    warmup_steps: int = _setting(100, "steps in which the learning rate climbs from zero", 0, 1_000_000)
    final_lr_fraction: float = _setting(0.1, "learning rate at the last step, as a fraction of the peak", 0.0, 1.0)
    weight_decay: float = _setting(0.1, "how strongly weights are pulled towards zero", 0.0, 10.0)
    beta1: float = _setting(0.9, "AdamW's memory of past gradients", 0.0, 0.9999)
    beta2: float = _setting(0.99, "AdamW's memory of past squared gradients", 0.0, 0.99999)
    grad_clip: float = _setting(1.0, "longest gradient that is let through unshortened; 0 lets all through", 0.0, 1e9)
    validation_fraction: float = _setting(0.1, "share of the text, its end, kept back to judge the model", 0.0, 0.5)
    log_interval: int = _setting(10, "steps between two points of the training curve", 1, 1_000_000)
    eval_interval: int = _setting(100, "steps between two measurements of the validation loss", 1, 1_000_000)
    checkpoint_interval: int = _setting(500, "steps between two files to resume from", 1, 1_000_000)
    precision: str = _setting(
        "auto", "arithmetic of matrix products; auto times them here", choices=("auto", "float32", "bf16")
    )
    threads: int | Literal["auto"] = _setting("auto", "processor threads; auto times them here", 1, 1024)
    seed: int = _setting(42, "start of all randomness: the same seed gives the same run", 0, MAX_SEED)

    def __post_init__(self) -> None:
        _check_fields(self)
        if self.batch_size % self.accumulation_steps:
            raise InputError(
                f"A batch of {self.batch_size} windows cannot be cut into {self.accumulation_steps} equal pieces: "
                "choose accumulation_steps so that it divides batch_size."
            )


# Fields that were renamed: the old name, the new one, and what happened to the value.
_RENAMED = {
    "final_learning_rate": ("final_lr_fraction", "The value stays the same."),
    "similarity": ("qk_norm", 'Use true instead of "cosine" and false instead of "dot".'),
}

# Dimensions and steps as the project was founded with them; the rest was tuned around them (TRAINING.md).
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
    """A copy of the named preset's settings. Raises InputError for a name that is not in PRESETS."""
    if not isinstance(name, str) or name not in PRESETS:
        raise InputError(f"There is no preset {_shown(name)}: choose one of {', '.join(PRESETS)}.")
    return dict(PRESETS[name])


def make_configs(settings: Mapping[str, Any], vocab_size: int) -> tuple[ModelConfig, TrainConfig]:
    """Both configs from one flat mapping of their fields, the rest at their defaults.

    Raises InputError for an unknown name (naming the closest known one), for the old name of a renamed field (naming
    the new one), and for any value that a config rejects.
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
            f"vocab_size is {model.vocab_size}, but the text has {vocab_size} different characters: leave it out."
        )
    return model, TrainConfig(**pick(TrainConfig))


def require_enough_text(characters: int, model: ModelConfig, train: TrainConfig) -> None:
    """Raise InputError unless a text of so many characters leaves at least one whole window to learn from."""
    learned = characters - int(characters * train.validation_fraction)
    if learned <= model.context_length:
        raise InputError(
            f"The text leaves {learned:,} characters to learn from, which is too short for a window of "
            f"{model.context_length}: bring a longer text or choose a smaller context_length."
        )


def current_names(stored: Mapping[str, Any]) -> dict[str, Any]:
    """Settings read from a file, with the field names of earlier versions replaced by the current ones."""
    settings = dict(stored)
    if "final_learning_rate" in settings:
        settings.setdefault("final_lr_fraction", settings.pop("final_learning_rate"))
    if "similarity" in settings:
        similarity = settings.pop("similarity")
        settings.setdefault("qk_norm", similarity == "cosine" if similarity in ("dot", "cosine") else similarity)
    return settings


def renamed_settings() -> tuple[str, ...]:
    """The former names of settings. make_configs() rejects them with the current name."""
    return tuple(_RENAMED)


def to_dict(config: ModelConfig | TrainConfig) -> dict[str, Any]:
    """The config as JSON holds it; `ModelConfig(**to_dict(c)) == c`."""
    return asdict(config)


def _default_heads(embedding_dim: Any, position: Any) -> int:
    """4 heads where they divide the width (into even widths for rotary positions), else as many as do."""
    if not isinstance(embedding_dim, Integral) or embedding_dim < 1:
        return 1  # _check_fields says what is wrong with it
    width = 1 if isinstance(position, str) and position == "learned" else 2
    return next((heads for heads in (4, 3, 2) if embedding_dim % (heads * width) == 0), 1)


def _check_fields(config: ModelConfig | TrainConfig) -> None:
    for f in fields(config):
        object.__setattr__(config, f.name, _checked(f, getattr(config, f.name)))


def _checked(f: Field, value: Any) -> Any:
    """The value, a number of numpy's as Python's own (JSON knows no other).

    Raises InputError unless it is of the field's kind and within its bounds (NaN and booleans are neither).
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
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:  # nor does NaN lie there
        raise InputError(f"{f.name} is {_shown(value)}: it must be {words} from {low:,.10g} to {high:,.10g}.")
    return int(value) if isinstance(value, Integral) else float(value)


def _shown(value: Any) -> str:
    """A value as an error message quotes it: never longer than a line."""
    try:
        text = repr(value)
    except ValueError:  # Python writes down no number of thousands of digits
        return "far too large"
    return text if len(text) <= 40 else text[:37] + "..."
