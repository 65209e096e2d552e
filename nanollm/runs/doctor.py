"""The run doctor: five rules that diagnose a loss curve, each with evidence and a suggested fix.

A rule only reports clear cases. Its thresholds were calibrated on recorded runs (see tests/recorded.py), including
healthy runs, for which no rule may report anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nanollm.config import PRESETS, ModelConfig, TrainConfig, make_configs
from nanollm.data.ngrams import Baselines
from nanollm.errors import InputError
from nanollm.runs.record import Curve, Run
from nanollm.runs.store import Corpora, RunStore

ABOVE_START = 1.15  # factor on the uniform-guess loss; healthy runs never rise this far above their start
PATIENCE = 200  # steps after which every preset beats bigram counts (sprint after 25, nano after 85)
RISEN = 0.03  # relative rise of the validation loss above its minimum
FALLING = 0.005  # relative fall of the validation loss in the last fifth of the steps
PAIRS, TRIPLES = 0.55, 0.42  # estimated bigram and trigram losses, as fractions of the uniform-guess loss
GAP = 0.25  # nats between training and validation loss
TOO_FEW = 10  # parameters per training character


@dataclass(frozen=True)
class TrainingRecord:
    """The data that the rules use."""

    curve: Curve
    model: ModelConfig
    train: TrainConfig
    state: str  # as in Status
    characters: int  # in the training split
    preset: str | None = None
    baselines: Baselines | None = None

    @classmethod
    def of(cls, run: Run) -> TrainingRecord:
        """Collect the data from a run folder."""
        kept = int(run.corpus.get("characters") or 0)
        learned = kept - int(kept * run.train_config.validation_fraction)
        state = run.status().state
        return cls(run.curve(), run.model_config, run.train_config, state, learned, run.preset, run.baselines)

    @property
    def measured(self) -> list[tuple[int, float, float]]:
        """(step, training loss, validation loss) of every evaluation that measured both."""
        columns = zip(self.curve.eval_steps, self.curve.train_loss, self.curve.val_loss, strict=True)
        return [(step, train, val) for step, train, val in columns if train is not None and val is not None]

    @property
    def over(self) -> bool:
        """Whether training has ended permanently."""
        return self.state in ("completed", "stopped", "diverged")


@dataclass(frozen=True)
class Advice:
    """One diagnosis: the problem, the evidence, and a suggested fix."""

    rule: str
    sentence: str
    evidence: str
    action: str  # label of the button
    settings: Mapping[str, Any]  # settings to change in a new run
    continues: bool = False  # instead: fork from the last snapshot
    preset: str | None = None  # instead: train this preset on the same text


def diagnose(run: Run | TrainingRecord) -> list[Advice]:
    """The diagnoses of a run, most severe first; empty for a healthy run and one that is too short to judge."""
    record = run if isinstance(run, TrainingRecord) else TrainingRecord.of(run)
    found = [advice for rule in RULES for advice in rule(record)]
    return found[:1] if found and found[0].rule in ("too_high", "too_low") else found


def apply_advice(store: RunStore, run: Run, index: Any, corpora: Corpora) -> Run:
    """Queue a new run that applies the advice with this index in diagnose(run).

    A forked run restarts from its first snapshot, which has its parent's weights. Raises InputError if the index is
    invalid.
    """
    found = diagnose(run)
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(found):
        raise InputError("This advice is outdated: reload the run.")
    advice = found[index]
    if advice.continues or (run.parent and not advice.preset):
        return store.fork(run, corpora=corpora, settings=advice.settings, step=None if advice.continues else 0)
    kept = _size_independent(run.settings) if advice.preset else run.settings
    corpus = corpora.get(str(run.corpus.get("sha256")))
    return store.create(settings={**kept, **advice.settings}, corpus=corpus, preset=advice.preset or run.preset)


def rate_too_high(record: TrainingRecord) -> Iterator[Advice]:
    """Learning rate too high: the loss diverged, or rose far above both the uniform-guess loss and its first value.

    The first value matters for forks: a trained model on a different text starts with a high loss, whatever the rate.
    """
    uniform = math.log(max(2, record.model.vocab_size))
    recorded = [
        *zip(record.curve.steps, record.curve.loss, strict=True),
        *((s, train) for s, train, _ in record.measured),
    ]
    start = max([uniform, *(loss for step, loss in recorded if step == 0 and loss is not None)])
    worst = max(((loss, step) for step, loss in recorded if step and loss is not None), default=(0.0, 0))
    spiked = worst[0] > ABOVE_START * start
    if record.state != "diverged" and not spiked:
        return
    rate = _lower(record)
    sentence = "The learning rate is too high: " + (
        "the loss diverged." if record.state == "diverged" else "the loss rose sharply in the first steps."
    )
    seen = f"{worst[0]:.3g}" if worst[0] < 1e6 else "millions"
    reference = "a uniform guess has" if start == uniform else "it started at"
    evidence = f"The loss reached {seen} at step {worst[1]:,}; {reference} {start:.2f}."
    if not spiked:
        evidence = f"A gradient became NaN or infinite; the learning rate was {record.train.learning_rate:g}."
    yield Advice("too_high", sentence, evidence, _restart_label("learning rate", rate), {"learning_rate": rate})


def rate_too_low(record: TrainingRecord) -> Iterator[Advice]:
    """Learning rate too low: after all steps the validation loss is still above the bigram baseline."""
    if not record.over or record.state == "diverged" or not record.measured or record.measured[-1][0] < PATIENCE:
        return
    best = min(val for *_, val in record.measured)
    pairs = record.baselines.bigram if record.baselines else None
    bound = pairs or PAIRS * math.log(max(2, record.model.vocab_size))
    if best <= bound:
        return
    rate = _higher(record)
    if rate is None:
        return
    than = f"bigram counts achieve {pairs:.2f}" if pairs else f"a model of this size usually gets below {bound:.2f}"
    yield Advice(
        "too_low",
        "The learning rate is probably too low: the loss hardly decreased.",
        f"After {record.measured[-1][0]:,} steps the best validation loss is {best:.2f}; {than}.",
        _restart_label("learning rate", rate),
        {"learning_rate": rate},
    )


def corpus_too_small(record: TrainingRecord) -> Iterator[Advice]:
    """Text too small: many parameters per character, and a large gap between training and validation loss."""
    if not record.measured or not record.characters:
        return
    _, train, val = record.measured[-1]
    if val - train < GAP or record.model.num_parameters < TOO_FEW * record.characters:
        return
    smaller, _ = make_configs(PRESETS["nano"], record.model.vocab_size)
    if record.model.num_parameters <= 2 * smaller.num_parameters:
        return
    yield Advice(
        "corpus_too_small",
        "The text is too small for this model, which memorizes it. Use a smaller model or more text.",
        f"The model has {record.model.num_parameters:,} parameters for {record.characters:,} training characters; "
        f"training loss {train:.2f}, validation loss {val:.2f}.",
        "Train nano on this text",
        {},
        preset="nano",
    )


def overfitting(record: TrainingRecord) -> Iterator[Advice]:
    """Overfitting: the validation loss rises while the training loss still falls."""
    if len(record.measured) < 3:
        return
    step, train_then, lowest = min(record.measured, key=lambda one: one[2])
    last, train, val = record.measured[-1]
    if val < (1 + RISEN) * lowest or train >= train_then:
        return
    dropout = 0.2 if record.model.dropout < 0.2 else min(0.5, round(record.model.dropout + 0.1, 2))
    yield Advice(
        "overfitting",
        f"Overfitting since step {step:,}: the validation loss rises while the training loss falls. "
        "Use the best snapshot (★).",
        f"Validation loss {lowest:.2f} at step {step:,}, {val:.2f} at step {last:,}; "
        f"the training loss kept falling, to {train:.2f}.",
        _restart_label("dropout", dropout),
        {"dropout": dropout},
    )


def still_falling(record: TrainingRecord) -> Iterator[Advice]:
    """Stopped too early: the validation loss was still falling and is above the trigram baseline.

    The decayed learning rate flattens the end of every curve, so the slope alone is not enough evidence.
    """
    if record.state != "completed" or len(record.measured) < 3:
        return
    last, _, val = record.measured[-1]
    before = [loss for step, _, loss in record.measured if step <= 0.8 * last]
    if not before or val > min(loss for *_, loss in record.measured) or (before[-1] - val) < FALLING * before[-1]:
        return
    triples = record.baselines.trigram if record.baselines else None
    if val < (triples or TRIPLES * math.log(max(2, record.model.vocab_size))):
        return
    than = f"; trigram counts achieve {triples:.2f}" if triples else ""
    yield Advice(
        "still_falling",
        "The loss was still falling at the end: continue for more steps.",
        f"In the last fifth of its steps the validation loss fell from {before[-1]:.2f} to {val:.2f}{than}.",
        "Continue for more steps",
        {},
        continues=True,
    )


RULES: tuple[Callable[[TrainingRecord], Iterator[Advice]], ...] = (
    rate_too_high,
    rate_too_low,
    corpus_too_small,
    overfitting,
    still_falling,
)


def _lower(record: TrainingRecord) -> float:
    """The preset's tuned learning rate if it is less than half of the current one, else a tenth of the current one."""
    tuned, rate = _tuned(record), record.train.learning_rate
    return tuned if tuned < rate / 2 else _rounded(rate / 10)


def _higher(record: TrainingRecord) -> float | None:
    """The preset's tuned learning rate if it is more than twice the current one, else None."""
    tuned = _tuned(record)
    return tuned if tuned > 2 * record.train.learning_rate else None


def _tuned(record: TrainingRecord) -> float:
    """The preset's learning rate if the optimizer is the same, else a rate that works for most runs."""
    known = PRESETS.get(record.preset or "", {})
    same = known and record.train.optimizer == known.get("optimizer", "adamw")
    return known["learning_rate"] if same else 0.005


def _rounded(number: float) -> float:
    return float(f"{number:.2g}")


def _size_independent(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are independent of the model size."""
    return {name: settings[name] for name in ("seed", "validation_fraction") if name in settings}


def _restart_label(name: str, value: float) -> str:
    return f"Restart with {name} {value:g}"
