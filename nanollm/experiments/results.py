"""Results of an experiment: metrics and samples of its runs, as charts, results.json and results.csv.

Losses are in nats per character on the validation split. Nothing is fitted or extrapolated.
"""

from __future__ import annotations

import csv
import io
import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nanollm.charts.base import LIGHT, Figure, Palette, references_of
from nanollm.charts.scaling import LossCurve, SizePoint, loss_curves_figure, size_figure
from nanollm.errors import InputError
from nanollm.experiments.scaling import Experiment, training_flops
from nanollm.files import write_atomic
from nanollm.inference.generate import generate_text
from nanollm.runs.record import Run
from nanollm.runs.table import escape_formula
from nanollm.train.checkpoint import load_model
from nanollm.train.events import Start, Step

SAMPLE_LENGTH = 400
SAMPLE = {"prompt": "", "temperature": 0.8, "top_k": 40, "seed": 42}

# X axes of the loss charts: name → (title, logarithmic).
AXES = {
    "steps": ("steps", False),
    "characters": ("characters seen", True),
    "seconds": ("elapsed seconds", True),
    "flops": ("floating-point operations (estimated)", True),
}


@dataclass(frozen=True)
class Result:
    """Metrics of one run of an experiment. None: not measured (yet)."""

    run: str
    title: str
    preset: str
    seed: int
    state: str
    parameters: int
    flops_per_character: int  # of one forward pass
    num_steps: int
    steps: int  # taken so far
    characters: int  # seen in training so far
    flops: float  # of training so far, estimated
    seconds: float | None  # of training steps so far
    characters_per_second: float | None  # median over the run
    peak_bytes: int | None
    best_val_loss: float | None
    best_step: int | None
    best_train_loss: float | None  # at that step, measured like the validation loss, without dropout
    final_val_loss: float | None
    final_train_loss: float | None
    machine: str
    device: str
    precision: str
    threads: int | None
    torch: str


def results(experiment: Experiment) -> list[Result]:
    """The results of all runs that have started, in the order of the experiment."""
    return [result(run) for run in experiment.runs() if run.curve().eval_steps]


def result(run: Run) -> Result:
    """The results of one run."""
    status, curve, calibration = run.status(), run.curve(), _calibration_seconds(run)
    start = next((event for event in run.events() if isinstance(event, Start)), None)
    speeds = [event.tokens_per_second for event in run.events() if isinstance(event, Step) and event.tokens_per_second]
    best_losses = curve.losses_at(curve.best_step) if curve.best_step is not None else None
    final_train_loss, final_val_loss = curve.final_losses
    return Result(
        run=run.id,
        title=run.title,
        preset=run.preset or "",
        seed=run.train_config.seed,
        state=status.state,
        parameters=run.model_config.num_parameters,
        flops_per_character=run.model_config.flops_per_character,
        num_steps=run.train_config.num_steps,
        steps=status.step,
        characters=status.step * run.train_config.batch_size * run.model_config.context_length,
        flops=training_flops(run, status.step),
        seconds=status.seconds - calibration if status.seconds is not None else None,
        characters_per_second=statistics.median(speeds) if speeds else None,
        peak_bytes=status.peak_bytes,
        best_val_loss=curve.best_val_loss,
        best_step=curve.best_step,
        best_train_loss=best_losses[0] if best_losses else None,
        final_val_loss=final_val_loss,
        final_train_loss=final_train_loss,
        machine=start.machine if start else "",
        device=start.device if start else "",
        precision=start.precision if start else "",
        threads=start.threads if start else None,
        torch=start.torch if start else "",
    )


def courses(run: Run, name: str = "", colour: int = 0) -> dict[str, LossCurve]:
    """A run's loss curves over each of AXES."""
    curve = run.curve()
    a_step = run.train_config.batch_size * run.model_config.context_length
    against = {
        "steps": list(curve.eval_steps),
        "characters": [step * a_step for step in curve.eval_steps],
        "seconds": [elapsed - curve.eval_elapsed[0] for elapsed in curve.eval_elapsed],  # without start and calibration
        "flops": [training_flops(run, step) for step in curve.eval_steps],
    }
    return {axis: LossCurve(x, curve.val_loss, curve.train_loss, name, colour) for axis, x in against.items()}


