"""durations.py: times as people say them."""

from __future__ import annotations

import pytest

from nanollm.train.workload import duration


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        *((None, "–"), (float("inf"), "–"), (-3, "0 s"), (8.4, "8 s"), (180, "3 min"), (8000, "2.2 h")),
        *((16_607, "4.6 h"), (400_000, "4.6 days")),
    ],
)
def test_times(seconds, told):
    assert duration(seconds) == told
