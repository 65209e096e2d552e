"""The Ablation view: loss, next character and generated text when parts of the model are switched off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from nanollm.config import MAX_SEED
from nanollm.inference.generate import generate_text
from nanollm.tokenizer import visible
from playground.attention import sentences
from playground.attention.components.bars import Bar, bars, bars_value
from playground.attention.components.switches import parts_off, switches
from playground.attention.view_frame import SharedInputs, introduction, python_code, python_fold
from playground.components.format import percent, perplexity, signed
from playground.components.text import line, text_pair, text_pair_value
from playground.context import Context
from playground.handlers import report_errors

if TYPE_CHECKING:
    from nanollm.explain.ablation import Ablation, Means, Part, Predictions
    from nanollm.explain.backup_heads import BackupPair
    from playground.services.inspections import View

GENERATED = 160  # characters
NEXT_CHARACTERS = 6
SAMPLING = {"temperature": 0.8, "top_k": 40}


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
    def inputs(self) -> list[Any]:
        return [self.board, self.kind, self.seed]

    @property
    def outputs(self) -> list[Any]:
        return [self.pair, self.both, self.why, self.cost, self.effects, self.following, self.writing, self.python]


def layout(ctx: Context) -> Parts:
    introduction("mattering", sentences.ABLATION_ABOUT, sentences.ABLATION_CAUTION)
    board = switches("attention-board")
    with gr.Row(elem_classes="pair-row"):
        pair = line("attention-pair")
        both = gr.Button(sentences.SWITCH_OFF_BOTH, size="sm", visible=False, elem_id="attention-both", scale=0)
    with gr.Row(elem_classes="dials"):
        kind = gr.Radio(
            [(title, name) for name, title in sentences.REPLACEMENTS.items()], value="mean",
            label=sentences.REPLACEMENT_LABEL, elem_id="attention-kind", elem_classes="segments",
        )  # fmt: skip
        seed = gr.Number(
            42, label=sentences.SEED_LABEL, precision=0, minimum=0, maximum=MAX_SEED, elem_id="attention-seed"
        )
    why = line("attention-why")
    cost = line("attention-cost", elem_classes="key")
    effects = bars("attention-effects")
    following = bars("attention-following")
    writing = text_pair("attention-writing")
    return Parts(board, pair, both, kind, seed, why, cost, effects, following, writing, python_fold("mattering"))


def show(ctx: Context, parts: Parts, view: View, head: Any, off: Any, kind: Any, seed: Any) -> dict[Any, Any]:
    """Return all outputs with the parts in `off` switched off."""
    from nanollm.explain.ablation import measure_ablation  # imports torch, which takes a second

    model, tokenizer = view.loaded.model, view.loaded.tokenizer
    chosen = parts_off(off, model.config)
    means, no_means = ctx.inspections.means(view) if kind == "mean" and chosen else (None, "")
    found = measure_ablation(model, tokenizer, view.text, chosen, means)
    backup = _backup(ctx, view)
    return {
        parts.pair: _describe_backup(backup) if backup else "",
        parts.both: gr.Button(visible=bool(backup), interactive=bool(backup) and set(chosen) != set(backup.pair)),
        parts.why: no_means or (sentences.REPLACED_BY_ZERO if kind == "zero" else sentences.REPLACED_BY_MEAN),
        parts.cost: _loss(found),
        parts.effects: _effects(found),
        parts.following: _next_characters(found, tokenizer.characters),
        parts.writing: _generated(ctx, view, found, means, seed),
        parts.python: _python(ctx, view, found.parts, means),
    }


def wire(ctx: Context, parts: Parts, shared: SharedInputs) -> None:
    """Wire the button that switches a backup pair off. The tab listens to the other inputs."""

    @report_errors
    def switch_both(selection: Any, text: Any) -> Any:
        backup = _backup(ctx, ctx.inspections.view(selection, text))
        return [part.label for part in backup.pair] if backup else gr.skip()

    parts.both.click(
        switch_both, [ctx.selection, shared.text], parts.board, api_visibility="private", show_progress="hidden"
    )


def _backup(ctx: Context, view: View) -> BackupPair | None:
    """Return two heads that back each other up, if such a pair was found in this snapshot."""
    found = ctx.inspections.findings(view)
    return found.backup if found else None


def _describe_backup(backup: BackupPair) -> str:
    first, second = (part.label for part in backup.pair)
    return sentences.BACKUP_PAIR.format(
        first=first,
        second=second,
        alone=list(map(signed, backup.alone)),
        together=signed(backup.together),
        excess=backup.together - sum(backup.alone),
        error=backup.error,
    )


def _loss(found: Ablation) -> str:
    before, after = found.original.loss, found.together.loss
    if len(found.text) < 2:
        return sentences.NOTHING_TO_PREDICT
    if not found.parts:
        return sentences.LOSS_UNCHANGED.format(before=before, was=perplexity(before))
    return sentences.LOSS_CHANGED.format(
        parts=_join(found.parts), before=before, after=after, was=perplexity(before), now=perplexity(after)
    )


def _effects(found: Ablation) -> dict[str, Any]:
    """Return bars with the loss increase of each part alone and of all together; none for fewer than two parts."""
    from nanollm.explain.backup_heads import MIN_RATIO, MIN_STANDARD_ERRORS

    if len(found.parts) < 2 or len(found.text) < 2:
        return bars_value([])
    alone = [_increases(found.original, reading) for reading in found.alone]  # (T - 1,) each
    all_parts = _increases(found.original, found.together)
    effects, together = [_mean(each) for each in alone], _mean(all_parts)
    rows = [
        Bar(part.label, mean, _with_error(mean, error))
        for part, (mean, error) in zip(found.parts, effects, strict=True)
    ]
    sum_bar = Bar("together", together[0], _with_error(*together), strong=True)
    legend = sentences.EFFECTS_LEGEND
    total = sum(mean for mean, _ in effects)
    excess, error = _mean(all_parts - sum(alone))
    if excess > MIN_STANDARD_ERRORS * error and together[0] > MIN_RATIO * max(total, 0.0):
        legend = sentences.EFFECTS_EXCESS.format(sum=signed(total), legend=legend)
    return bars_value([*rows, sum_bar], sentences.EFFECTS_CAPTION, legend)


def _increases(untouched: Predictions, without: Predictions) -> np.ndarray:
    """The loss increase of each character of the text."""
    return without.losses.astype(np.float64) - untouched.losses


def _mean(increases: np.ndarray) -> tuple[float, float]:
    """Mean and standard error over the characters of the text."""
    count = len(increases)
    return float(increases.mean()), float(increases.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan")


def _with_error(mean: float, error: float) -> str:
    return f"{signed(mean)} ± {error:.3f}" if np.isfinite(error) else signed(mean)


def _next_characters(found: Ablation, characters: tuple[str, ...]) -> dict[str, Any]:
    """Return bars for the most likely next characters, before and after."""
    before, after = found.original.next_probabilities, found.together.next_probabilities
    rows = []
    for id in np.argsort(-np.maximum(before, after))[:NEXT_CHARACTERS]:
        was, now = float(before[id]), float(after[id])
        text = f"{percent(was)} → {percent(now)}" if found.parts else percent(now)
        rows.append(Bar(visible(characters[id]), now, text, before=was if found.parts else None))
    return bars_value(rows, sentences.NEXT_CAPTION, sentences.NEXT_LEGEND if found.parts else "")


def _generated(ctx: Context, view: View, found: Ablation, means: Means | None, seed: Any) -> dict[str, Any]:
    """Return what the model generates after the text, with and without the parts, from the same seed."""
    from nanollm.explain.ablation import ablate, first_difference

    model, tokenizer = view.loaded.model, view.loaded.tokenizer
    seed = int(seed) if isinstance(seed, (int, float)) and 0 <= seed <= MAX_SEED else 0

    def generate(by: Any) -> str:
        return generate_text(by, tokenizer, view.text, GENERATED, seed=seed, **SAMPLING)[len(view.text) :]

    untouched = ctx.inspections.written.get((view.file, view.text, seed), lambda: generate(model))
    title = sentences.GENERATED_WITH_ALL.format(seed=seed)
    if not found.parts:
        return text_pair_value(_tail(view.text), [untouched], [title])
    without = generate(ablate(model, found.parts, means))
    at = first_difference(untouched, without)
    template = sentences.GENERATED_SAME if at is None else sentences.GENERATED_DIFFERENT
    return text_pair_value(
        _tail(view.text), [untouched, without], [title, template.format(parts=_join(found.parts))], at
    )


def _tail(text: str, length: int = 60) -> str:
    return text if len(text) <= length else "…" + text[-length:]


def _join(parts: tuple[Part, ...], limit: int = 4) -> str:
    labels = [part.label for part in parts]
    if len(labels) > limit:
        return f"{', '.join(labels[:limit])} and {len(labels) - limit} more"
    return " and ".join(filter(None, [", ".join(labels[:-1]), labels[-1]]))


def _python(ctx: Context, view: View, parts: tuple[Part, ...], means: Means | None) -> str:
    named = [f"Part({part.kind!r}, {part.layer}{f', {part.head}' if part.kind == 'head' else ''})" for part in parts]
    means_code = "None"
    if means:
        stored = view.snapshot.means_path.is_file()
        measure = "measure_means(loaded.model, ids)  # ids: held-out text"
        means_code = f'load_means("{view.means_name}")' if stored else measure
    ranking = "list(rank_heads(loaded.model, ids, means))  # all heads; ids: held-out text"
    if ctx.inspections.findings(view):
        ranking = f'load_findings("{view.findings_name}").effects  # all heads, ranked on held-out text'
    return python_code(
        "from nanollm.explain.ablation import Part, ablate, load_means, measure_means, rank_heads, measure_ablation\n"
        "from nanollm.explain.findings import load_findings",
        view.name,
        f"parts = [{', '.join(named)}]  # layers and heads count from 0",
        f"means = {means_code}",
        f"found = measure_ablation(loaded.model, loaded.tokenizer, {view.text!r}, parts, means)",
        "found.original.loss, found.together.loss, [reading.loss for reading in found.alone]",
        "without = ablate(loaded.model, parts, means)  # an ordinary model, for example for generate_text()",
        ranking,
    )
