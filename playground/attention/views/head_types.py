"""What is it? Heads that name themselves, and how they came to be what they are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from nanollm.charts.inspection import history_figure
from nanollm.errors import InputError
from nanollm.explain.head_types import PATTERNS, UNKNOWN, HeadScores
from nanollm.runs.store import Run
from playground.attention.components.attention_grid import chosen_head
from playground.attention.lens import Around, call, python_call, statement
from playground.components.bars import Bar, bars, drawn
from playground.components.factory import component
from playground.components.format import percent
from playground.components.plotly_chart import TOKENS, plotly_chart
from playground.components.text import line
from playground.context import Context
from playground.handlers import report_errors
from playground.selection import parse_selection
from playground.services.inspections import View

SEEN = "How much of the chosen head's attention goes where known kinds of heads look; the mark: what chance would give."
CAUTION = "A name says where a head looks, not what it is good for. Most heads have none, and a head may do two things."
PLACE = "history"
INTERVAL = 0.5  # seconds between two drawings of curves that grow


@dataclass
class Parts:
    name: gr.HTML
    scores: gr.HTML
    all_names: gr.HTML
    wanted: gr.Textbox  # which run's history is to be shown, and how many snapshots it has
    about: gr.HTML
    history: gr.HTML
    python: gr.Textbox

    @property
    def asked(self) -> list[Any]:
        return []

    @property
    def shown(self) -> list[Any]:
        return [self.name, self.scores, self.all_names, self.wanted, self.python]


def layout(ctx: Context) -> Parts:
    statement("naming", SEEN, CAUTION)
    name = line("attention-name", elem_classes="key")
    scores = bars("attention-scores")
    all_names = component("attention/components/head_names.js", elem_id="attention-names")
    wanted = gr.Textbox(container=False, elem_id="attention-history-of", elem_classes="unseen")
    history = plotly_chart(
        label="The chosen head's scores over the run's snapshots", elem_id="attention-history", height=300,
        empty="How this head came to be what it is appears here, snapshot by snapshot.",
        fill="attention/figures.js:history",
    )  # fmt: skip
    about = line("attention-history-about")
    return Parts(name, scores, all_names, wanted, about, history, python_call("naming"))


def show(ctx: Context, parts: Parts, view: View, head: Any) -> dict[Any, Any]:
    """The chosen head's name and scores; the curves follow once the run that is wanted has changed."""
    try:
        found, where = ctx.inspections.head_scores(view)
    except InputError as error:  # too little text: the sentence stands where the name would
        return {**dict.fromkeys(parts.shown), parts.name: str(error)}
    layer, which = chosen_head(head, *found.scores.shape[:2])
    judged_by = ctx.inspections.key(view)[1] or ""
    return {
        parts.name: f"L{layer + 1}·H{which + 1}: {found.name(layer, which) or UNKNOWN}",
        parts.scores: _scores(found, layer, which, where),
        parts.all_names: _named(view, found),
        parts.wanted: f"{view.run.id} {len(view.run.snapshots())} {judged_by}",
        parts.python: _python(ctx, view, layer, which),
    }


def known(ctx: Context, view: View) -> dict[str, Any] | None:
    """What is known of the heads of a snapshot before anybody asks what they are."""
    found = ctx.inspections.known_scores(view)
    return _named(view, found) if found else None


def _named(view: View, found: HeadScores) -> dict[str, Any]:
    names = {f"L{i + 1}·H{j + 1}": name for i, row in enumerate(found.names) for j, name in enumerate(row) if name}
    return {"of": names, "stamp": view.stamp}


def _python(ctx: Context, view: View, layer: int, which: int) -> str:
    kept = ctx.inspections.findings(view)
    measured = "head_scores(loaded.model, loaded.tokenizer, text)  # a text that it was never trained on"
    models = "models = ((snapshot.step, load_model(snapshot.path).model) for snapshot in run.snapshots())"
    return call(
        "from nanollm import RunStore\n"
        "from nanollm.explain.head_types import PATTERNS, head_history, head_scores"
        + ("\nfrom nanollm.explain.findings import load_findings" if kept else ""),
        view.name,
        f'found = load_findings("{view.findings_name}").scores  # or, with a text:' if kept else f"found = {measured}",
        *([f"# found = {measured}"] if kept else []),
        f"found.names[{layer}][{which}]",
        f"dict(zip(PATTERNS, found.scores[{layer}, {which}]))",
        f'run = RunStore("checkpoints").get("{view.run.id}")',
        models,
        "history = head_history(models, loaded.tokenizer, text)",
        f"history.scores[:, {layer}, {which}]  # (snapshots, patterns)",
    )


