"""What Python shares with the page's scripts: one JSON object in the page's head, read by browser/constants.js."""

from __future__ import annotations

import importlib
import importlib.util
import json
from typing import Any

from playground.services.frames import FRAME_LENGTH

FEATURES = ("shell", "corpus", "train", "sample", "attention", "compare", "components", "services")
CLEAR_ERRORS = 2.0  # standard errors from which on an effect counts as measurable
COLOURS = 5  # runs beyond so many repeat the colours with dashed lines

# A run's state as an icon and a word: colour alone never says it.
RUN_STATES = {
    "queued": {"icon": "◷", "word": "queued"},
    "running": {"icon": "▸", "word": "training"},
    "paused": {"icon": "‖", "word": "paused"},
    "completed": {"icon": "✓", "word": "finished"},
    "stopped": {"icon": "■", "word": "stopped"},
    "failed": {"icon": "✕", "word": "failed"},
    "diverged": {"icon": "✕", "word": "diverged"},
    "lost": {"icon": "?", "word": "lost"},
    "stalled": {"icon": "?", "word": "stalled"},
}


def browser_constants() -> dict[str, Any]:
    """Return the constants and, by feature, the sentences of its catalogue (playground/<feature>/sentences.py)."""
    return {
        "frame_length": FRAME_LENGTH,
        "clear_errors": CLEAR_ERRORS,
        "colours": COLOURS,
        "run_states": RUN_STATES,
        "sentences": {feature: _sentences(feature) for feature in FEATURES},
    }


def as_script_element() -> str:
    """Return the constants as a script element that holds data."""
    data = json.dumps(browser_constants(), ensure_ascii=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="nanollm-constants">{data}</script>'


def _sentences(feature: str) -> dict[str, str]:
    name = f"playground.{feature}.sentences"
    if importlib.util.find_spec(name) is None:
        return {}
    module = importlib.import_module(name)
    return {key: value for key, value in vars(module).items() if key.isupper() and isinstance(value, str)}
