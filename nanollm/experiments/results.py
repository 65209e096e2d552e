"""What an experiment found: numbers and texts read off its runs, as charts, results.json, results.csv.

Losses are nats a character, on text that the models did not learn from. Nothing here is fitted or extrapolated.
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

# Name, title of the axis, and whether it is logarithmic, of what a loss is drawn against.
AXES = {
    "steps": ("steps", False),
    "characters": ("characters seen", True),
    "seconds": ("seconds of training", True),
    "flops": ("floating-point operations (estimated)", True),
}


@dataclass(frozen=True)
class Result:
    """One run of an experiment, in figures. None where something was not measured (yet)."""

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
    """What is known of each run that has begun, in the order of the experiment."""
    return [result(run) for run in experiment.runs() if run.curve().eval_steps]


def result(run: Run) -> Result:
    """What is known of one run."""
    status, curve, trial = run.status(), run.curve(), _trial_seconds(run)
    start = next((event for event in run.events() if isinstance(event, Start)), None)
    speeds = [event.tokens_per_second for event in run.events() if isinstance(event, Step) and event.tokens_per_second]
    evals = zip(curve.val_loss, curve.eval_steps, curve.train_loss, strict=True)
    best = min(((loss, step, train) for loss, step, train in evals if loss is not None), default=(None, None, None))
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
        seconds=status.seconds - trial if status.seconds is not None else None,
        characters_per_second=statistics.median(speeds) if speeds else None,
        peak_bytes=status.peak_bytes,
        best_val_loss=best[0],
        best_step=best[1],
        best_train_loss=best[2],
        final_val_loss=curve.val_loss[-1] if curve.val_loss else None,
        final_train_loss=curve.train_loss[-1] if curve.train_loss else None,
        machine=start.machine if start else "",
        device=start.device if start else "",
        precision=start.precision if start else "",
        threads=start.threads if start else None,
        torch=start.torch if start else "",
    )


def courses(run: Run, name: str = "", colour: int = 0) -> dict[str, LossCurve]:
    """A run's losses against each of AXES."""
    curve = run.curve()
    a_step = run.train_config.batch_size * run.model_config.context_length
    against = {
        "steps": list(curve.eval_steps),
        "characters": [step * a_step for step in curve.eval_steps],
        "seconds": [seconds - _trial_seconds(run) for seconds in curve.eval_seconds],
        "flops": [training_flops(run, step) for step in curve.eval_steps],
    }
    return {axis: LossCurve(x, curve.val_loss, curve.train_loss, name, colour) for axis, x in against.items()}


def figures(experiment: Experiment, palette: Palette = LIGHT) -> dict[str, Figure]:
    """All charts of an experiment: the loss against each of AXES, and under "size" the final one against parameters."""
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
        drawn[axis]["layout"]["showlegend"] = False  # which colour is whose is said once for all of them
    points = [
        SizePoint(
            r.parameters, r.final_val_loss, r.best_val_loss, r.final_train_loss, r.preset, colours.get(r.preset, 0)
        )
        for r in map(result, runs)
    ]
    # The hardest one to pass is enough here; uniform guess would press everything else together.
    drawn["size"] = size_figure(points, references=references[1:][-1:], revision="size", palette=palette)
    return drawn


def sample(run: Run) -> str:
    """What the run's best snapshot writes, from a new line, with the same draws for every run; "" if it cannot."""
    best = next((snapshot for snapshot in run.snapshots() if snapshot.best), None)
    if best is None:
        return ""
    try:
        loaded = load_model(best.path)
    except InputError:
        return ""
    return generate_text(loaded.model, loaded.tokenizer, max_length=SAMPLE_LENGTH, **SAMPLE)


def samples(experiment: Experiment) -> dict[str, str]:
    """A sample of each run that has a snapshot, by the run's id."""
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
    """What write_results() wrote; empty if it is not there."""
    try:
        return json.loads((folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def to_csv(found: Sequence[Result]) -> str:
    """One line a run under the names of Result's fields; an empty cell where something was not measured.

    No title becomes a formula in a spreadsheet.
    """
    written = io.StringIO()
    table = csv.writer(written, lineterminator="\n")
    table.writerow([field.name for field in fields(Result)])
    table.writerows([["" if value is None else escape_formula(value) for value in asdict(r).values()] for r in found])
    return written.getvalue()


def _trial_seconds(run: Run) -> float:
    """Seconds before the first step, in which the first run of a shape tries precisions and threads."""
    curve = run.curve()
    return curve.eval_seconds[0] if curve.eval_steps[:1] == [0] else 0.0


def _curve(run: Run) -> dict[str, Any]:
    drawn = courses(run)
    losses = {"val_loss": drawn["steps"].val_loss, "train_loss": drawn["steps"].train_loss}
    return {**{axis: list(course.x) for axis, course in drawn.items()}, **losses}


def _baselines(runs: Sequence[Run]) -> dict[str, Any] | None:
    return next((asdict(run.baselines) for run in runs if run.baselines), None)
