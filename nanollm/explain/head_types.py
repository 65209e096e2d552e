"""What is it? Heads that name themselves: for each, how much of its attention goes where a known kind of head looks.

A score is a share of attention, averaged over the places of a text at which the pattern says something of its own. It
stands beside two heads that understand nothing: one that looks evenly at all characters so far, and one that looks as
far back as this head does but at whatever is there. Attention is where a head looks, not what it is good for: that is
for ablation.py to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nanollm.errors import InputError
from nanollm.explain.context_window import windows
from nanollm.inference.generate import require_vocabulary
from nanollm.model import Trace, TransformerLanguageModel, evaluation_mode
from nanollm.tokenizer import CharTokenizer

PATTERNS = (
    "previous character",
    "itself",
    "first character",
    "same character before",
    "induction",
    "start of word",
    "start of line",
)
NOTHING = "Nothing recognisable. That is common."

# What these look for depends on what the text says; all others only on where it stands.
_IN_THE_TEXT = ("same character before", "start of word", "start of line")

# A head gets a name where it spends at least a third of its attention as the name says, and twice as much as a head
# without understanding would. In trained models the two part real finds from chance: a start of line at 0.44 where
# distance alone gives 0.04, but no start of word at 0.20 where it gives 0.21. Of names that fit, the best one.
ENOUGH = 1 / 3
CLEARLY = 2.0

MAX_LENGTH = 256  # of a window: attention is quadratic, and no pattern here needs more
TEXT_CHARACTERS = 2048
SETTLED = 8  # rows that do not count: with so little behind it, a head must look hard at something
MIN_PLACES = 16  # a pattern that says something at fewer places is not scored
SHORTEST_SEQUENCE = 4
SEQUENCES = 16
SEED = 0  # of the random sequences: the same for every model, so that snapshots compare


@dataclass(frozen=True)
class HeadScores:
    """Shares of attention, 0 to 1; NaN where a pattern cannot be measured (a text of one line has no line starts)."""

    scores: np.ndarray  # (L, H, P) float32, P in the order of PATTERNS
    even: np.ndarray  # (P,) float32: what a head that looks evenly at all characters so far would score
    by_distance: np.ndarray  # (L, H, P) float32: what this head would score if it only minded how far back it looks

    @property
    def baseline(self) -> np.ndarray:
        """(L, H, P): what can be had without understanding. Distance alone does explain a pattern of distance."""
        in_the_text = np.isin(PATTERNS, _IN_THE_TEXT)
        return np.where(in_the_text, np.maximum(self.by_distance, self.even), self.even)

    def name(self, layer: int, head: int) -> str | None:
        """What the head does, in the words of PATTERNS; None (the page says NOTHING) if nothing fits clearly."""
        score, baseline = self.scores[layer, head], self.baseline[layer, head]
        fits = (score >= ENOUGH) & (score >= CLEARLY * baseline)  # false where either is NaN
        return PATTERNS[int(np.where(fits, score - baseline, -1).argmax())] if fits.any() else None

    @property
    def names(self) -> list[list[str | None]]:
        """L lists of H names."""
        layers, heads = self.scores.shape[:2]
        return [[self.name(layer, head) for head in range(heads)] for layer in range(layers)]


@dataclass(frozen=True)
class HeadHistory:
    """The scores of the same heads over a run's snapshots."""

    steps: np.ndarray  # (S,)
    scores: np.ndarray  # (S, L, H, P)
    even: np.ndarray  # (P,)


def head_scores(model: TransformerLanguageModel, tokenizer: CharTokenizer, text: str) -> HeadScores:
    """The scores of all heads over windows of a text, and for induction over random sequences repeated once.

    Deterministic, and touches no global random state. Raises InputError if the text has fewer than two characters, or
    some that the vocabulary lacks.
    """
    require_vocabulary(model, tokenizer)
    read = windows(model, tokenizer.encode(text), TEXT_CHARACTERS, at_least=1)[
        :, : min(MAX_LENGTH, model.config.context_length)
    ]  # (N, T)
    characters = np.array(tokenizer.characters)[read.cpu().numpy()]  # (N, T)
    targets = np.stack([_targets(row) for row in characters])  # (N, P, T, T)
    tally = _Tally(model)
    for row, target in zip(read, targets, strict=True):
        tally.add(row[None], target)
    for row, target in _repeated_sequences(model):
        tally.add(row[None], target)
    return tally.scores()


def head_history(
    snapshots: Iterable[tuple[int, TransformerLanguageModel]], tokenizer: CharTokenizer, text: str
) -> HeadHistory:
    """head_scores() of each (step, model), which may come from a generator: one model is needed at a time.

    Raises InputError as head_scores() does, or if there is no snapshot.
    """
    steps, measured = [], []
    for step, model in snapshots:
        steps.append(step)
        measured.append(head_scores(model, tokenizer, text))
    if not measured:
        raise InputError("There is no snapshot to look into: wait for the first.")
    return HeadHistory(np.array(steps), np.stack([found.scores for found in measured]), measured[0].even)


