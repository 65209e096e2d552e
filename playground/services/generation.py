"""An answer in the making: what was given, scored, then what the snapshot writes, piece by piece."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from nanollm.explain.surprisal import Surprisal, surprisal
from nanollm.inference.generate import stream_samples
from nanollm.inference.sampling import Sampled
from nanollm.tokenizer import CharTokenizer
from nanollm.train.checkpoint import LoadedModel
from playground.components.text_view.shaded_text import CANDIDATES, piece, shaded
from playground.services.generation_request import Question
from playground.services.streaming import Pen

_stamps = count(1)


class Draft:
    """One answer: let its `pen` advance, and `value` is what a shaded_text shows of it.

    Raises InputError for a prompt with characters that the model has never seen.
    """

    def __init__(self, loaded: LoadedModel, question: Question) -> None:
        self.loaded, self.question = loaded, question
        tokenizer, given = loaded.tokenizer, question.given
        options = replace(question.remaining_options, candidates=CANDIDATES)
        self.pen = Pen(stream_samples(loaded.model, tokenizer, given, options))
        self._stamp = next(_stamps)
        self._pieces = [scored(tokenizer, given, read(loaded, given))] if given else []
        self._sent = 0

    def value(self) -> list[dict[str, Any]]:
        """What is written by now."""
        fresh = self.pen.written[self._sent :]
        if fresh:
            self._pieces.append(drawn(self.loaded.tokenizer, fresh))
            self._sent += len(fresh)
        return shaded(
            self._stamp,
            self.loaded.tokenizer.characters,
            self._pieces,
            prompt=len(self.question.prompt),
            question=self.question.as_dict(),
            finished=self.pen.finished,
        )


def read(loaded: LoadedModel, text: str) -> Surprisal:
    """The scores of a text, with the candidates that a shaded_text shows."""
    return surprisal(loaded.model, loaded.tokenizer, text, candidates=CANDIDATES)


def reading(loaded: LoadedModel, text: str, scores: Surprisal) -> list[dict[str, Any]]:
    """The value of a shaded_text that shows somebody's text as the model read it."""
    return shaded(next(_stamps), loaded.tokenizer.characters, [scored(loaded.tokenizer, text, scores)], finished=True)


def scored(tokenizer: CharTokenizer, text: str, scores: Surprisal) -> dict[str, str]:
    """A text that was read, as a piece."""
    likeliest = scores.candidate_ids, scores.candidate_probabilities
    return piece(text, scores.probabilities, scores.ranks, *likeliest, tokenizer.vocab_size)


def drawn(tokenizer: CharTokenizer, samples: list[Sampled]) -> dict[str, str]:
    """Characters that were written, as a piece."""
    likeliest = min(CANDIDATES, tokenizer.vocab_size)  # the drawn one may come behind them, with a rank of its own
    rows = np.array([sampled.candidates[:likeliest] for sampled in samples])  # (N, k, 3): id and two probabilities
    return piece(
        "".join(tokenizer.characters[sampled.id] for sampled in samples),
        np.array([sampled.probability for sampled in samples]),
        np.array([sampled.rank for sampled in samples]),
        rows[:, :, 0],
        rows[:, :, 1],
        tokenizer.vocab_size,
    )
