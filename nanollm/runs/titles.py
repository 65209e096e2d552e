"""What a run is called before somebody names it: what it is, then what tells it apart from the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanollm.config import to_dict
from nanollm.runs.record import Run

MAX_TITLE = 200
_CONTINUED = ", continued"


def clean(title: str | None) -> str:
    """A title fit to be shown: one line of at most 200 visible characters; empty if nothing remains."""
    text = " ".join(str(title or "").split())
    return "".join(c for c in text if c.isprintable())[:MAX_TITLE].strip()


def of(about: Mapping[str, Any], others: Sequence[Run]) -> str:
    """Preset and text; where that was there before, preset and what differs from the first run of its kind.

    `about` is run.json's content; of the others, the newest comes first.
    """
    model, corpus = about["model"], about["corpus"]
    kind = about["preset"] or f"{model['embedding_dim']} × {model['num_layers']}"
    alike = [r for r in others if (r.preset, r.corpus.get("sha256")) == (about["preset"], corpus["sha256"])]
    difference = _difference(about, alike[-1]) if alike else ""
    return _numbered(clean(f"{kind} · {difference or corpus['name']}"), alike)


def of_fork(about: Mapping[str, Any], parent: Run, others: Sequence[Run]) -> str:
    """The parent's title, and what is tried: "nano · tale.txt, continued with learning rate 0.001"."""
    corpus, difference = about["corpus"], _difference(about, parent)
    other = f" on {corpus['name']}" if corpus["sha256"] != parent.corpus.get("sha256") else ""
    changed = f" with {difference}" if difference else ""
    origin = parent.title.split(_CONTINUED)[0]  # of a fork's fork too
    return _numbered(clean(f"{origin}{_CONTINUED}{other}{changed}"), others)


def _numbered(title: str, others: Sequence[Run]) -> str:
    """The title, with the first number behind it that makes it a new one where it is taken."""
    taken = {run.title for run in others}
    numbered = (title if n == 1 else f"{title} · {n}" for n in range(1, len(taken) + 2))
    return next(t for t in numbered if t not in taken)


def _difference(about: Mapping[str, Any], other: Run) -> str:
    """Up to three settings that differ from another run's, in words: "learning rate 0.001, seed 7"."""
    theirs = {**to_dict(other.train_config), **to_dict(other.model_config)}
    ours = {**about["train"], **about["model"]}
    differing = [name for name in ours if ours[name] != theirs[name]]
    return ", ".join(f"{name.replace('_', ' ')} {ours[name]}" for name in differing[:3])
