"""Plain words on how a training went, each with its evidence and what to try: five rules over the recorded curve.

A rule says nothing unless its sign is plain. The bounds were set on recorded runs (tests/recorded.py makes them), among
them healthy ones, on which all rules are silent.
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

ABOVE_START = 1.15  # times the loss of a uniform guess: healthy runs never get so far above where they start
PATIENCE = 200  # steps in which every preset has long passed bigram counts (sprint in 25, nano in 85)
RISEN = 0.03  # share by which the validation loss has risen above its lowest
FALLING = 0.005  # share by which it fell in the last fifth of the steps
PAIRS, TRIPLES = 0.55, 0.42  # of uniform guess: about what bigram counts and triples loses, where nobody has counted
GAP = 0.25  # nats between what it loses on its own text and on the other
TOO_FEW = 10  # parameters for each character to learn from


@dataclass(frozen=True)
class TrainingRecord:
    """All that the rules look at."""

    curve: Curve
    model: ModelConfig
    train: TrainConfig
    state: str  # as in Status
    characters: int  # to learn from
    preset: str | None = None
    baselines: Baselines | None = None

    @classmethod
    def of(cls, run: Run) -> TrainingRecord:
        """What a run's folder tells."""
        kept = int(run.corpus.get("characters") or 0)
        learned = kept - int(kept * run.train_config.validation_fraction)
        state = run.status().state
        return cls(run.curve(), run.model_config, run.train_config, state, learned, run.preset, run.baselines)

    @property
    def measured(self) -> list[tuple[int, float, float]]:
        """Step, training and validation loss of every measurement of both."""
        columns = zip(self.curve.eval_steps, self.curve.train_loss, self.curve.val_loss, strict=True)
        return [(step, train, val) for step, train, val in columns if train is not None and val is not None]

    @property
    def over(self) -> bool:
        """Whether it will not train any further by itself."""
        return self.state in ("completed", "stopped", "diverged")


@dataclass(frozen=True)
class Advice:
    """One thing that the doctor says: what is the matter, how one sees it, and what to try."""

    rule: str
    sentence: str
    evidence: str
    action: str  # what the button says
    settings: Mapping[str, Any]  # to start anew with these changed
    continues: bool = False  # or, instead, to continue from the run's end
    preset: str | None = None  # or, instead, to start another size on the same text


def diagnose(run: Run | TrainingRecord) -> list[Advice]:
    """What there is to say of a run, the gravest first; nothing of one that is well, or too young to tell."""
    record = run if isinstance(run, TrainingRecord) else TrainingRecord.of(run)
    found = [advice for rule in RULES for advice in rule(record)]
    return found[:1] if found and found[0].rule in ("too_high", "too_low") else found


def apply_advice(store: RunStore, run: Run, index: Any, corpora: Corpora) -> Run:
    """Queue a new run that does what the advice of this index suggests. Raises InputError if there is none.

    A run that continued another starts again from where it began: its own first snapshot is the other's.
    """
    found = diagnose(run)
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(found):
        raise InputError("This advice is out of date: look at the run again.")
    advice = found[index]
    if advice.continues or (run.parent and not advice.preset):
        return store.fork(run, corpora=corpora, settings=advice.settings, step=None if advice.continues else 0)
    kept = _of_any_size(run.settings) if advice.preset else run.settings
    corpus = corpora.get(str(run.corpus.get("sha256")))
    return store.create(settings={**kept, **advice.settings}, corpus=corpus, preset=advice.preset or run.preset)


