"""Default titles of runs: the preset, then what distinguishes the run from the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanollm.config import to_dict
from nanollm.runs.record import Run

MAX_TITLE = 200
_CONTINUED = ", continued"


def clean(title: str | None) -> str:
    """A title reduced to one line of at most 200 visible characters; may be empty."""
    text = " ".join(str(title or "").split())
    return "".join(c for c in text if c.isprintable())[:MAX_TITLE].strip()


def default_title(about: Mapping[str, Any], others: Sequence[Run]) -> str:
    """Preset and text; if such a run exists, preset and the settings that differ from the first one.

    `about` is the content of run.json; `others` starts with the newest run.
    """
    model, corpus = about["model"], about["corpus"]
    kind = about["preset"] or f"{model['embedding_dim']} × {model['num_layers']}"
    alike = [r for r in others if (r.preset, r.corpus.get("sha256")) == (about["preset"], corpus["sha256"])]
    difference = _difference(about, alike[-1]) if alike else ""
    return _numbered(clean(f"{kind} · {difference or corpus['name']}"), alike)


def fork_title(about: Mapping[str, Any], parent: Run, others: Sequence[Run]) -> str:
    """The parent's title and the changed settings: "nano · tale.txt, continued with learning rate 0.001"."""
    corpus, difference = about["corpus"], _difference(about, parent)
    other = f" on {corpus['name']}" if corpus["sha256"] != parent.corpus.get("sha256") else ""
    changed = f" with {difference}" if difference else ""
    origin = parent.title.split(_CONTINUED)[0]  # also for a fork of a fork
    return _numbered(clean(f"{origin}{_CONTINUED}{other}{changed}"), others)


def _numbered(title: str, others: Sequence[Run]) -> str:
    """The title, with the smallest number appended that makes it unique."""
    taken = {run.title for run in others}
    numbered = (title if n == 1 else f"{title} · {n}" for n in range(1, len(taken) + 2))
    return next(t for t in numbered if t not in taken)


def _difference(about: Mapping[str, Any], other: Run) -> str:
    """Up to three settings that differ from another run's, as text: "learning rate 0.001, seed 7"."""
    theirs = {**to_dict(other.train_config), **to_dict(other.model_config)}
    ours = {**about["train"], **about["model"]}
    differing = [name for name in ours if ours[name] != theirs[name]]
    return ", ".join(f"{name.replace('_', ' ')} {ours[name]}" for name in differing[:3])
