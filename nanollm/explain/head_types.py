"""Head types: how much of each head's attention follows a known pattern, such as previous-character or induction heads.

Induction heads (Olsson et al. 2022, "In-context Learning and Induction Heads") are measured on random sequences that
are repeated once, all other patterns on text. A score is the share of attention on the pattern's target, averaged over
the positions where the pattern differs from the others. It is compared with two baselines that do not depend on the
text: uniform attention, and attention by distance alone (as far back as this head looks on average). Attention shows
where a head looks, not what it is used for; see ablation.py for that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nanollm.errors import InputError
from nanollm.explain.context_window import spread_windows
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
UNKNOWN = "No known pattern. That is common."

# The targets of these patterns depend on the characters of the text; those of all others only on positions.
_TEXT_PATTERNS = ("same character before", "start of word", "start of line")

# A head is named after a pattern if the score is at least MIN_SCORE and at least MIN_RATIO times the baseline. In
# trained models these separate real heads from chance: a start of line with a score of 0.44 and a baseline of 0.04 is
# named, a start of word with 0.20 and 0.21 is not. Of several patterns, the one furthest above its baseline is chosen.
MIN_SCORE = 1 / 3
MIN_RATIO = 2.0

MAX_WINDOW = 256  # characters: attention maps grow quadratically, and no pattern here needs more
TEXT_CHARACTERS = 2048
FIRST_ROW = 8  # rows before it are not scored: with so few characters to attend to, all shares are large
MIN_POSITIONS = 16  # a pattern with fewer scored positions gets no score (NaN)
SHORTEST_SEQUENCE = 4
SEQUENCES = 16
SEED = 0  # of the random sequences; fixed, so that scores of different snapshots are comparable


@dataclass(frozen=True)
class HeadScores:
    """Shares of attention, 0 to 1; NaN if a pattern cannot be measured (a text of one line has no line starts)."""

    scores: np.ndarray  # (L, H, P) float32, P in the order of PATTERNS
    uniform: np.ndarray  # (P,) float32: score of uniform attention to all characters so far
    by_distance: np.ndarray  # (L, H, P) float32: score of attention with the head's mean profile over distances

    @property
    def baseline(self) -> np.ndarray:
        """Score expected without reading the text, (L, H, P): by_distance only counts for text-dependent patterns."""
        text_dependent = np.isin(PATTERNS, _TEXT_PATTERNS)
        return np.where(text_dependent, np.maximum(self.by_distance, self.uniform), self.uniform)

    def name(self, layer: int, head: int) -> str | None:
        """The pattern, one of PATTERNS, that the head follows; None if it follows none clearly."""
        score, baseline = self.scores[layer, head], self.baseline[layer, head]
        fits = (score >= MIN_SCORE) & (score >= MIN_RATIO * baseline)  # False where either is NaN
        return PATTERNS[int(np.where(fits, score - baseline, -1).argmax())] if fits.any() else None

    @property
    def names(self) -> list[list[str | None]]:
        """The names of all heads: L lists of H names."""
        layers, heads = self.scores.shape[:2]
        return [[self.name(layer, head) for head in range(heads)] for layer in range(layers)]


@dataclass(frozen=True)
class HeadHistory:
    """Scores of all heads over the S snapshots of a run."""

    steps: np.ndarray  # (S,)
    scores: np.ndarray  # (S, L, H, P)
    uniform: np.ndarray  # (P,)


def head_scores(model: TransformerLanguageModel, tokenizer: CharTokenizer, text: str) -> HeadScores:
    """Score all heads on windows of a text, and for induction on random sequences repeated once.

    Deterministic, without global random state. Raises InputError if the text has fewer than two characters or
    characters outside the vocabulary.
    """
    require_vocabulary(model, tokenizer)
    windows = spread_windows(model, tokenizer.encode(text), TEXT_CHARACTERS, min_windows=1)
    windows = windows[:, : min(MAX_WINDOW, model.config.context_length)]  # (N, T)
    characters = np.array(tokenizer.characters)[windows.cpu().numpy()]  # (N, T)
    sums = _ScoreSums(model)
    for ids, row in zip(windows, characters, strict=True):
        sums.add(ids[None], _targets(row))
    for ids, targets in _repeated_sequences(model):
        sums.add(ids[None], targets)
    return sums.scores()


def head_history(
    snapshots: Iterable[tuple[int, TransformerLanguageModel]], tokenizer: CharTokenizer, text: str
) -> HeadHistory:
    """Score the heads of each (step, model); a generator may load one model at a time.

    Raises InputError as head_scores() does, and if there are no snapshots.
    """
    steps, measured = [], []
    for step, model in snapshots:
        steps.append(step)
        measured.append(head_scores(model, tokenizer, text))
    if not measured:
        raise InputError("There are no snapshots yet: wait until training has written the first.")
    return HeadHistory(np.array(steps), np.stack([found.scores for found in measured]), measured[0].uniform)


class _ScoreSums:
    """Sums of attention on the targets of each pattern over all scored positions, for the heads and the baselines."""

    def __init__(self, model: TransformerLanguageModel) -> None:
        self.model = model
        self.attention = np.zeros((model.config.num_layers, model.config.heads, len(PATTERNS)))
        self.by_distance = np.zeros_like(self.attention)
        self.uniform = np.zeros(len(PATTERNS))
        self.positions = np.zeros(len(PATTERNS))

    def add(self, ids: Tensor, targets: np.ndarray) -> None:
        """Add one window: ids (1, T), and the targets of each pattern, (P, T, T) bool, row t for position t."""
        trace, T = Trace(), ids.shape[1]
        with evaluation_mode(self.model):
            self.model(ids, trace=trace)
        attention = torch.cat(trace.attention).float().cpu().numpy()  # (L, H, T, T)
        flat = targets.reshape(len(PATTERNS), T * T).T.astype(np.float32)  # (T², P)
        self.attention += attention.reshape(*attention.shape[:2], T * T) @ flat
        self.by_distance += _by_distance(attention, targets)
        self.uniform += (targets.sum(axis=2) / np.arange(1, T + 1)).sum(axis=1)
        self.positions += targets.any(axis=2).sum(axis=1)

    def scores(self) -> HeadScores:
        positions = np.where(self.positions >= MIN_POSITIONS, self.positions, np.nan)
        sums = (self.attention, self.uniform, self.by_distance)
        return HeadScores(*((total / positions).astype(np.float32) for total in sums))


def _by_distance(attention: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Attention on targets (P, T, T) if each head attended to every distance as it does on average: (L, H, P).

    The average profile over distances comes from attention (L, H, T, T). At position t only distances up to t exist, so
    the profile is renormalized over these.
    """
    profile = _skew(attention).sum(axis=-2) / np.arange(attention.shape[-1], 0, -1)  # (L, H, T): T - d samples each
    on_targets = np.tensordot(profile, _skew(targets), axes=(-1, -1))  # (L, H, P, T)
    available = profile.cumsum(axis=-1)  # (L, H, T)
    return (on_targets / available[:, :, None]).sum(axis=-1)