def figures(experiment: Experiment, palette: Palette = LIGHT) -> dict[str, Figure]:
    """All charts of an experiment: the loss over each of AXES, and under "size" the final loss over parameters."""
    runs = [run for run in experiment.runs() if run.curve().eval_steps]
    colours = {name: colour for colour, name in enumerate(experiment.plan.presets)}
    several = len(experiment.plan.seeds) > 1
    lines = []
    for run in runs:
        name = f"{run.preset}, seed {run.train_config.seed}" if several else str(run.preset)
        lines.append(courses(run, name, colours.get(str(run.preset), 0)))
    baselines = next((run.baselines for run in runs if run.baselines), None)
    references = references_of(experiment.corpus.vocab_size, baselines)
    drawn: dict[str, Figure] = {}
    for axis, (title, logarithmic) in AXES.items():
        chosen = [line[axis] for line in lines]
        drawn[axis] = loss_curves_figure(
            chosen, title, logarithmic=logarithmic, references=references, revision=axis, palette=palette
        )
        drawn[axis]["layout"]["showlegend"] = False  # the page has one legend for all charts
    points = [
        SizePoint(
            r.parameters, r.final_val_loss, r.best_val_loss, r.final_train_loss, r.preset, colours.get(r.preset, 0)
        )
        for r in map(result, runs)
    ]
    # Only the lowest baseline: the uniform guess would compress the scale.
    drawn["size"] = size_figure(points, references=references[1:][-1:], revision="size", palette=palette)
    return drawn


def sample(run: Run) -> str:
    """A sample of the run's best snapshot with the same settings and seed for all runs; "" if unavailable."""
    best = next((snapshot for snapshot in run.snapshots() if snapshot.best), None)
    if best is None:
        return ""
    try:
        loaded = load_model(best.path)
    except InputError:
        return ""
    return generate_text(loaded.model, loaded.tokenizer, max_length=SAMPLE_LENGTH, **SAMPLE)


def samples(experiment: Experiment) -> dict[str, str]:
    """Samples of all runs that have a snapshot, by run id."""
    return {run.id: text for run in experiment.runs() if (text := sample(run))}


def write_results(experiment: Experiment, texts: dict[str, str]) -> None:
    """Write results.json and results.csv into the experiment's folder. Raises OSError."""
    found = results(experiment)
    runs = {run.id: run for run in experiment.runs()}
    about: dict[str, Any] = {
        "experiment": experiment.name,
        "corpus": asdict(experiment.corpus),
        "plan": asdict(experiment.plan),
        "baselines": _baselines(list(runs.values())),
        "sampling": {**SAMPLE, "max_length": SAMPLE_LENGTH},
        "runs": [{**asdict(r), "curve": _curve(runs[r.run]), "sample": texts.get(r.run, "")} for r in found],
    }
    write_atomic(experiment.folder / "results.json", json.dumps(about, ensure_ascii=False, indent=1).encode())
    write_atomic(experiment.folder / "results.csv", to_csv(found).encode())


def read_results(folder: Path) -> dict[str, Any]:
    """The content of results.json; empty if it is missing or damaged."""
    try:
        return json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def to_csv(found: Sequence[Result]) -> str:
    """One CSV row per run, with Result's fields as columns; empty cells for values that were not measured.

    Cells that a spreadsheet would read as formulas are escaped.
    """
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow([field.name for field in fields(Result)])
    table.writerows([["" if value is None else escape_formula(value) for value in asdict(r).values()] for r in found])
    return written.getvalue()


def _calibration_seconds(run: Run) -> float:
    """Seconds of calibration that a run of version 0.1 counted as training; later versions do not."""
    curve = run.curve()
    return curve.eval_seconds[0] if curve.eval_steps[:1] == [0] else 0.0


def _curve(run: Run) -> dict[str, Any]:
    drawn = courses(run)
    losses = {"val_loss": drawn["steps"].val_loss, "train_loss": drawn["steps"].train_loss}
    return {**{axis: list(course.x) for axis, course in drawn.items()}, **losses}


def _baselines(runs: Sequence[Run]) -> dict[str, Any] | None:
    return next((asdict(run.baselines) for run in runs if run.baselines), None)
