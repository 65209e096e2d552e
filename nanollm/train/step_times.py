"""How long each preset takes here: the seconds of a step that calibration measured, and measuring them beforehand.

`python -m nanollm.train.step_times VOCAB_SIZE` measures what is not known yet and prints {preset: seconds of a step}.
It runs as a separate process, so that a page that wants to know neither waits nor changes its own number of threads.
"""

from __future__ import annotations

import json
import os
import sys

from nanollm.config import PRESETS, make_configs, preset
from nanollm.train import calibration
from nanollm.train.device import best_device


def step_seconds(preset_name: str, vocab_size: int) -> float | None:
    """Seconds of one training step of a preset on this machine; measured now if it was not before."""
    model, train = make_configs(preset(preset_name), vocab_size)
    calibration.resolve(model, train, best_device())
    found = calibration.cached_results().get(calibration.cache_key(model, train, best_device()), {})
    return found.get("seconds")


def main() -> None:
    """Print a line of JSON for each preset, {preset: seconds}, the quickest to measure first."""
    os.nice(10)  # whoever trains or reads a page goes first
    for name in PRESETS:
        print(json.dumps({name: step_seconds(name, int(sys.argv[1]))}), flush=True)


if __name__ == "__main__":
    main()
