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
class Case:
    """All that the rules look at."""

    curve: Curve
    model: ModelConfig
    train: TrainConfig
    state: str  # as in Status
    characters: int  # to learn from
    preset: str | None = None
    baselines: Baselines | None = None

    @classmethod
    def of(cls, run: Run) -> Case:
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
class Verdict:
    """One thing that the doctor says: what is the matter, how one sees it, and what to try."""

    rule: str
    sentence: str
    evidence: str
    action: str  # what the button says
    settings: Mapping[str, Any]  # to start anew with these changed
    onward: bool = False  # or, instead, to continue from the run's end
    preset: str | None = None  # or, instead, to start another size on the same text


def diagnose(run: Run | Case) -> list[Verdict]:
    """What there is to say of a run, the gravest first; nothing of one that is well, or too young to tell."""
    case = run if isinstance(run, Case) else Case.of(run)
    verdicts = [verdict for rule in RULES for verdict in rule(case)]
    return verdicts[:1] if verdicts and verdicts[0].rule in ("too_high", "too_low") else verdicts


def follow(store: RunStore, run: Run, index: Any, corpora: Corpora) -> Run:
    """Queue a new run that does what the verdict of this index suggests. Raises InputError if there is none.

    A run that continued another starts again from where it began: its own first snapshot is the other's.
    """
    verdicts = diagnose(run)
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < len(verdicts):
        raise InputError("This advice is out of date: look at the run again.")
    verdict = verdicts[index]
    if verdict.onward or (run.parent and not verdict.preset):
        return store.fork(run, corpora=corpora, settings=verdict.settings, step=None if verdict.onward else 0)
    kept = _of_any_size(run.settings) if verdict.preset else run.settings
    corpus = corpora.get(str(run.corpus.get("sha256")))
    return store.create(settings={**kept, **verdict.settings}, corpus=corpus, preset=verdict.preset or run.preset)


def rate_too_high(case: Case) -> Iterator[Verdict]:
    """Diverged, or thrown far above the loss of a uniform guess on the way, and above that of its own first step.

    What continues a confident model on another text begins far above, and that is no fault of its learning rate.
    """
    blind = math.log(max(2, case.model.vocab_size))
    recorded = [*zip(case.curve.steps, case.curve.loss, strict=True), *((s, train) for s, train, _ in case.measured)]
    start = max([blind, *(loss for step, loss in recorded if step == 0 and loss is not None)])
    worst = max(((loss, step) for step, loss in recorded if step and loss is not None), default=(0.0, 0))
    thrown = worst[0] > ABOVE_START * start
    if case.state != "diverged" and not thrown:
        return
    rate = _lower(case)
    sentence = "The learning rate is too high: " + (
        "the loss left every bound." if case.state == "diverged" else "the first steps threw the model off its course."
    )
    seen = f"{worst[0]:.3g}" if worst[0] < 1e6 else "millions"
    from_where = "a uniform guess costs" if start == blind else "it began at"
    evidence = f"The loss reached {seen} at step {worst[1]:,}; {from_where} {start:.2f}."
    if not thrown:
        evidence = f"A gradient was no longer a number; the learning rate was {case.train.learning_rate:g}."
    yield Verdict("too_high", sentence, evidence, _starting("learning rate", rate), {"learning_rate": rate})


def rate_too_low(case: Case) -> Iterator[Verdict]:
    """After all its steps it does not do better than bigram counts."""
    if not case.over or case.state == "diverged" or not case.measured or case.measured[-1][0] < PATIENCE:
        return
    best = min(val for *_, val in case.measured)
    pairs = case.baselines.bigram if case.baselines else None
    bound = pairs or PAIRS * math.log(max(2, case.model.vocab_size))
    if best <= bound:
        return
    rate = _higher(case)
    if rate is None:
        return
    than = f"bigram counts achieve {pairs:.2f}" if pairs else f"a model of this size soon gets below {bound:.2f}"
    yield Verdict(
        "too_low",
        "The learning rate is probably too low: it hardly moved.",
        f"After {case.measured[-1][0]:,} steps its validation loss is {best:.2f}; {than}.",
        _starting("learning rate", rate),
        {"learning_rate": rate},
    )