def wire(ctx: Context, parts: Parts, around: Around) -> None:
    @report_errors
    @ctx.fair_queue.limit
    def history(wanted: Any, selection: Any, text: Any, request: gr.Request) -> Iterator[tuple[Any, Any]]:
        """The curves of all heads, growing snapshot by snapshot; the browser draws those of the chosen head."""
        if not wanted:
            yield None, ""
            return
        run = ctx.runs.get(parse_selection(selection)[0] or "")
        if not str(wanted).startswith(f"{run.id} "):
            return
        cancelled = ctx.active_streams.begin(request.session_hash, PLACE)
        steps: list[int] = []
        found: list[HeadScores] = []
        sent = -INTERVAL
        try:
            for snapshot in run.snapshots():
                view = ctx.inspections.view({"run": run.id, "step": snapshot.step}, text)
                steps.append(snapshot.step)
                found.append(ctx.inspections.head_scores(view)[0])
                if cancelled.is_set():
                    return
                if len(steps) > 1 and time.monotonic() - sent > INTERVAL:
                    sent = time.monotonic()
                    yield _curves(run, steps, found), f"Looking at {len(steps)} of {len(run.snapshots())} snapshots."
            yield _curves(run, steps, found), _induction(steps, found)
        except InputError as error:  # a snapshot went away, or cannot read the text
            yield gr.skip(), str(error)
        finally:
            ctx.active_streams.end(request.session_hash, PLACE, cancelled)

    parts.wanted.change(
        history, [parts.wanted, ctx.selection, around.text], [parts.history, parts.about],
        api_visibility="private", show_progress="hidden", trigger_mode="multiple", concurrency_id="history",
        concurrency_limit=2,
    )  # fmt: skip


def _scores(found: HeadScores, layer: int, which: int, where: str) -> dict[str, Any]:
    """A bar for each pattern that can be measured, the mark where a head without understanding would be."""
    scores, even, best = found.scores[layer, which], found.baseline[layer, which], found.name(layer, which)
    rows = [
        Bar(
            name,
            float(score),
            f"{percent(score)}, by chance {percent(chance)}",
            mark=float(chance),
            strong=name == best,
        )
        for name, score, chance in zip(PATTERNS, scores, even, strict=True)
        if np.isfinite(score)
    ]
    missing = [name for name, score in zip(PATTERNS, scores, strict=True) if not np.isfinite(score)]
    legend = f"Measured on {where}."
    legend += f" Too seldom in it to be measured: {', '.join(missing)}." if missing else ""
    return drawn(rows, "Where its attention goes", legend, most=1.0)


def _curves(run: Run, steps: list[int], found: list[HeadScores]) -> dict[str, Any]:
    """A figure that brings the curves of every head, by label."""
    scores = np.stack([each.scores for each in found])  # (S, L, H, P)
    layers, heads = scores.shape[1:3]
    figures = {
        f"L{layer + 1}·H{head + 1}": history_figure(
            steps, scores[:, layer, head], PATTERNS, revision=run.id, palette=TOKENS
        )
        for layer in range(layers)
        for head in range(heads)
    }
    return {**figures["L1·H1"], "heads": {label: figure["data"] for label, figure in figures.items()}}


def _induction(steps: list[int], found: list[HeadScores]) -> str:
    """Which heads are induction heads at the end of this run and when each first was, or that none is."""
    names = [each.names for each in found]
    since = {
        f"L{layer + 1}·H{head + 1}": next(s for s, was in zip(steps, names, strict=True) if was[layer][head] == name)
        for layer, row in enumerate(names[-1])
        for head, name in enumerate(row)
        if name == "induction"
    }
    if not since:
        return "No induction head has formed in this run: none looks at what followed the same character before."
    heads = ", ".join(f"{label} (first at step {step:,})" for label, step in since.items())
    return f"Induction heads at step {steps[-1]:,}: {heads}."