def rate_too_high(record: TrainingRecord) -> Iterator[Advice]:
    """Diverged, or thrown far above the loss of a uniform guess on the way, and above that of its own first step.

    What continues a confident model on another text begins far above, and that is no fault of its learning rate.
    """
    blind = math.log(max(2, record.model.vocab_size))
    recorded = [
        *zip(record.curve.steps, record.curve.loss, strict=True),
        *((s, train) for s, train, _ in record.measured),
    ]
    start = max([blind, *(loss for step, loss in recorded if step == 0 and loss is not None)])
    worst = max(((loss, step) for step, loss in recorded if step and loss is not None), default=(0.0, 0))
    thrown = worst[0] > ABOVE_START * start
    if record.state != "diverged" and not thrown:
        return
    rate = _lower(record)
    sentence = "The learning rate is too high: " + (
        "the loss left every bound."
        if record.state == "diverged"
        else "the first steps threw the model off its course."
    )
    seen = f"{worst[0]:.3g}" if worst[0] < 1e6 else "millions"
    from_where = "a uniform guess costs" if start == blind else "it began at"
    evidence = f"The loss reached {seen} at step {worst[1]:,}; {from_where} {start:.2f}."
    if not thrown:
        evidence = f"A gradient was no longer a number; the learning rate was {record.train.learning_rate:g}."
    yield Advice("too_high", sentence, evidence, _starting("learning rate", rate), {"learning_rate": rate})


def rate_too_low(record: TrainingRecord) -> Iterator[Advice]:
    """After all its steps it does not do better than bigram counts."""
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
    than = f"bigram counts achieve {pairs:.2f}" if pairs else f"a model of this size soon gets below {bound:.2f}"
    yield Advice(
        "too_low",
        "The learning rate is probably too low: it hardly moved.",
        f"After {record.measured[-1][0]:,} steps its validation loss is {best:.2f}; {than}.",
        _starting("learning rate", rate),
        {"learning_rate": rate},
    )


def corpus_too_small(record: TrainingRecord) -> Iterator[Advice]:
    """Many parameters, few characters, and the model does much better on its own text."""
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
        "The text is too small for this model: it learns it by heart. A smaller model, or more text, would do better.",
        f"It has {record.model.num_parameters:,} parameters for {record.characters:,} characters; "
        f"it loses {train:.2f} on the text it learned from, {val:.2f} on the rest.",
        "Start nano on this text",
        {},
        preset="nano",
    )


def overfitting(record: TrainingRecord) -> Iterator[Advice]:
    """The validation loss has been rising while the training loss went on falling."""
    if len(record.measured) < 3:
        return
    step, train_then, lowest = min(record.measured, key=lambda one: one[2])
    last, train, val = record.measured[-1]
    if val < (1 + RISEN) * lowest or train >= train_then:
        return
    dropout = 0.2 if record.model.dropout < 0.2 else min(0.5, round(record.model.dropout + 0.1, 2))
    yield Advice(
        "overfitting",
        f"Overfitting since step {step:,}: from there it learned its own text, not the language. "
        "The snapshot marked ★ is the best one.",
        f"Validation loss {lowest:.2f} at step {step:,}, {val:.2f} at step {last:,}; "
        f"meanwhile the training loss fell on to {train:.2f}.",
        _starting("dropout", dropout),
        {"dropout": dropout},
    )


def still_falling(record: TrainingRecord) -> Iterator[Advice]:
    """It ended while the validation loss was still going down, and trigram counts does better.

    A training that ends at a low learning rate always ends flat, so the slope alone does not tell.
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
        "It was still learning when it ended: worth continuing.",
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
    """The rate that the preset was tuned with, where that is lower by half; else a tenth."""
    tuned, rate = _tuned(record), record.train.learning_rate
    return tuned if tuned < rate / 2 else _rounded(rate / 10)


def _higher(record: TrainingRecord) -> float | None:
    """The rate that the preset was tuned with, where that is more than twice as high; else nobody knows of one."""
    tuned = _tuned(record)
    return tuned if tuned > 2 * record.train.learning_rate else None


def _tuned(record: TrainingRecord) -> float:
    """The preset's learning rate, unless the optimizer is another one; then one that does for most."""
    known = PRESETS.get(record.preset or "", {})
    same = known and record.train.optimizer == known.get("optimizer", "adamw")
    return known["learning_rate"] if same else 0.005


def _rounded(number: float) -> float:
    return float(f"{number:.2g}")


def _of_any_size(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that say nothing of the model's size, nor of what suits it."""
    return {name: settings[name] for name in ("seed", "validation_fraction") if name in settings}


def _starting(name: str, value: float) -> str:
    return f"Start again with {name} {value:g}"
