"""The Head type view: which known types the chosen head fits, and how its scores developed during training."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from nanollm.charts.inspection import history_figure
from nanollm.errors import InputError
from nanollm.runs.store import Run
from playground.attention import sentences
from playground.attention.components.attention_grid import head_names, parse_head
from playground.attention.components.bars import Bar, bars, bars_value
from playground.attention.view_frame import SharedInputs, ViewParts, introduction, python_code, python_fold
from playground.components.format import percent
from playground.components.plotly_chart import TOKENS, plotly_chart
from playground.components.text import line
from playground.context import Context
from playground.handlers import MULTIPLE, QUEUED, report_errors
from playground.selection import parse_selection

if TYPE_CHECKING:
    from nanollm.explain.head_types import HeadScores
    from playground.services.inspections import View

PLACE = "history"
UPDATE_SECONDS = 0.5  # between two updates of the growing curves


@dataclass
class Parts(ViewParts):
    name: gr.HTML
    scores: gr.HTML
    all_names: gr.HTML
    history_key: gr.Textbox  # the run, the number of its snapshots and the text: changes when the history does
    about: gr.HTML
    history: gr.HTML
    python: gr.Textbox

    @property
    def outputs(self) -> list[Any]:
        return [self.name, self.scores, self.all_names, self.history_key, self.python]


def layout(ctx: Context) -> Parts:
    introduction("naming", sentences.TYPE_ABOUT, sentences.TYPE_CAUTION)
    name = line("attention-name", elem_classes="key")
    scores = bars("attention-scores")
    all_names = head_names("attention-names")
    history_key = gr.Textbox(container=False, elem_id="attention-history-of", elem_classes="unseen")
    history = plotly_chart(
        label=sentences.HISTORY_LABEL, elem_id="attention-history", height=300, empty=sentences.HISTORY_EMPTY,
        fill="attention/figures.js:history",
    )  # fmt: skip
    about = line("attention-history-about")
    return Parts(name, scores, all_names, history_key, about, history, python_fold("naming"))


def show(ctx: Context, parts: Parts, view: View, head: Any) -> dict[Any, Any]:
    """Return the chosen head's name and scores. A new history key then starts the update of the curves."""
    from nanollm.explain.head_types import UNKNOWN  # imports torch, which takes a second

    try:
        found, source = ctx.inspections.head_scores(view)
    except InputError as error:  # the text is too short
        return {**dict.fromkeys(parts.outputs), parts.name: str(error)}
    layer, index = parse_head(head, *found.scores.shape[:2])
    text = ctx.inspections.key(view)[1] or ""
    return {
        parts.name: f"L{layer + 1}·H{index + 1}: {found.name(layer, index) or UNKNOWN}",
        parts.scores: _score_bars(found, layer, index, source),
        parts.all_names: _names_value(view, found),
        parts.history_key: f"{view.run.id} {len(view.run.snapshots())} {text}",
        parts.python: _python(ctx, view, layer, index),
    }


def known_names(ctx: Context, view: View) -> dict[str, Any] | None:
    """Return the names of a snapshot's heads if they have been computed already."""
    found = ctx.inspections.known_scores(view)
    return _names_value(view, found) if found else None


def _names_value(view: View, found: HeadScores) -> dict[str, Any]:
    names = {f"L{i + 1}·H{j + 1}": name for i, row in enumerate(found.names) for j, name in enumerate(row) if name}
    return {"of": names, "stamp": view.stamp}


def _python(ctx: Context, view: View, layer: int, index: int) -> str:
    stored = ctx.inspections.findings(view)
    measured = "head_scores(loaded.model, loaded.tokenizer, text)  # text: not used in training"
    load = f'found = load_findings("{view.findings_name}").scores  # or, with a text:'
    models = "models = ((snapshot.step, load_model(snapshot.path).model) for snapshot in run.snapshots())"
    return python_code(
        "from nanollm import RunStore\n"
        "from nanollm.explain.head_types import PATTERNS, head_history, head_scores"
        + ("\nfrom nanollm.explain.findings import load_findings" if stored else ""),
        view.name,
        *([load, f"# found = {measured}"] if stored else [f"found = {measured}"]),
        f"found.names[{layer}][{index}]",
        f"dict(zip(PATTERNS, found.scores[{layer}, {index}]))",
        f'run = RunStore("checkpoints").get("{view.run.id}")',
        models,
        "history = head_history(models, loaded.tokenizer, text)",
        f"history.scores[:, {layer}, {index}]  # (snapshots, patterns)",
    )


