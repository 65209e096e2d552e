"""Surprisal: -log2 of the probability that a model gives to each character of a text, with the top alternatives."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nanollm.errors import InputError
from nanollm.explain.context_window import BATCH_CHARACTERS
from nanollm.inference.generate import first_character, require_vocabulary, window_start
from nanollm.inference.sampling import check_candidates
from nanollm.model import TransformerLanguageModel, evaluation_mode
from nanollm.tokenizer import CharTokenizer

MAX_LOGITS = 2**22  # scored at a time: 32 MB in float64, for each of several temporary arrays


@dataclass(frozen=True)
class Surprisal:
    """How well a model predicts each of the N characters of a text, with the k most likely characters at each."""

    bits: np.ndarray  # (N,) float64, -log2 of the probability
    probabilities: np.ndarray  # (N,) float64, of the character given those before it
    ranks: np.ndarray  # (N,) int64, 1 if the character was the most likely one
    candidate_ids: np.ndarray  # (N, k) int64, most likely first
    candidate_probabilities: np.ndarray  # (N, k) float64

    @property
    def bits_per_character(self) -> float:
        """Mean surprisal: the code length per character of a lossless compressor that uses this model."""
        return float(self.bits.mean())


def surprisal(
    model: TransformerLanguageModel, tokenizer: CharTokenizer, text: str, *, candidates: int = 0
) -> Surprisal:
    """Score every character of a text of any length: probability, bits, rank and the most likely candidates.

    Each character is predicted from the same context window as in generate(), so generated text gets the probabilities
    that it was sampled with: up to a whole window before the character, and after the first window at least half of
    one, because windows overlap by half. The first character is scored as if it followed a newline. `candidates` above
    the vocabulary size means all. Raises InputError if the text is empty or has characters outside the vocabulary, or
    if `candidates` is invalid.
    """
    if not text:
        raise InputError("The text is empty: enter at least one character.")
    check_candidates(candidates)
    require_vocabulary(model, tokenizer)
    k = min(int(candidates), tokenizer.vocab_size)
    device = model.embedding.weight.device
    ids = torch.as_tensor(tokenizer.encode(text).astype(np.int64), device=device)
    before = torch.as_tensor(tokenizer.encode(first_character(tokenizer)).astype(np.int64), device=device)
    with evaluation_mode(model):
        scores = [_score(model(before[None])[0], ids[:1], k)]
        max_characters = min(BATCH_CHARACTERS, 4 * MAX_LOGITS // model.config.vocab_size)
        for windows, targets, scored in _windows(ids, model.config.context_length, max_characters):
            scores.append(_score(model(windows)[:, -scored:].flatten(0, 1), targets.flatten(), k))  # (B · scored, V)
    return Surprisal(*(torch.cat(parts).cpu().numpy() for parts in zip(*scores, strict=True)))


def _windows(ids: Tensor, context_length: int, max_characters: int) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Batches that score every character but the first once: windows (B, T), targets (B, n), n.

    The targets follow the last n of the T characters. B · T is at most `max_characters`, unless B is 1.
    """
    N, C = len(ids), context_length
    half = window_start(C + 1, C)
    if N > 1:
        T = min(C, N - 1)
        yield ids[None, :T], ids[None, 1 : T + 1], T
    # As in window_start(), window i starts at half · i, and `half` characters are scored with it.
    whole = max(0, N - 1 - C) // half
    if whole:
        windows = ids[half : half * whole + C].unfold(0, C, half)  # a view (whole, C)
        targets = ids[C + 1 : C + 1 + half * whole].view(whole, half)
        batch_size = max(1, max_characters // C)
        for first in range(0, whole, batch_size):
            yield windows[first : first + batch_size], targets[first : first + batch_size], half
    done = C + 1 + half * whole
    if done < N:
        start = window_start(done, C)
        yield ids[None, start : N - 1], ids[None, done:], N - done


def _score(logits: Tensor, targets: Tensor, k: int) -> tuple[Tensor, ...]:
    """The five arrays of Surprisal for targets (N,) given logits (N, V), MAX_LOGITS logits at a time."""
    rows = max(1, MAX_LOGITS // logits.shape[1])
    scores = [_score_rows(*part, k) for part in zip(logits.split(rows), targets.split(rows), strict=True)]
    return tuple(torch.cat(parts) for parts in zip(*scores, strict=True))


def _score_rows(logits: Tensor, targets: Tensor, k: int) -> tuple[Tensor, ...]:
    log_probabilities = logits.double().log_softmax(-1)
    own = log_probabilities.gather(-1, targets[:, None])  # (N, 1)
    lower_id = torch.arange(logits.shape[1], device=logits.device) < targets[:, None]
    ahead = (log_probabilities > own) | ((log_probabilities == own) & lower_id)  # ties go to the lower id
    top_ids = log_probabilities.argsort(dim=-1, descending=True, stable=True)[:, :k] if k else targets.new_empty(0)
    top_ids = top_ids.reshape(len(targets), k)
    top_probabilities = log_probabilities.gather(-1, top_ids).exp()
    return -own[:, 0] / math.log(2), own[:, 0].exp(), ahead.sum(-1) + 1, top_ids, top_probabilities
