"""Training speed of each preset on this machine: seconds per step, measured by calibration.

`python -m nanollm.train.step_times VOCAB_SIZE` measures the presets that are not in the calibration cache and prints
{preset: seconds per step}. It is a separate process, so that the page neither waits nor changes its own thread count.
"""

from __future__ import annotations

import json
import os
import sys

from nanollm.config import PRESETS, make_configs, preset
from nanollm.train import calibration
from nanollm.train.device import best_device


def step_seconds(preset_name: str, vocab_size: int) -> float | None:
    """Return the seconds per training step of a preset on this machine, measuring them if they are not cached."""
    model, train = make_configs(preset(preset_name), vocab_size)
    calibration.resolve(model, train, best_device())
    result = calibration.cached_results().get(calibration.cache_key(model, train, best_device()), {})
    return result.get("seconds")


def main() -> None:
    """Print one line of JSON per preset, {preset: seconds}, in the order of PRESETS (the fastest first)."""
    os.nice(10)  # trainings and page requests have priority
    for name in PRESETS:
        print(json.dumps({name: step_seconds(name, int(sys.argv[1]))}), flush=True)


if __name__ == "__main__":
    main()
