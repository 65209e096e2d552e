"""Backup heads: pairs of heads that compensate for each other, so that ablating only one of them changes little.

When a head is ablated, another head may take over its function ("The Hydra Effect", McGrath et al. 2023; "backup name
mover heads", Wang et al. 2022). Ablated one at a time, each of them seems unimportant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from nanollm.explain.ablation import Means, Part, ablate, rank_heads
from nanollm.explain.context_window import batches, character_losses, spread_windows, standard_error, validated_ids
from nanollm.model import TransformerLanguageModel, evaluation_mode

SEARCH_CHARACTERS, TEST_CHARACTERS = 4_096, 32_768  # few to search among hundreds of pairs, more to test the best one
MIN_STANDARD_ERRORS = 2.0  # by which the effect of a pair must exceed the sum of the two single effects
MIN_RATIO = 1.5  # of the pair's effect to that sum; below it, a pair is not worth reporting


@dataclass(frozen=True)
class BackupPair:
    """Loss increase on held-out text when two heads are ablated alone and together, in nats per character."""

    pair: tuple[Part, Part]
    alone: tuple[float, float]
    together: float
    error: float  # standard error of together - sum(alone)


def find_backup_pair(
    model: TransformerLanguageModel, ids: Sequence[int] | np.ndarray | Tensor, means: Means | None
) -> BackupPair | None:
    """Find the two heads whose joint ablation exceeds the sum of their single effects most; None if none clearly does.

    All pairs are compared on the first half of ids (N,), preferably held out. The best one is measured again on the
    second half, which removes the selection bias. Costs as much as one rank_heads() for every head. Raises InputError
    as rank_heads() does, for either half.
    """
    row = validated_ids(model, ids)
    first, second = row[: len(row) // 2], row[len(row) // 2 :]

    def increases(of: TransformerLanguageModel) -> dict[Part, float]:
        ranking = rank_heads(of, first, means, max_characters=SEARCH_CHARACTERS)
        return {effect.part: effect.increase for effect in ranking}

    alone = increases(model)
    excess = {
        (one, other): increase - alone[other]
        for one in alone
        for other, increase in increases(ablate(model, [one], means)).items()
        if one < other
    }
    if not excess:
        return None
    pair = max(excess, key=lambda heads: excess[heads])
    found = _measure(model, spread_windows(model, second, TEST_CHARACTERS), pair, means)
    total = sum(found.alone)
    clear = found.together - total > MIN_STANDARD_ERRORS * found.error and found.together > MIN_RATIO * total
    return found if clear else None


def _measure(
    model: TransformerLanguageModel, windows: Tensor, pair: tuple[Part, Part], means: Means | None
) -> BackupPair:
    before = _window_losses(model, windows)
    one, other, both = (
        _window_losses(ablate(model, parts, means), windows) - before for parts in (pair[:1], pair[1:], pair)
    )
    error = float(standard_error(both - one - other))
    return BackupPair(pair, (float(one.mean()), float(other.mean())), float(both.mean()), error)


def _window_losses(model: TransformerLanguageModel, windows: Tensor) -> np.ndarray:
    """Mean loss of each of the windows (N, T + 1), in nats per character: (N,)."""
    with evaluation_mode(model):
        means = [character_losses(model(b[:, :-1]), b[:, 1:]).double().mean(dim=1) for b in batches(windows)]
        return np.concatenate([mean.cpu().numpy() for mean in means])