def corpus_too_small(case: Case) -> Iterator[Verdict]:
    """Many parameters, few characters, and the model does much better on its own text."""
    if not case.measured or not case.characters:
        return
    _, train, val = case.measured[-1]
    if val - train < GAP or case.model.num_parameters < TOO_FEW * case.characters:
        return
    smaller, _ = make_configs(PRESETS["nano"], case.model.vocab_size)
    if case.model.num_parameters <= 2 * smaller.num_parameters:
        return
    yield Verdict(
        "corpus_too_small",
        "The text is too small for this model: it learns it by heart. A smaller model, or more text, would do better.",
        f"It has {case.model.num_parameters:,} parameters for {case.characters:,} characters; "
        f"it loses {train:.2f} on the text it learned from, {val:.2f} on the rest.",
        "Start nano on this text",
        {},
        preset="nano",
    )


def overfitting(case: Case) -> Iterator[Verdict]:
    """The validation loss has been rising while the training loss went on falling."""
    if len(case.measured) < 3:
        return
    step, train_then, lowest = min(case.measured, key=lambda one: one[2])
    last, train, val = case.measured[-1]
    if val < (1 + RISEN) * lowest or train >= train_then:
        return
    dropout = 0.2 if case.model.dropout < 0.2 else min(0.5, round(case.model.dropout + 0.1, 2))
    yield Verdict(
        "overfitting",
        f"Overfitting since step {step:,}: from there it learned its own text, not the language. "
        "The snapshot marked ★ is the best one.",
        f"Validation loss {lowest:.2f} at step {step:,}, {val:.2f} at step {last:,}; "
        f"meanwhile the training loss fell on to {train:.2f}.",
        _starting("dropout", dropout),
        {"dropout": dropout},
    )


def still_falling(case: Case) -> Iterator[Verdict]:
    """It ended while the validation loss was still going down, and trigram counts does better.

    A training that ends at a low learning rate always ends flat, so the slope alone does not tell.
    """
    if case.state != "completed" or len(case.measured) < 3:
        return
    last, _, val = case.measured[-1]
    before = [loss for step, _, loss in case.measured if step <= 0.8 * last]
    if not before or val > min(loss for *_, loss in case.measured) or (before[-1] - val) < FALLING * before[-1]:
        return
    triples = case.baselines.trigram if case.baselines else None
    if val < (triples or TRIPLES * math.log(max(2, case.model.vocab_size))):
        return
    than = f"; trigram counts achieve {triples:.2f}" if triples else ""
    yield Verdict(
        "still_falling",
        "It was still learning when it ended: worth continuing.",
        f"In the last fifth of its steps the validation loss fell from {before[-1]:.2f} to {val:.2f}{than}.",
        "Continue for more steps",
        {},
        onward=True,
    )


RULES: tuple[Callable[[Case], Iterator[Verdict]], ...] = (
    rate_too_high,
    rate_too_low,
    corpus_too_small,
    overfitting,
    still_falling,
)


def _lower(case: Case) -> float:
    """The rate that the preset was tuned with, where that is lower by half; else a tenth."""
    tuned, rate = _tuned(case), case.train.learning_rate
    return tuned if tuned < rate / 2 else _rounded(rate / 10)


def _higher(case: Case) -> float | None:
    """The rate that the preset was tuned with, where that is more than twice as high; else nobody knows of one."""
    tuned = _tuned(case)
    return tuned if tuned > 2 * case.train.learning_rate else None


def _tuned(case: Case) -> float:
    """The preset's learning rate, unless the optimizer is another one; then one that does for most."""
    known = PRESETS.get(case.preset or "", {})
    same = known and case.train.optimizer == known.get("optimizer", "adamw")
    return known["learning_rate"] if same else 0.005


def _rounded(number: float) -> float:
    return float(f"{number:.2g}")


def _of_any_size(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that say nothing of the model's size, nor of what suits it."""
    return {name: settings[name] for name in ("seed", "validation_fraction") if name in settings}


def _starting(name: str, value: float) -> str:
    return f"Start again with {name} {value:g}"
