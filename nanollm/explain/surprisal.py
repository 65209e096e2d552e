"""How surprising each character of a given text is to a model, and what it would rather have read."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nanollm.errors import InputError
from nanollm.explain.context_window import CHUNK
from nanollm.inference.generate import first_character, require_vocabulary, window_start
from nanollm.inference.sampling import check_candidates
from nanollm.model import TransformerLanguageModel, evaluation_mode
from nanollm.tokenizer import CharTokenizer

NUMBERS = 2**22  # logits that are judged at a time: 32 MB of them, each several times over


@dataclass(frozen=True)
class Surprisal:
    """A text of N characters as a model reads it, each judged by those before it alone; k candidates at each place."""

    bits: np.ndarray  # (N,) float64, -log2 of the probability: 0 for what was certain
    probabilities: np.ndarray  # (N,) float64
    ranks: np.ndarray  # (N,) int64: 1 where the character was the model's likeliest
    candidate_ids: np.ndarray  # (N, k) int64: the likeliest at each place, likeliest first
    candidate_probabilities: np.ndarray  # (N, k) float64

    @property
    def bits_per_character(self) -> float:
        """The mean: what the model needs to write down one character of this text."""
        return float(self.bits.mean())


def surprisal(
    model: TransformerLanguageModel, tokenizer: CharTokenizer, text: str, *, candidates: int = 0
) -> Surprisal:
    """Bits, rank and the likeliest candidates for every character of a text of any length.

    Each is judged by what generate() would see there: up to the whole window before it, and past the first window
    never less than half of one, because windows overlap by half. So what a model has written is given back the very
    probabilities that it was drawn with. The first character has nothing before it, and counts as if it followed a
    newline. `candidates` above the vocabulary means all.
    Raises InputError if the text is empty or has unknown characters, or for an odd number of candidates.
    """
    if not text:
        raise InputError("There is no text to judge: write some characters.")
    check_candidates(candidates)
    require_vocabulary(model, tokenizer)
    k = min(int(candidates), tokenizer.vocab_size)
    device = model.embedding.weight.device
    ids = torch.as_tensor(tokenizer.encode(text).astype(np.int64), device=device)
    before = torch.as_tensor(tokenizer.encode(first_character(tokenizer)).astype(np.int64), device=device)
    with evaluation_mode(model):
        judged = [_judge(model(before[None])[0], ids[:1], k)]
        at_once = min(CHUNK, 4 * NUMBERS // model.config.vocab_size)
        for windows, targets, kept in _windows(ids, model.config.context_length, at_once):
            judged.append(_judge(model(windows)[:, -kept:].flatten(0, 1), targets.flatten(), k))  # (B · kept, V)
    return Surprisal(*(torch.cat(parts).cpu().numpy() for parts in zip(*judged, strict=True)))


def _windows(ids: Tensor, context_length: int, characters: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Every character but the first, once: windows (B, T), the characters (B, kept) after the last `kept` of the T.

    B · T is at most `characters`, if B is not 1.
    """
    N, C = len(ids), context_length
    half = window_start(C + 1, C)
    if N > 1:
        T = min(C, N - 1)
        yield ids[None, :T], ids[None, 1 : T + 1], T
    # Window i starts at half · i and judges `half` characters, as window_start() has it: all that fit are one batch.
    whole = max(0, N - 1 - C) // half
    if whole:
        pieces = ids[half : half * whole + C].unfold(0, C, half)  # (whole, C), overlapping views
        targets = ids[C + 1 : C + 1 + half * whole].view(whole, half)
        at_once = max(1, characters // C)
        for first in range(0, whole, at_once):
            yield pieces[first : first + at_once], targets[first : first + at_once], half
    done = C + 1 + half * whole
    if done < N:
        start = window_start(done, C)
        yield ids[None, start : N - 1], ids[None, done:], N - done


def _judge(logits: Tensor, targets: Tensor, k: int) -> tuple[Tensor, ...]:
    """Surprisal's five arrays for characters (N,) after logits (N, V), some at a time: fewer of a large vocabulary."""
    rows = max(1, NUMBERS // logits.shape[1])
    pieces = [_judge_some(*some, k) for some in zip(logits.split(rows), targets.split(rows), strict=True)]
    return tuple(torch.cat(parts) for parts in zip(*pieces, strict=True))


def _judge_some(logits: Tensor, targets: Tensor, k: int) -> tuple[Tensor, ...]:
    log_probabilities = logits.double().log_softmax(-1)
    found = log_probabilities.gather(-1, targets[:, None])  # (N, 1)
    lower = torch.arange(logits.shape[1], device=logits.device) < targets[:, None]
    ahead = (log_probabilities > found) | ((log_probabilities == found) & lower)  # of equals, the lower id comes first
    likeliest = log_probabilities.argsort(dim=-1, descending=True, stable=True)[:, :k] if k else targets.new_empty(0)
    likeliest = likeliest.reshape(len(targets), k)
    candidates = log_probabilities.gather(-1, likeliest).exp()
    return -found[:, 0] / math.log(2), found[:, 0].exp(), ahead.sum(-1) + 1, likeliest, candidates