def _skew(square: np.ndarray) -> np.ndarray:
    """Reindex (…, T, T) from columns s to distances d = t - s: (…, T, T), 0 where d > t.

    The skewing trick of Huang et al. 2018 ("Music Transformer", §3.4.1): rows written with a length of 2T and read with
    a length of 2T - 1 each start one column further to the right.
    """
    *others, T, _ = square.shape
    padded = np.zeros((*others, T, 2 * T), square.dtype)
    padded[..., :T] = square[..., ::-1]
    skewed = padded.reshape(*others, 2 * T * T)[..., : T * (2 * T - 1)].reshape(*others, T, 2 * T - 1)
    return skewed[..., T - 1 :]


def _targets(characters: np.ndarray) -> np.ndarray:
    """Target positions of each pattern except induction, for each position of a text (T,): (P, T, T) bool.

    Rows where a pattern has the same target as another one are left empty, because they tell the two apart no better.
    """
    T = len(characters)
    t, s = np.arange(T)[:, None], np.arange(T)[None]  # attention from t to s
    word, line = (start[:, None] for start in _starts(characters))
    distant = lambda start: (start > 0) & (t - start >= 2)  # noqa: E731 (nearer is "itself" or "previous character")
    ambiguous = word == line  # in the first word of a line
    found = {
        "previous character": s == t - 1,
        "itself": s == t,
        "first character": np.broadcast_to(s == 0, (T, T)),
        "same character before": (characters[:, None] == characters) & (s < t),
        # The separator before a word or line marks its start as well as its first character does.
        "start of word": distant(word) & ~ambiguous & ((s == word) | (s == word - 1)),
        "start of line": distant(line) & ~ambiguous & ((s == line) | (s == line - 1)),
    }
    none = np.zeros((T, T), bool)
    return np.stack([found.get(name, none) & (t >= FIRST_ROW) for name in PATTERNS])


def _starts(characters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start of the word and of the line at each position (T,): two arrays (T,), -1 if unknown or not in a word."""
    positions = np.arange(len(characters))
    in_word = np.char.isalnum(characters)
    separator = np.maximum.accumulate(np.where(in_word, -1, positions))  # the latest character outside of words
    word = np.where(in_word & (separator >= 0), separator + 1, -1)
    newline = np.maximum.accumulate(np.where(characters == "\n", positions, -1))
    line = np.where((newline >= 0) & (characters != "\n"), newline + 1, -1)
    return word, line


def _repeated_sequences(model: TransformerLanguageModel) -> Iterable[tuple[Tensor, np.ndarray]]:
    """Random sequences repeated once, ids (2n,), and the targets of induction in each, (P, 2n, 2n) bool.

    The target of a repeated character is the character after its first occurrence. All characters within a sequence
    differ, so there is exactly one target; lengths vary, so that no head scores by attending to a fixed distance.
    """
    longest = min(MAX_WINDOW, model.config.context_length) // 2
    longest = min(longest, model.config.vocab_size)
    random, device = np.random.default_rng(SEED), model.embedding.weight.device
    for length in np.linspace(longest, max(SHORTEST_SEQUENCE, longest // 2), SEQUENCES).astype(int):
        if not 0 < length <= longest:  # a window of one character has no room for a repetition
            return
        sequence = random.permutation(model.config.vocab_size)[:length]
        targets = np.zeros((len(PATTERNS), 2 * length, 2 * length), bool)
        repeated = np.arange(length, 2 * length - 1)
        targets[PATTERNS.index("induction"), repeated, repeated - length + 1] = True
        yield torch.as_tensor(np.tile(sequence, 2), dtype=torch.long, device=device), targets
