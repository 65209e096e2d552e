"""Whether a text is long enough for each preset."""

from __future__ import annotations

from dataclasses import dataclass

from nanollm.config import PRESETS, make_configs, preset, require_enough_text
from nanollm.errors import InputError

# Repeated epochs have diminishing returns, with almost none after about 40 (Muennighoff et al., "Scaling
# Data-Constrained Language Models", NeurIPS 2023). Measured here with seed 42: small on data/raw/sample.txt was best
# after 34 epochs (validation loss 1.513 at step 900) and overfitted afterwards (1.644 at step 1,800); medium, which has
# dropout, still improved in its 61st epoch of Tiny Shakespeare.
MAX_EPOCHS = 65


@dataclass(frozen=True)
class Plan:
    """A preset applied to a text."""

    preset: str
    num_parameters: int
    epochs: float  # how many times it reads the training split
    problem: str  # why the preset cannot be trained on this text; empty if it can

    @property
    def enough(self) -> bool:
        """Whether the text is long enough to avoid overfitting until the last step."""
        return not self.problem and self.epochs <= MAX_EPOCHS

    def sentence(self) -> str:
        """Say whether the text is long enough, and why."""
        if self.problem:
            return self.problem
        if self.epochs < 1:
            return f"Enough text: it reads {100 * self.epochs:.2g}% of it."
        times = f"{self.epochs:.1f}" if self.epochs < 9.5 else f"{self.epochs:,.0f}"
        if self.enough:
            return f"Enough text: it is read {times} times."
        return f"Too little text: after {times} epochs the model overfits. Its best snapshot is kept."


def plans(characters: int, vocab_size: int) -> list[Plan]:
    """Return a Plan per preset for a text with this length and vocabulary size."""
    return [_plan(name, characters, vocab_size) for name in PRESETS]


def verdict(plans: list[Plan]) -> str:
    """Say for which presets a text is long enough, in a few words."""
    names = [plan.preset for plan in plans if plan.enough]
    if not names:
        return "too short for all presets"
    return f"enough for {' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}"


def _plan(name: str, characters: int, vocab_size: int) -> Plan:
    model, train = make_configs(preset(name), vocab_size)
    training_characters = characters - int(characters * train.validation_fraction)
    epochs = train.num_steps * train.batch_size * model.context_length / max(1, training_characters)
    problem = ""
    try:
        require_enough_text(characters, model, train)
    except InputError as error:
        problem = str(error)
    return Plan(name, model.num_parameters, epochs, problem)
