"""Ablation: replace the output of heads, feed-forward blocks or layers, and measure the effect on the predictions.

With *mean ablation* (Wang et al. 2022, "Interpretability in the Wild"), the default, a part always outputs its mean
over held-out text: it no longer reacts to the text at hand, but later layers still receive the average that they were
trained with. *Zero ablation* outputs zeros instead, which later layers never met in training, so part of its effect
may come from that alone. Either way the result is an ordinary model, which every engine can run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nanollm.config import ModelConfig
from nanollm.errors import InputError
from nanollm.explain.context_window import (
    batches,
    blocks,
    character_losses,
    last_window,
    spread_windows,
    standard_error,
)
from nanollm.model import Trace, TransformerLanguageModel, evaluation_mode
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import read_tensors, write_tensors

MEAN_CHARACTERS = 512  # or eight windows; for independent positions, a standard error of 1/√512 ≈ 4% of their spread
RANK_CHARACTERS = 8192
KINDS = ("head", "feed_forward", "layer")


@dataclass(frozen=True, order=True)
class Part:
    """A part of a model that can be ablated. Layers and heads count from 0 here, from 1 in the label."""

    kind: str  # "head", "feed_forward" or "layer" (all of its heads and its feed-forward block)
    layer: int
    head: int = 0  # used if kind is "head"

    @property
    def label(self) -> str:
        """The name in the user interface: L1·H2, L1·FF, L1."""
        return f"L{self.layer + 1}" + {"head": f"·H{self.head + 1}", "feed_forward": "·FF"}.get(self.kind, "")


@dataclass(frozen=True)
class Means:
    """Mean output of each part to the residual stream, over all positions of some held-out windows."""

    heads: np.ndarray  # (L, H, D) float32, without the bias of the output projection, which the heads of a layer share
    feed_forwards: np.ndarray  # (L, D) float32, including the bias
    characters: int  # number of positions averaged over


@dataclass(frozen=True)
class Predictions:
    """The predictions of a model, original or ablated, on a text of T characters."""

    losses: np.ndarray  # (T - 1,) loss of each character after the first, in nats
    next_probabilities: np.ndarray  # (V,) probability of each character to come after the text

    @property
    def loss(self) -> float:
        """Mean loss in nats per character; NaN for a text of one character, in which nothing is predicted."""
        return float(self.losses.mean()) if len(self.losses) else math.nan


@dataclass(frozen=True)
class Ablation:
    """Predictions on a text by the original model, and with parts ablated all together and one at a time."""

    text: str  # the last window of the given text
    skipped: int  # number of characters before the window
    parts: tuple[Part, ...]
    original: Predictions
    together: Predictions
    alone: tuple[Predictions, ...]  # one for each of parts


@dataclass(frozen=True)
class HeadEffect:
    """The importance of a head: how much the loss on held-out text rises when it is ablated."""

    part: Part
    increase: float  # nats per character; negative if the model predicts better without the head
    error: float  # standard error of the paired differences over the windows; NaN if there was only one window


def ablate(
    model: TransformerLanguageModel, parts: Iterable[Part], means: Means | None = None
) -> TransformerLanguageModel:
    """Return a copy of the model, in eval mode, in which `parts` always output their means (or zero if means is None).

    The columns of a head in the output projection become zero and its mean is added to the bias, so the copy is an
    ordinary model. Raises InputError for a part that the model does not have, or means of another shape.
    """
    chosen = _checked_parts(model.config, parts, means)
    ablated, K = deepcopy(model).eval(), model.config.head_dim
    layers = blocks(ablated)
    with torch.no_grad():
        for part in _without_layers(model.config, chosen):
            block = layers[part.layer]
            mean = _mean_of(part, means, block.feed_forward.down.bias)
            if part.kind == "head":
                block.attention.output.weight[:, part.head * K : (part.head + 1) * K] = 0
                block.attention.output.bias.add_(mean)
            else:
                block.feed_forward.down.weight.zero_()
                block.feed_forward.down.bias.copy_(mean)
        for part in chosen:
            if part.kind == "layer" and means is None:  # zeroes the bias that the heads share, too
                layers[part.layer].attention.output.bias.zero_()
    return ablated


def measure_means(
    model: TransformerLanguageModel, ids: Sequence[int] | np.ndarray | Tensor, *, max_characters: int = MEAN_CHARACTERS
) -> Means:
    """Mean outputs of all heads and feed-forward blocks over windows spread evenly over ids (N,), preferably held out.

    Does not use random state. Raises InputError unless N ≥ 2 and all ids are in the vocabulary.
    """
    inputs, config = spread_windows(model, ids, max_characters)[:, :-1], model.config
    double = {"dtype": torch.float64, "device": inputs.device}  # for accurate sums
    outputs = torch.zeros(config.num_layers, config.heads, config.head_dim, **double)  # before the output projection
    stream = torch.zeros(config.num_layers + 1, config.embedding_dim, **double)
    with evaluation_mode(model):
        for batch in batches(inputs):
            trace = Trace(weights=False)
            model(batch, trace=trace)
            outputs += torch.stack([x.double().sum(dim=(0, 2)) for x in trace.head_outputs]) / inputs.numel()
            stream += torch.stack([x.double().sum(dim=(0, 1)) for x in trace.residual]) / inputs.numel()
        projections = [block.attention.output for block in blocks(model)]
        weight = torch.stack([projection.weight for projection in projections]).double()  # (L, D, D)
        bias = torch.stack([projection.bias for projection in projections]).double()  # (L, D)
        heads = torch.einsum("ldhk,lhk->lhd", weight.unflatten(-1, (config.heads, config.head_dim)), outputs)
        # A layer adds the outputs of its heads, their shared bias and its feed-forward block to the stream.
        feed_forwards = stream.diff(dim=0) - heads.sum(dim=1) - bias
    return Means(heads.float().cpu().numpy(), feed_forwards.float().cpu().numpy(), inputs.numel())


def save_means(path: str | Path, means: Means) -> None:
    """Write means to a safetensors file with a digest. Raises OSError."""
    tensors = {"heads": torch.from_numpy(means.heads), "feed_forwards": torch.from_numpy(means.feed_forwards)}
    write_tensors(path, tensors, {"means_over": means.characters})


def load_means(path: str | Path) -> Means:
    """Read means written by save_means(). Raises InputError if the file is missing, damaged or of another kind."""
    if not Path(path).is_file():
        raise InputError("This snapshot has no saved mean outputs: measure them on a text, or use zero ablation.")
    tensors, metadata = read_tensors(path)
    try:
        return Means(tensors["heads"].numpy(), tensors["feed_forwards"].numpy(), int(metadata["means_over"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{Path(path).name} has no valid mean outputs: measure them on a text, or use zero ablation."
        ) from error


def measure_ablation(
    model: TransformerLanguageModel,
    tokenizer: CharTokenizer,
    text: str,
    parts: Iterable[Part],
    means: Means | None = None,
) -> Ablation:
    """Compare predictions on a text (its last window) with and without parts, ablated together and one at a time.

    Mean ablation, or zero ablation if means is None. Raises InputError as ablate() does, and if the text is empty or
    has characters outside the vocabulary.
    """
    chosen = tuple(sorted(_checked_parts(model.config, parts, means)))
    window = last_window(model, tokenizer, text)
    together = _predict(ablate(model, chosen, means), window.ids)
    single = len(chosen) == 1
    alone = tuple(together if single else _predict(ablate(model, [part], means), window.ids) for part in chosen)
    return Ablation(window.text, window.skipped, chosen, _predict(model, window.ids), together, alone)


def first_difference(one: str, other: str) -> int | None:
    """Index of the first character in which two texts differ; None if they are equal."""
    pairs = enumerate(zip_longest(one, other))
    return next((index for index, (a, b) in pairs if a != b), None)


def rank_heads(
    model: TransformerLanguageModel,
    ids: Sequence[int] | np.ndarray | Tensor,
    means: Means | None = None,
    *,
    max_characters: int = RANK_CHARACTERS,
) -> Iterator[HeadEffect]:
    """Measure the importance of every head, one at a time from the first layer on; closing the iterator stops it.

    The same windows, spread evenly over ids (N,), are predicted with and without each head. The differences are
    paired, so the varying difficulty of the windows cancels out. Layers before the head's are computed only once.
    Raises InputError, at the call, for invalid ids or means, as measure_means() and ablate() do.
    """
    _checked_parts(model.config, (), means)
    return _rank(model, spread_windows(model, ids, max_characters), means)


def _rank(model: TransformerLanguageModel, windows: Tensor, means: Means | None) -> Iterator[HeadEffect]:
    traced: list[tuple[Tensor, Trace, np.ndarray]] = []  # targets (n, T), trace, loss of each window (n,)
    with evaluation_mode(model):
        for batch in batches(windows):
            trace, targets = Trace(weights=False), batch[:, 1:]
            logits = model(batch[:, :-1], trace=trace)
            traced.append((targets, trace, _window_losses(logits, targets)))
    for layer in range(model.config.num_layers):
        for head in range(model.config.heads):
            part = Part("head", layer, head)
            with evaluation_mode(model):
                increases = [
                    _window_losses(_logits_without(model, part, trace, means), targets) - before
                    for targets, trace, before in traced
                ]
            increase = np.concatenate(increases)  # (N,)
            yield HeadEffect(part, float(increase.mean()), float(standard_error(increase)))


def _logits_without(model: TransformerLanguageModel, head: Part, trace: Trace, means: Means | None) -> Tensor:
    """Logits (B, T, V) with one head ablated, computed from a trace of the original model's forward pass."""
    block = blocks(model)[head.layer]
    outputs = trace.head_outputs[head.layer].clone()  # (B, H, T, K)
    outputs[:, head.head] = 0
    x = trace.residual[head.layer] + block.attention.output(outputs.transpose(1, 2).flatten(2))  # concatenated heads
    x = x + _mean_of(head, means, x)
    x = x + block.feed_forward(block.feed_forward_norm(x))
    return model.unembed(model.run_blocks(x, head.layer + 1))


