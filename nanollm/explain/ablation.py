"""Does it matter? Parts of a model switched off, and what that does to its loss and to what it would say next.

A part is not simply removed. What follows it has learned to expect its average as well, and would be thrown by zeros
that it never met; so by default a part is held at its own mean over held-out text, and what is lost is what the part
knew of *this* text (Wang et al. 2022, "Interpretability in the Wild"). Silence (zero ablation) is the other choice.
Either way the result is an ordinary model.
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
from nanollm.explain.context_window import blocks, chunks, last_window, losses, standard_error, windows
from nanollm.model import Trace, TransformerLanguageModel, evaluation_mode
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import read_tensors, write_tensors

MEAN_CHARACTERS = 512  # or eight windows: were places independent, off by 1 / √512 = 4 % of what they scatter
RANK_CHARACTERS = 8192
KINDS = ("head", "feed_forward", "layer")


@dataclass(frozen=True, order=True)
class Part:
    """Something that can be switched off. Layers and heads count from 0 here, from 1 in the label."""

    kind: str  # head, feed_forward or layer (all of its heads and its feed-forward block)
    layer: int
    head: int = 0  # of a head only

    @property
    def label(self) -> str:
        """As the page calls it: L1·H2, L1·FF, L1."""
        return f"L{self.layer + 1}" + {"head": f"·H{self.head + 1}", "feed_forward": "·FF"}.get(self.kind, "")


@dataclass(frozen=True)
class Means:
    """What each part adds to the residual stream on average, over all places of some held-out windows."""

    heads: np.ndarray  # (L, H, D) float32, without the output projection's bias, which all heads of a layer share
    feed_forwards: np.ndarray  # (L, D) float32, with its bias
    characters: int  # how many places the means were taken over


@dataclass(frozen=True)
class Reading:
    """How a model, whole or with parts switched off, reads a text of T characters."""

    losses: np.ndarray  # (T - 1,) nats: what each character after the first cost
    next_character: np.ndarray  # (V,) how likely each character is after the text

    @property
    def loss(self) -> float:
        """Nats a character; NaN for a text of one character, in which nothing is predicted."""
        return float(self.losses.mean()) if len(self.losses) else math.nan


@dataclass(frozen=True)
class Ablation:
    """A text read by the untouched model, without all of the chosen parts together, and without each of them alone."""

    text: str  # the window that was read: the end of a text that is longer
    skipped: int  # characters before it
    parts: tuple[Part, ...]
    untouched: Reading
    together: Reading
    alone: tuple[Reading, ...]  # one for each of parts


@dataclass(frozen=True)
class HeadEffect:
    """How much a head matters: by how much the loss on held-out text rises without it."""

    part: Part
    increase: float  # nats a character; below 0 where the model does better without it
    error: float  # its standard error over the windows, each compared with itself; NaN if there was only one


def ablate(
    model: TransformerLanguageModel, parts: Iterable[Part], means: Means | None = None
) -> TransformerLanguageModel:
    """A copy of the model, in eval mode, whose `parts` always add their mean to the stream; with means None, nothing.

    A head's columns of the output projection become zero and its mean a bias, so every engine can run the copy.
    Raises InputError for a part that the model lacks, or means of another shape.
    """
    chosen = _checked(model.config, parts, means)
    ablated, K = deepcopy(model).eval(), model.config.head_dim
    layers = blocks(ablated)
    with torch.no_grad():
        for part in _elements(model.config, chosen):
            block = layers[part.layer]
            mean = _mean_of(part, means, block.feed_forward.down.bias)
            if part.kind == "head":
                block.attention.output.weight[:, part.head * K : (part.head + 1) * K] = 0
                block.attention.output.bias.add_(mean)
            else:
                block.feed_forward.down.weight.zero_()
                block.feed_forward.down.bias.copy_(mean)
        for part in chosen:
            if part.kind == "layer" and means is None:  # the bias that its heads share is a part of the layer too
                layers[part.layer].attention.output.bias.zero_()
    return ablated


def measure_means(
    model: TransformerLanguageModel, ids: Sequence[int] | np.ndarray | Tensor, *, max_characters: int = MEAN_CHARACTERS
) -> Means:
    """The means of all heads and feed-forward blocks over windows spread evenly over ids (N,), best held out.

    Touches no random state. Raises InputError for what are no ids of the model, or fewer than two.
    """
    read, config = windows(model, ids, max_characters)[:, :-1], model.config
    on = {"dtype": torch.float64, "device": read.device}  # sums of many numbers
    head_outputs = torch.zeros(config.num_layers, config.heads, config.head_dim, **on)
    stream = torch.zeros(config.num_layers + 1, config.embedding_dim, **on)
    with evaluation_mode(model):
        for batch in chunks(read):
            trace = Trace(weights=False)
            model(batch, trace=trace)
            head_outputs += torch.stack([x.double().sum(dim=(0, 2)) for x in trace.head_outputs]) / read.numel()
            stream += torch.stack([x.double().sum(dim=(0, 1)) for x in trace.residual]) / read.numel()
        outputs = [block.attention.output for block in blocks(model)]
        weight = torch.stack([output.weight for output in outputs]).double()  # (L, D, D)
        bias = torch.stack([output.bias for output in outputs]).double()  # (L, D)
        heads = torch.einsum("ldhk,lhk->lhd", weight.unflatten(-1, (config.heads, config.head_dim)), head_outputs)
        # What a layer adds to the stream is what its heads, their bias and its feed-forward block add.
        feed_forwards = stream.diff(dim=0) - heads.sum(dim=1) - bias
    return Means(heads.float().cpu().numpy(), feed_forwards.float().cpu().numpy(), read.numel())


def save_means(path: str | Path, means: Means) -> None:
    """Write means as a small signed file. Raises OSError."""
    tensors = {"heads": torch.from_numpy(means.heads), "feed_forwards": torch.from_numpy(means.feed_forwards)}
    write_tensors(path, tensors, {"means_over": means.characters})


def load_means(path: str | Path) -> Means:
    """The means that save_means wrote. Raises InputError if the file is missing, damaged or of another kind."""
    if not Path(path).is_file():
        raise InputError("The means of this snapshot were not kept: measure them on a text, or use zero ablation.")
    tensors, facts = read_tensors(path)
    try:
        return Means(tensors["heads"].numpy(), tensors["feed_forwards"].numpy(), int(facts["means_over"]))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{Path(path).name} holds no means: measure them on a text, or use zero ablation.") from error


def switch_off(
    model: TransformerLanguageModel,
    tokenizer: CharTokenizer,
    text: str,
    parts: Iterable[Part],
    means: Means | None = None,
) -> Ablation:
    """What switching parts off does to a text, together and alone; of a text longer than the window, to its end.

    With means None, silence takes the parts' place. Raises InputError as ablate() does, and for a text that is empty
    or has characters that the vocabulary lacks.
    """
    chosen = tuple(sorted(_checked(model.config, parts, means)))
    window = last_window(model, tokenizer, text)
    together = _read(ablate(model, chosen, means), window.ids)
    single = len(chosen) == 1
    alone = tuple(together if single else _read(ablate(model, [part], means), window.ids) for part in chosen)
    return Ablation(window.text, window.skipped, chosen, _read(model, window.ids), together, alone)


def first_difference(one: str, other: str) -> int | None:
    """Where two texts part: the index of their first differing character, None if they are the same."""
    pairs = enumerate(zip_longest(one, other))
    return next((index for index, (a, b) in pairs if a != b), None)


def rank_heads(
    model: TransformerLanguageModel,
    ids: Sequence[int] | np.ndarray | Tensor,
    means: Means | None = None,
    *,
    max_characters: int = RANK_CHARACTERS,
) -> Iterator[HeadEffect]:
    """How much each head matters, one after the other from the first layer on; closing the iterator stops it.

    The same windows, spread evenly over ids (N,), are read with and without each head, and each is compared with
    itself: how hard a window is cancels out. What comes before a head's layer is computed only once.
    Raises InputError, at the call, for what measure_means() and ablate() refuse.
    """
    _checked(model.config, (), means)
    return _rank(model, windows(model, ids, max_characters), means)


def _rank(model: TransformerLanguageModel, read: Tensor, means: Means | None) -> Iterator[HeadEffect]:
    batches: list[tuple[Tensor, Trace, np.ndarray]] = []  # what follows (n, T), the trace, each window's loss (n,)
    with evaluation_mode(model):
        for batch in chunks(read):
            trace, following = Trace(weights=False), batch[:, 1:]
            logits = model(batch[:, :-1], trace=trace)
            batches.append((following, trace, _mean_losses(logits, following)))
    for layer in range(model.config.num_layers):
        for head in range(model.config.heads):
            part = Part("head", layer, head)
            with evaluation_mode(model):
                rises = [
                    _mean_losses(_logits_without(model, part, trace, means), following) - before
                    for following, trace, before in batches
                ]
            rise = np.concatenate(rises)  # (N,)
            yield HeadEffect(part, float(rise.mean()), float(standard_error(rise)))


def _logits_without(model: TransformerLanguageModel, head: Part, trace: Trace, means: Means | None) -> Tensor:
    """What the model says without a head (B, T, V), from a trace of what it did with it."""
    block = blocks(model)[head.layer]
    head_outputs = trace.head_outputs[head.layer].clone()  # (B, H, T, K)
    head_outputs[:, head.head] = 0
    x = trace.residual[head.layer] + block.attention.output(
        head_outputs.transpose(1, 2).flatten(2)
    )  # heads side by side
    x = x + _mean_of(head, means, x)
    x = x + block.feed_forward(block.feed_forward_norm(x))
    return model.unembed(model.run_blocks(x, head.layer + 1))


def _mean_losses(logits: Tensor, following: Tensor) -> np.ndarray:
    """(B,) nats a character of each window, in double precision: what is looked for are small differences."""
    return losses(logits, following).double().mean(dim=1).cpu().numpy()


def _read(model: TransformerLanguageModel, ids: Tensor) -> Reading:
    with evaluation_mode(model):
        logits = model(ids)  # (1, T, V)
        following = losses(logits[:, :-1], ids[:, 1:])[0]
        return Reading(following.cpu().numpy(), logits[0, -1].float().softmax(dim=-1).cpu().numpy())


def _mean_of(part: Part, means: Means | None, like: Tensor) -> Tensor:
    """What stands in for a head or feed-forward block (D,), on the device and in the type of another tensor."""
    if means is None:
        return like.new_zeros(like.shape[-1])
    mean = means.heads[part.layer, part.head] if part.kind == "head" else means.feed_forwards[part.layer]
    return torch.from_numpy(mean).to(like)


def _elements(config: ModelConfig, parts: Iterable[Part]) -> list[Part]:
    """The same parts as heads and feed-forward blocks, each once, in order: a layer is all that is in it."""
    elements: set[Part] = set()
    for part in parts:
        if part.kind == "layer":
            elements |= {Part("head", part.layer, head) for head in range(config.heads)}
            elements.add(Part("feed_forward", part.layer))
        else:
            elements.add(part)
    return sorted(elements)


def _checked(config: ModelConfig, parts: Iterable[Part], means: Means | None) -> set[Part]:
    """The parts, each once. Raises InputError unless the model has them all and the means are of its shape."""
    shapes = (config.num_layers, config.heads, config.embedding_dim), (config.num_layers, config.embedding_dim)
    if means is not None and (means.heads.shape, means.feed_forwards.shape) != shapes:
        raise InputError("These means belong to a model of another shape: measure them on this one.")
    chosen = set(parts)
    for part in chosen:
        heads = config.heads if part.kind == "head" else 1
        if part.kind not in KINDS or not (0 <= part.layer < config.num_layers and 0 <= part.head < heads):
            raise InputError(
                f"There is no {part.kind.replace('_', '-')} {part.label} in this model: it has layers 1 to "
                f"{config.num_layers} with heads 1 to {config.heads}."
            )
    return chosen