class _Tally:
    """Sums, over the places that count, what heads look at and what heads without understanding would."""

    def __init__(self, model: TransformerLanguageModel) -> None:
        self.model = model
        self.looked = np.zeros((model.config.num_layers, model.config.heads, len(PATTERNS)))
        self.by_distance = np.zeros_like(self.looked)
        self.even = np.zeros(len(PATTERNS))
        self.places = np.zeros(len(PATTERNS))

    def add(self, ids: Tensor, targets: np.ndarray) -> None:
        """One window, ids (1, T), and where each pattern would look in it: targets (P, T, T) of bool."""
        trace, T = Trace(), ids.shape[1]
        with evaluation_mode(self.model):
            self.model(ids, trace=trace)
        attention = torch.cat(trace.attention).float().cpu().numpy()  # (L, H, T, T)
        flat = targets.reshape(len(PATTERNS), T * T).T.astype(np.float32)  # (T², P)
        self.looked += attention.reshape(*attention.shape[:2], T * T) @ flat
        self.by_distance += _by_distance(attention, targets)
        self.even += (targets.sum(axis=2) / np.arange(1, T + 1)).sum(axis=1)
        self.places += targets.any(axis=2).sum(axis=1)

    def scores(self) -> HeadScores:
        places = np.where(self.places >= MIN_PLACES, self.places, np.nan)
        shares = [(total / places).astype(np.float32) for total in (self.looked, self.even, self.by_distance)]
        return HeadScores(*shares)


def _by_distance(attention: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """How much of targets (P, T, T) heads would look at that give each distance, at every place, what these, with
    attention (L, H, T, T), give it on average: (L, H, P)."""
    mean = _skewed(attention).sum(axis=-2) / np.arange(attention.shape[-1], 0, -1)  # (L, H, T): distance d has T - d
    wanted = np.tensordot(mean, _skewed(targets), axes=(-1, -1))  # (L, H, P, T)
    shared_out = mean.cumsum(axis=-1)  # (L, H, T): near the beginning, among fewer distances
    return (wanted / shared_out[:, :, None]).sum(axis=-1)


def _skewed(square: np.ndarray) -> np.ndarray:
    """Rows t and columns s of (…, T, T) as rows t and distances d = t - s: (…, T, T), 0 where nothing lies so far back.

    In rows that are read one number shorter than they were written, each begins one further to the right.
    """
    *others, T, _ = square.shape
    written = np.zeros((*others, T, 2 * T), square.dtype)
    written[..., :T] = square[..., ::-1]
    read = written.reshape(*others, 2 * T * T)[..., : T * (2 * T - 1)].reshape(*others, T, 2 * T - 1)
    return read[..., T - 1 :]


def _targets(characters: np.ndarray) -> np.ndarray:
    """Where each pattern but induction would look from each place of a text (T,): (P, T, T) of bool.

    A row is left empty where the pattern says nothing of its own: where it would point to what another one points to.
    """
    T = len(characters)
    looking, seen = np.arange(T)[:, None], np.arange(T)[None]  # rows t, columns s
    word, line = _starts(characters)
    far = lambda start: (start > 0) & (looking - start >= 2)  # noqa: E731 (else it is the previous character, or itself)
    in_word, in_line = far(word[:, None]), far(line[:, None])
    both = (word == line)[:, None]  # a line's first word tells nothing apart
    found = {
        "previous character": seen == looking - 1,
        "itself": seen == looking,
        "first character": np.broadcast_to(seen == 0, (T, T)),
        "same character before": (characters[:, None] == characters) & (seen < looking),
        # The break before it marks a beginning just as its first character does.
        "start of word": in_word & ~both & ((seen == word[:, None]) | (seen == word[:, None] - 1)),
        "start of line": in_line & ~both & ((seen == line[:, None]) | (seen == line[:, None] - 1)),
    }
    nowhere = np.zeros((T, T), bool)
    return np.stack([found.get(name, nowhere) & (looking >= SETTLED) for name in PATTERNS])


def _starts(characters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the word and the line of each place (T,) began: (T,) each, -1 if nowhere, or maybe before the text."""
    places = np.arange(len(characters))
    letter = np.char.isalnum(characters)
    broken = np.maximum.accumulate(np.where(letter, -1, places))  # the latest character that is in no word
    word = np.where(letter & (broken >= 0), broken + 1, -1)
    newline = np.maximum.accumulate(np.where(characters == "\n", places, -1))
    line = np.where((newline >= 0) & (characters != "\n"), newline + 1, -1)
    return word, line


def _repeated_sequences(model: TransformerLanguageModel) -> Iterable[tuple[Tensor, np.ndarray]]:
    """Random sequences repeated once, ids (2n,), and where induction would look in each: (P, 2n, 2n) of bool.

    At the second coming of a character, that is the one after its first. No character comes twice within a sequence,
    so there is only one such place; lengths differ, so that no fixed distance is right.
    """
    longest = min(MAX_LENGTH, model.config.context_length) // 2
    longest = min(longest, model.config.vocab_size)
    random, device = np.random.default_rng(SEED), model.embedding.weight.device
    for length in np.linspace(longest, max(SHORTEST_SEQUENCE, longest // 2), SEQUENCES).astype(int):
        if not 0 < length <= longest:  # a window of one character repeats none
            return
        sequence = random.permutation(model.config.vocab_size)[:length]
        targets = np.zeros((len(PATTERNS), 2 * length, 2 * length), bool)
        again = np.arange(length, 2 * length - 1)
        targets[PATTERNS.index("induction"), again, again - length + 1] = True
        yield torch.as_tensor(np.tile(sequence, 2), dtype=torch.long, device=device), targets