def _window_losses(logits: Tensor, targets: Tensor) -> np.ndarray:
    """Mean loss of each window in nats per character, (B,); float64, because differences of them are small."""
    return character_losses(logits, targets).double().mean(dim=1).cpu().numpy()


def _predict(model: TransformerLanguageModel, ids: Tensor) -> Predictions:
    with evaluation_mode(model):
        logits = model(ids)  # (1, T, V)
        losses = character_losses(logits[:, :-1], ids[:, 1:])[0]
        return Predictions(losses.cpu().numpy(), logits[0, -1].float().softmax(dim=-1).cpu().numpy())


def _mean_of(part: Part, means: Means | None, like: Tensor) -> Tensor:
    """The output (D,) that replaces a head or feed-forward block, with the device and dtype of the tensor `like`."""
    if means is None:
        return like.new_zeros(like.shape[-1])
    mean = means.heads[part.layer, part.head] if part.kind == "head" else means.feed_forwards[part.layer]
    return torch.from_numpy(mean).to(like)


def _without_layers(config: ModelConfig, parts: Iterable[Part]) -> list[Part]:
    """The parts with each layer replaced by its heads and feed-forward block; sorted, without duplicates."""
    elements: set[Part] = set()
    for part in parts:
        if part.kind == "layer":
            elements |= {Part("head", part.layer, head) for head in range(config.heads)}
            elements.add(Part("feed_forward", part.layer))
        else:
            elements.add(part)
    return sorted(elements)


def _checked_parts(config: ModelConfig, parts: Iterable[Part], means: Means | None) -> set[Part]:
    """The distinct parts. Raises InputError unless the model has all of them and the means have its shape."""
    shapes = (config.num_layers, config.heads, config.embedding_dim), (config.num_layers, config.embedding_dim)
    if means is not None and (means.heads.shape, means.feed_forwards.shape) != shapes:
        raise InputError("These means were measured on a model of another shape: measure them on this model.")
    chosen = set(parts)
    for part in chosen:
        heads = config.heads if part.kind == "head" else 1
        if part.kind not in KINDS or not (0 <= part.layer < config.num_layers and 0 <= part.head < heads):
            raise InputError(
                f"This model has no {part.kind.replace('_', '-')} {part.label}: choose among layers 1 to "
                f"{config.num_layers} with heads 1 to {config.heads}."
            )
    return chosen