def wire(ctx: Context, parts: Parts, shared: SharedInputs) -> None:
    @report_errors
    @ctx.fair_queue.limit
    def update_history(key: Any, selection: Any, text: Any, request: gr.Request) -> Iterator[tuple[Any, Any]]:
        if not key:
            yield None, ""
            return
        run = ctx.runs.get(parse_selection(selection)[0] or "")
        if str(key).startswith(f"{run.id} "):
            yield from _history(ctx, run, text, request.session_hash)

    inputs = [parts.history_key, ctx.selection, shared.text]
    options: dict[str, Any] = {"concurrency_id": "history"} | QUEUED | MULTIPLE
    parts.history_key.change(update_history, inputs, [parts.history, parts.about], concurrency_limit=2, **options)


def _history(ctx: Context, run: Run, text: Any, session: str | None) -> Iterator[tuple[Any, Any]]:
    """Yield figure and note, snapshot by snapshot. The figure has all heads; the browser draws the chosen one."""
    cancelled = ctx.active_streams.begin(session, PLACE)
    steps: list[int] = []
    found: list[HeadScores] = []
    last_update = -UPDATE_SECONDS
    try:
        for snapshot in run.snapshots():
            view = ctx.inspections.view({"run": run.id, "step": snapshot.step}, text)
            steps.append(snapshot.step)
            found.append(ctx.inspections.head_scores(view)[0])
            if cancelled.is_set():
                return
            if len(steps) > 1 and time.monotonic() - last_update > UPDATE_SECONDS:
                last_update = time.monotonic()
                progress = sentences.HISTORY_PROGRESS.format(done=len(steps), total=len(run.snapshots()))
                yield _history_figure(run, steps, found), progress
        yield _history_figure(run, steps, found), _induction_heads(steps, found)
    except InputError as error:  # a snapshot was deleted, or its model cannot read the text
        yield gr.skip(), str(error)
    finally:
        ctx.active_streams.end(session, PLACE, cancelled)


def _score_bars(found: HeadScores, layer: int, index: int, source: str) -> dict[str, Any]:
    """Return a bar for each type that can be measured, with a mark at its chance level."""
    from nanollm.explain.head_types import PATTERNS

    scores, baseline, best = found.scores[layer, index], found.baseline[layer, index], found.name(layer, index)
    rows = [
        Bar(
            name,
            float(score),
            sentences.BY_CHANCE.format(score=percent(score), chance=percent(chance)),
            mark=float(chance),
            strong=name == best,
        )
        for name, score, chance in zip(PATTERNS, scores, baseline, strict=True)
        if np.isfinite(score)
    ]
    missing = [name for name, score in zip(PATTERNS, scores, strict=True) if not np.isfinite(score)]
    legend = sentences.MEASURED_ON.format(text=source)
    if missing:
        legend += f" {sentences.NOT_MEASURED.format(names=', '.join(missing))}"
    return bars_value(rows, sentences.SCORES_CAPTION, legend, most=1.0)


def _history_figure(run: Run, steps: list[int], found: list[HeadScores]) -> dict[str, Any]:
    from nanollm.explain.head_types import PATTERNS

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


def _induction_heads(steps: list[int], found: list[HeadScores]) -> str:
    """Name the induction heads of the last snapshot and the step at which each appeared, or say that there are none."""
    names = [each.names for each in found]
    since = {
        f"L{layer + 1}·H{head + 1}": next(s for s, was in zip(steps, names, strict=True) if was[layer][head] == name)
        for layer, row in enumerate(names[-1])
        for head, name in enumerate(row)
        if name == "induction"
    }
    if not since:
        return sentences.NO_INDUCTION
    heads = ", ".join(sentences.INDUCTION_SINCE.format(head=label, step=step) for label, step in since.items())
    return sentences.INDUCTION_HEADS.format(step=steps[-1], heads=heads)
