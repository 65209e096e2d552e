"""The report of an experiment: one self-contained HTML file with charts, samples and tables.

All text from runs and corpora is escaped, because samples and names may contain markup.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from nanollm.charts.base import DARK, LIGHT, Figure, Palette, plotly_js
from nanollm.experiments.results import SAMPLE, Result, figures, results, samples, write_results
from nanollm.experiments.scaling import Experiment
from nanollm.files import write_atomic

REPORT = "report.html"
_COUNTS = {1: "One point is", 2: "Two points are", 3: "Three points are", 4: "Four points are"}
_CHARTS = {
    "steps": "Loss against steps",
    "characters": "Loss against characters seen",
    "seconds": "Loss against time",
    "flops": "Loss against computing",
    "size": "Final loss against size",
}


@dataclass(frozen=True)
class Column:
    """A table column: its header and one cell per run."""

    head: str
    cells: Sequence[str]


def write(experiment: Experiment) -> Path:
    """Write results.json, results.csv and report.html into the experiment's folder; returns the report's path.

    Raises OSError if the disk cannot be written.
    """
    texts = samples(experiment)
    write_results(experiment, texts)
    path = experiment.folder / REPORT
    write_atomic(path, page(experiment, texts).encode())
    return path


def page(experiment: Experiment, texts: dict[str, str]) -> str:
    """The report as HTML; `texts` is the result of samples()."""
    found = results(experiment)
    themes = {"light": figures(experiment, LIGHT), "dark": figures(experiment, DARK)}
    corpus, plan = experiment.corpus, experiment.plan
    title = f"{_listed(plan.presets)} on {corpus.name}"
    scale = f", each for {plan.num_steps_scale:g} × its default steps" if plan.num_steps_scale != 1 else ""
    learned = (
        f"Models of {_number_word(len(plan.presets))}, trained with the same code on the same "
        f"{corpus.characters:,} characters{scale}. They differ only in their configuration."
    )
    parts = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">{escape(learned)}</p>',
        _caution(found),
        _unfinished(found, len(experiment.members)),
        _table("Results", _outcome(found)),
        "<h2>Loss curves</h2>",
        "<p>Solid: validation loss, on the end of the text, which is not used for training. Faint: training loss. "
        "Dashed: n-gram baselines. Loss by size: dots are final validation losses, rings final training losses, "
        "diamonds lower validation losses at an earlier step.</p>",
        _key(plan.presets),
        f'<div class="charts">{"".join(map(_chart, _CHARTS))}</div>',
        _samples(found, texts),
        _table("Speed and memory", _cost(found)),
        _method(experiment, found),
    ]
    return _HTML.format(
        title=escape(f"Scaling: {title}"),
        style=_style(),
        body="\n".join(filter(None, parts)),
        plotly=plotly_js(),
        figures=_as_script(themes),
    )


def _caution(found: Sequence[Result]) -> str:
    sizes = len({result.parameters for result in found})
    if not sizes:
        return ""
    points = _COUNTS.get(sizes, f"{sizes} points are")
    conclusion = "no line at all" if sizes == 1 else "a line, not a law"
    return (
        f'<p class="caution"><strong>{points} {conclusion}.</strong> They show the trend on this text, but '
        "do not allow an extrapolation, so no curve is fitted. The presets differ in steps, learning rate and dropout "
        "as well as in size, so this compares complete configurations.</p>"
    )


def _unfinished(found: Sequence[Result], wanted: int) -> str:
    waiting = wanted - sum(result.state == "completed" for result in found)
    if not waiting:
        return ""
    descriptions = [f"{escape(r.title)} is {r.state} at step {r.steps:,} of {r.num_steps:,}" for r in found]
    open_ones = "; ".join(sentence for sentence, r in zip(descriptions, found, strict=True) if r.state != "completed")
    return (
        f'<p class="caution">Not finished: {waiting} of {wanted} runs are not completed'
        f"{f' ({open_ones})' if open_ones else ''}. Run the same command to continue.</p>"
    )


def _outcome(found: Sequence[Result]) -> list[Column]:
    return [
        *_names(found),
        Column("parameters", [f"{r.parameters:,}" for r in found]),
        Column("steps", [f"{r.steps:,}" for r in found]),
        Column("lowest validation loss", [_cell(r.best_val_loss, ".3f") for r in found]),
        Column("at step", [_cell(r.best_step, ",.0f") for r in found]),
        Column("training loss at that step", [_cell(r.best_train_loss, ".3f") for r in found]),
        Column("final validation loss", [_cell(r.final_val_loss, ".3f") for r in found]),
        Column("perplexity", [_cell(r.best_val_loss, ".1f", math.exp) for r in found]),
    ]


def _names(found: Sequence[Result]) -> list[Column]:
    seeds = [str(r.seed) for r in found]
    return [Column("model", [r.preset for r in found]), *([Column("seed", seeds)] if len(set(seeds)) > 1 else [])]


def _cost(found: Sequence[Result]) -> list[Column]:
    return [
        *_names(found),
        Column("characters seen", [f"{r.characters:,}" for r in found]),
        Column("training time (s)", [_cell(r.seconds, ",.1f") for r in found]),
        Column("characters per second", [_cell(r.characters_per_second, ",.0f") for r in found]),
        Column("FLOPs (estimated)", [f"{r.flops:.2e}" for r in found]),
        Column("peak process memory (MB)", [_cell(r.peak_bytes, ",.0f", lambda size: size / 1e6) for r in found]),
        Column("arithmetic", [f"{r.precision}, {_threads(r.threads)}, {r.device}" for r in found]),
    ]


def _table(title: str, columns: Sequence[Column]) -> str:
    if not columns or not columns[0].cells:
        return ""
    heads = "".join(f"<th>{escape(column.head)}</th>" for column in columns)
    rows = zip(*(column.cells for column in columns), strict=True)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f"<h2>{escape(title)}</h2>"
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _chart(name: str) -> str:
    caption = escape(_CHARTS[name])
    return f'<figure><figcaption>{caption}</figcaption><div class="plot" data-figure="{name}"></div></figure>'


def _key(presets: Sequence[str]) -> str:
    marks = (f'<span style="--run: var(--run-{i % 5})">{escape(name)}</span>' for i, name in enumerate(presets))
    return f'<p class="key">{"".join(marks)}</p>'


def _samples(found: Sequence[Result], texts: dict[str, str]) -> str:
    """One sample per preset (the first seed)."""
    first: dict[str, Result] = {}
    for result in found:
        if texts.get(result.run):
            first.setdefault(result.preset, result)
    if not first:
        return ""
    columns = "".join(
        f"<section><h3>{escape(r.preset)}</h3><p>step {r.best_step or r.steps:,}, validation loss "
        f"{_cell(r.best_val_loss, '.3f')}</p><pre>{escape(texts[r.run])}</pre></section>"
        for r in first.values()
    )
    sampling = f"temperature {SAMPLE['temperature']}, top-k {SAMPLE['top_k']}, seed {SAMPLE['seed']}"
    return f'<h2>Samples</h2><p>All start at a new line, with {sampling}.</p><div class="samples">{columns}</div>'


def _method(experiment: Experiment, found: Sequence[Result]) -> str:
    corpus = experiment.corpus
    machines = sorted({f"{r.machine or 'unknown machine'}, torch {r.torch}" for r in found})
    flags = f"--presets {' '.join(experiment.plan.presets)} --seeds {' '.join(map(str, experiment.plan.seeds))}"
    scale = experiment.plan.num_steps_scale
    command = f"python -m nanollm scale --corpus FILE {flags}" + (f" --num-steps-scale {scale:g}" if scale != 1 else "")
    lines = [
        f"Command: <code>{escape(command)}</code>",
        f"Text: {escape(corpus.name)}, {corpus.characters:,} characters, {corpus.vocab_size:,} different, SHA-256 "
        f"<code>{corpus.sha256}</code>",
        f"Trained on: {escape('; '.join(machines))}",
        "Losses are in nats per character. Perplexity is exp(loss): as uncertain as a fair choice among that many "
        "characters.",
        "FLOPs are estimated as three forward passes over the training characters: two operations per weight of each "
        "matrix product, plus attention's two products over a full window.",
        "Training time covers only the steps, without calibration, evaluation, saving and waiting in the queue. Memory "
        "is that of the whole process, including some hundred megabytes for torch.",
        "All numbers are in results.json and results.csv next to this file.",
    ]
    return f"<h2>Method</h2><ul>{''.join(f'<li>{line}</li>' for line in lines)}</ul>"


def _cell(value: float | None, spec: str, convert: Callable[[float], float] = float) -> str:
    """Format a value, or its conversion; a dash if it was not measured."""
    return "–" if value is None else format(convert(value), spec)


def _threads(count: int | None) -> str:
    return "1 thread" if count == 1 else f"{count or '?'} threads"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _number_word(count: int) -> str:
    return {1: "one size", 2: "two sizes", 3: "three sizes", 4: "four sizes"}.get(count, f"{count} sizes")


def _as_script(themes: dict[str, dict[str, Figure]]) -> str:
    """JSON for a script element, with “<” escaped so that it cannot end the element."""
    return json.dumps(themes, allow_nan=False).replace("<", "\\u003c")


def _style() -> str:
    return f":root {{{_tokens(LIGHT)}}}\n@media (prefers-color-scheme: dark) {{ :root {{{_tokens(DARK)}}} }}\n{_CSS}"


def _tokens(palette: Palette) -> str:
    colors = {name: getattr(palette, name) for name in ("surface", "line", "text", "quiet")}
    colors |= {"page": palette.blocked, **{f"run-{slot}": color for slot, color in enumerate(palette.runs)}}
    return " ".join(f"--{name}: {color};" for name, color in colors.items())


_CSS = """
* { box-sizing: border-box; }
html { color-scheme: light dark; }
body { margin: 0 auto; padding: 24px 16px 64px; max-width: 1120px; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 24px; line-height: 1.25; margin: 0 0 8px; overflow-wrap: anywhere; }
h2 { font-size: 18px; margin: 40px 0 8px; }
h3 { font-size: 15px; margin: 0; }
p { margin: 0 0 12px; max-width: 72ch; }
.caution { border-left: 3px solid var(--quiet); padding-left: 12px; }
.scroll { overflow-x: auto; background: var(--surface); border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 12px; text-align: right; vertical-align: bottom; }
td { white-space: nowrap; }
th { color: var(--quiet); font-weight: 500; font-size: 13px; min-width: 84px; }
th:first-child, td:first-child { text-align: left; }
tbody tr { border-top: 1px solid var(--line); }
.key { display: flex; flex-wrap: wrap; gap: 4px 24px; }
.key span::before { background: var(--run); border-radius: 50%; content: ""; display: inline-block; height: 10px;
  margin-right: 8px; width: 10px; }
.charts { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); }
figure { margin: 0; padding: 12px; background: var(--surface); border: 1px solid var(--line); border-radius: 8px;
  min-width: 0; }
figcaption { font-weight: 600; }
.plot { height: 340px; }
.samples { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 280px), 1fr)); }
.samples section { padding: 12px; background: var(--surface); border: 1px solid var(--line); border-radius: 8px;
  min-width: 0; }
.samples p { color: var(--quiet); font-size: 13px; margin: 0 0 8px; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 14px/1.6 ui-monospace, SFMono-Regular, Menlo, "DejaVu Sans Mono", monospace; }
li { margin-bottom: 4px; overflow-wrap: anywhere; }
"""

_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}
</style>
</head>
<body>
{body}
<script>{plotly}</script>
<script>
const themes = {figures};
const dark = matchMedia("(prefers-color-scheme: dark)");
function draw() {{
  const figures = themes[dark.matches ? "dark" : "light"];
  for (const plot of document.querySelectorAll(".plot")) {{
    const figure = figures[plot.dataset.figure];
    Plotly.react(plot, figure.data, figure.layout, {{ responsive: true, displaylogo: false, displayModeBar: false }});
  }}
}}
dark.addEventListener("change", draw);
draw();
</script>
</body>
</html>
"""
