"""Streaming generations: a scored prompt followed by sampled characters, as the shaded_text component shows them."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from nanollm.inference.generate import stream_samples
from nanollm.inference.sampling import Sampled
from nanollm.tokenizer import CharTokenizer
from playground.services.generation_request import GenerationRequest
from playground.services.streaming import TokenStream
from playground.services.wire_format import CANDIDATES, pack_scores, shaded_value

if TYPE_CHECKING:
    from nanollm.explain.surprisal import Surprisal
    from nanollm.train.checkpoint import LoadedModel

_stamps = count(1)


class Generation:
    """One generation: advance its `stream`; `value()` is what a shaded_text shows of it.

    Raises InputError for a prompt with characters that are not in the model's vocabulary.
    """

    def __init__(self, loaded: LoadedModel, request: GenerationRequest) -> None:
        self.loaded, self.request = loaded, request
        tokenizer, prompt = loaded.tokenizer, request.full_prompt
        options = replace(request.remaining_sampling, candidates=CANDIDATES)
        self.stream = TokenStream(stream_samples(loaded.model, tokenizer, prompt, options))
        self._stamp = next(_stamps)
        self._pieces = [pack_scored(tokenizer, prompt, score_text(loaded, prompt))] if prompt else []
        self._sent = 0

    def value(self) -> list[dict[str, Any]]:
        """The text so far."""
        fresh = self.stream.generated[self._sent :]
        if fresh:
            self._pieces.append(pack_sampled(self.loaded.tokenizer, fresh))
            self._sent += len(fresh)
        return shaded_value(
            self._stamp,
            self.loaded.tokenizer.characters,
            self._pieces,
            prompt=len(self.request.prompt),
            request=self.request.as_dict(),
            finished=self.stream.finished,
        )


def score_text(loaded: LoadedModel, text: str) -> Surprisal:
    """Score a text with the alternatives that a shaded_text shows."""
    from nanollm.explain.surprisal import surprisal  # imports torch, which takes a second

    return surprisal(loaded.model, loaded.tokenizer, text, candidates=CANDIDATES)


def scored_value(loaded: LoadedModel, text: str, scores: Surprisal) -> list[dict[str, Any]]:
    """Build the value of a shaded_text that shows a scored text."""
    pieces = [pack_scored(loaded.tokenizer, text, scores)]
    return shaded_value(next(_stamps), loaded.tokenizer.characters, pieces, finished=True)


def pack_scored(tokenizer: CharTokenizer, text: str, scores: Surprisal) -> dict[str, str]:
    """Pack a scored text as one piece."""
    candidates = scores.candidate_ids, scores.candidate_probabilities
    return pack_scores(text, scores.probabilities, scores.ranks, *candidates, tokenizer.vocab_size)


def pack_sampled(tokenizer: CharTokenizer, samples: list[Sampled]) -> dict[str, str]:
    """Pack sampled characters as one piece."""
    k = min(CANDIDATES, tokenizer.vocab_size)  # the sampled character is not necessarily one of the candidates
    rows = np.array([sampled.candidates[:k] for sampled in samples])  # (N, k, 3): id and two probabilities
    return pack_scores(
        "".join(tokenizer.characters[sampled.id] for sampled in samples),
        np.array([sampled.probability for sampled in samples]),
        np.array([sampled.rank for sampled in samples]),
        rows[:, :, 0],
        rows[:, :, 1],
        tokenizer.vocab_size,
    )
