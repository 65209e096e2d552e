"""Heads that stand in for each other: two, each of which a model can spare, but not both.

What a head does can be done by another one as soon as it is missing (McGrath et al. 2023, "The Hydra Effect"). Switched
off alone, each of them then seems to matter little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nanollm.explain.ablation import Means, Part, ablate, rank_heads
from nanollm.explain.context_window import chunks, losses, standard_error, whole_numbers, windows
from nanollm.model import TransformerLanguageModel, evaluation_mode

SOUGHT_BY, JUDGED_BY = 4_096, 32_768  # characters: few by which a pair is sought among hundreds, many that decide
CLEARLY = 2.0  # standard errors that a backup must be away from chance
MORE = 1.5  # together so many times what they cost alone, added up: worth a word


@dataclass(frozen=True)
class Backup:
    """What a model loses without either of two heads, and without both: nats a character of held-out text."""

    pair: tuple[Part, Part]
    alone: tuple[float, float]
    together: float
    error: float  # standard error of how much more that is than the two alone, added up


def find_backup(
    model: TransformerLanguageModel, ids: Sequence[int] | np.ndarray | Tensor, means: Means | None
) -> Backup | None:
    """The two heads that cost most more together than alone; None where no pair clearly does.

    Every pair is tried on the first half of ids (N,), best held out, and the best one judged on the second half, so
    that what won by chance is found out. Takes as long as ranking all heads once for each head.
    Raises InputError as rank_heads() does, for either half.
    """
    row = whole_numbers(model, ids)
    first, second = row[: len(row) // 2], row[len(row) // 2 :]
    ranked = lambda of: {e.part: e.increase for e in rank_heads(of, first, means, max_characters=SOUGHT_BY)}  # noqa: E731
    alone = ranked(model)
    more = {
        (one, other): rise - alone[other]
        for one in alone
        for other, rise in ranked(ablate(model, [one], means)).items()
        if one < other
    }
    if not more:
        return None
    pair = max(more, key=lambda heads: more[heads])
    found = _judged(model, windows(model, second, JUDGED_BY), pair, means)
    clear = found.together - sum(found.alone) > CLEARLY * found.error and found.together > MORE * sum(found.alone)
    return found if clear else None


def _judged(model: TransformerLanguageModel, read: Tensor, pair: tuple[Part, Part], means: Means | None) -> Backup:
    before = _paid(model, read)
    one, other, both = (_paid(ablate(model, off, means), read) - before for off in (pair[:1], pair[1:], pair))
    error = float(standard_error(both - one - other))
    return Backup(pair, (float(one.mean()), float(other.mean())), float(both.mean()), error)


def _paid(model: TransformerLanguageModel, read: Tensor) -> np.ndarray:
    """What each window of (N, T + 1) cost, in nats a character: (N,)."""
    with evaluation_mode(model):
        paid = [losses(model(batch[:, :-1]), batch[:, 1:]).double().mean(dim=1) for batch in chunks(read)]
        return np.concatenate([each.cpu().numpy() for each in paid])
