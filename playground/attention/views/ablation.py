"""Does it matter? Parts switched off: what the text then costs, what would come next, and what would be written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from nanollm.config import MAX_SEED
from nanollm.explain.ablation import Ablation, Means, Part, Predictions, ablate, first_difference, measure_ablation
from nanollm.explain.backup_heads import MIN_RATIO, MIN_STANDARD_ERRORS, BackupPair
from nanollm.inference.generate import generate_text
from nanollm.tokenizer import visible
from playground.attention.components.switches import parts_off, switches
from playground.attention.lens import Around, call, python_call, statement
from playground.components.bars import Bar, bars, beside, compared, drawn
from playground.components.format import percent, perplexity, signed
from playground.components.text import line
from playground.context import Context
from playground.handlers import report_errors
from playground.services.inspections import View

SEEN = "Switch parts off, and see what this text then costs, what would come next, and what would be written."
CAUTION = "No effect does not mean no use: another part may stand in for it, or another text may need it."
WHY = {
    "mean": "Held at its average over text it never trained on: only what it knew of this text is lost.",
    "zero": "Silenced: what follows meets zeros that it never learned with, and may be thrown by that alone.",
}
LENGTH = 160  # characters written
LIKELIEST = 6  # next characters shown
DIALS = {"temperature": 0.8, "top_k": 40}


@dataclass
class Parts:
    board: gr.HTML
    pair: gr.HTML
    both: gr.Button
    kind: gr.Radio
    seed: gr.Number
    why: gr.HTML
    cost: gr.HTML
    effects: gr.HTML
    following: gr.HTML
    writing: gr.HTML
    python: gr.Textbox

    @property
    def asked(self) -> list[Any]:
        return [self.board, self.kind, self.seed]

    @property
    def shown(self) -> list[Any]:
        return [self.pair, self.both, self.why, self.cost, self.effects, self.following, self.writing, self.python]


def layout(ctx: Context) -> Parts:
    statement("mattering", SEEN, CAUTION)
    board = switches("attention-board")
    with gr.Row(elem_classes="pair-row"):
        pair = line("attention-pair")
        both = gr.Button("Switch both off", size="sm", visible=False, elem_id="attention-both", scale=0)
    with gr.Row(elem_classes="dials"):
        kind = gr.Radio(
            [("Its average", "mean"), ("Zero", "zero")], value="mean", label="In its place", elem_id="attention-kind",
            elem_classes="segments",
        )  # fmt: skip
        seed = gr.Number(42, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, elem_id="attention-seed")
    why = line("attention-why")
    cost = line("attention-cost", elem_classes="key")
    effects = bars("attention-effects")
    following = bars("attention-following")
    writing = beside("attention-writing")
    return Parts(board, pair, both, kind, seed, why, cost, effects, following, writing, python_call("mattering"))


def show(ctx: Context, parts: Parts, view: View, head: Any, off: Any, kind: Any, seed: Any) -> dict[Any, Any]:
    """Everything again, without what is switched off."""
    model, tokenizer = view.loaded.model, view.loaded.tokenizer
    chosen = parts_off(off, model.config)
    means, no_means = ctx.inspections.means(view) if kind == "mean" and chosen else (None, "")
    found = measure_ablation(model, tokenizer, view.text, chosen, means)
    backup = _backup(ctx, view)
    return {
        parts.pair: _stand_in(backup) if backup else "",
        parts.both: gr.Button(visible=bool(backup), interactive=bool(backup) and set(chosen) != set(backup.pair)),
        parts.why: no_means or WHY["zero" if kind == "zero" else "mean"],
        parts.cost: _cost(found),
        parts.effects: _effects(found),
        parts.following: _following(found, tokenizer.characters),
        parts.writing: _writings(ctx, view, found, means, seed),
        parts.python: _python(ctx, view, found.parts, means),
    }


def wire(ctx: Context, parts: Parts, around: Around) -> None:
    """The tab follows the board, the kind and the seed; two heads that were found can be switched off at once."""

    @report_errors
    def switch_both(selection: Any, text: Any) -> Any:
        backup = _backup(ctx, ctx.inspections.view(selection, text))
        return [part.label for part in backup.pair] if backup else gr.skip()

    parts.both.click(
        switch_both, [ctx.selection, around.text], parts.board, api_visibility="private", show_progress="hidden"
    )


def _backup(ctx: Context, view: View) -> BackupPair | None:
    """Two heads that stand in for each other, where such were found in this very snapshot."""
    found = ctx.inspections.findings(view)
    return found.backup if found else None


def _stand_in(backup: BackupPair) -> str:
    one, other = (part.label for part in backup.pair)
    first, second = map(signed, backup.alone)
    more = backup.together - sum(backup.alone)
    return (
        f"{one} and {other} stand in for each other: on text it never trained on, losing one costs {first} or {second} "
        f"nats a character, but losing both {signed(backup.together)}, {more:.3f} ± {backup.error:.3f} more."
    )


def _cost(found: Ablation) -> str:
    before, after = found.original.loss, found.together.loss
    if len(found.text) < 2:
        return "A single character: nothing in it can be guessed."
    if not found.parts:
        return f"Nothing is switched off. This text costs {before:.2f} nats a character: {_choosing(before)}."
    return (
        f"Without {_listed(found.parts)} this text costs {after:.2f} nats a character instead of {before:.2f}: "
        f"{_choosing(after)} instead of {perplexity(before)}."
    )


def _choosing(loss: float) -> str:
    return f"choosing among {perplexity(loss)} characters"


def _effects(found: Ablation) -> dict[str, Any]:
    """What each part costs alone, and all of them together; one part has no together."""
    if len(found.parts) < 2 or len(found.text) < 2:
        return drawn([])
    alone = [_rises(found.original, reading) for reading in found.alone]  # (T - 1,) each
    all_of_them = _rises(found.original, found.together)
    rises, together = [_mean(each) for each in alone], _mean(all_of_them)
    rows = [Bar(part.label, rise, _known(rise, error)) for part, (rise, error) in zip(found.parts, rises, strict=True)]
    whole = Bar("together", together[0], _known(*together), strong=True)
    legend = "Nats a character, ± how far this could be off on a text so short."
    total = sum(rise for rise, _ in rises)
    excess, error = _mean(all_of_them - sum(alone))
    if excess > MIN_STANDARD_ERRORS * error and together[0] > MIN_RATIO * max(total, 0.0):
        legend = f"Together more than the sum of alone ({signed(total)}): each stood in for another. {legend}"
    return drawn([*rows, whole], "Alone and together", legend)


def _rises(untouched: Predictions, without: Predictions) -> np.ndarray:
    """By how much each character of the text costs more."""
    return without.losses.astype(np.float64) - untouched.losses


def _mean(rises: np.ndarray) -> tuple[float, float]:
    """The mean rise, and its standard error over the characters of the text."""
    return float(rises.mean()), float(rises.std(ddof=1) / np.sqrt(len(rises))) if len(rises) > 1 else float("nan")


def _known(rise: float, error: float) -> str:
    return f"{signed(rise)} ± {error:.3f}" if np.isfinite(error) else signed(rise)


def _following(found: Ablation, characters: tuple[str, ...]) -> dict[str, Any]:
    """The likeliest next characters, before and after."""
    before, after = found.original.next_probabilities, found.together.next_probabilities
    ids = np.argsort(-np.maximum(before, after))[:LIKELIEST]
    rows = [
        Bar(
            visible(characters[id]),
            float(after[id]),
            f"{percent(before[id])} → {percent(after[id])}" if found.parts else percent(after[id]),
            before=float(before[id]) if found.parts else None,
        )
        for id in ids
    ]
    legend = "Grey: with everything on." if found.parts else ""
    return drawn(rows, "The next character", legend)


def _writings(ctx: Context, view: View, found: Ablation, means: Means | None, seed: Any) -> dict[str, Any]:
    """What the model writes after the text, untouched and without the parts, with the same draws."""
    model, tokenizer = view.loaded.model, view.loaded.tokenizer
    seed = int(seed) if isinstance(seed, (int, float)) and 0 <= seed <= MAX_SEED else 0
    write = lambda by: generate_text(by, tokenizer, view.text, LENGTH, seed=seed, **DIALS)[len(view.text) :]  # noqa: E731
    untouched = ctx.inspections.written.get((view.file, view.text, seed), lambda: write(model))
    title = f"With everything on, seed {seed}"
    if not found.parts:
        return compared(_tail(view.text), [untouched], [title])
    without = write(ablate(model, found.parts, means))
    at = first_difference(untouched, without)
    same = "the same" if at is None else "different from the marked character on"
    return compared(_tail(view.text), [untouched, without], [title, f"Without {_listed(found.parts)}: {same}"], at)


def _tail(text: str, most: int = 60) -> str:
    return text if len(text) <= most else "…" + text[-most:]


def _listed(parts: tuple[Part, ...], most: int = 4) -> str:
    labels = [part.label for part in parts]
    if len(labels) > most:
        return f"{', '.join(labels[:most])} and {len(labels) - most} more"
    return " and ".join(filter(None, [", ".join(labels[:-1]), labels[-1]]))


def _python(ctx: Context, view: View, parts: tuple[Part, ...], means: Means | None) -> str:
    named = [f"Part({part.kind!r}, {part.layer}{f', {part.head}' if part.kind == 'head' else ''})" for part in parts]
    held = "None"
    if means:
        kept = view.snapshot.means_path.is_file()
        held = f'load_means("{view.means_name}")' if kept else "measure_means(loaded.model, ids)  # of held-out text"
    ranking = "list(rank_heads(loaded.model, ids, means))  # all heads; ids: held-out text"
    if ctx.inspections.findings(view):
        ranking = f'load_findings("{view.findings_name}").effects  # all heads, ranked on held-out text'
    return call(
        "from nanollm.explain.ablation import Part, ablate, load_means, measure_means, rank_heads, measure_ablation\n"
        "from nanollm.explain.findings import load_findings",
        view.name,
        f"parts = [{', '.join(named)}]  # layers and heads count from 0",
        f"means = {held}",
        f"found = measure_ablation(loaded.model, loaded.tokenizer, {view.text!r}, parts, means)",
        "found.original.loss, found.together.loss, [reading.loss for reading in found.alone]",
        "without = ablate(loaded.model, parts, means)  # an ordinary model: generate_text() takes it",
        ranking,
    )
