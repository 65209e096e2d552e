"""What each preset would make of a text before anybody has trained: is there enough of it?"""

from __future__ import annotations

from dataclasses import dataclass

from nanollm.config import PRESETS, make_configs, preset, require_enough_text
from nanollm.errors import InputError

# Reading a text again is worth less each time, and next to nothing after some forty times (Muennighoff et al.,
# "Scaling Data-Constrained Language Models", NeurIPS 2023). Measured here, seed 42: small on data/raw/sample.txt was
# best when it had read it 34 times (validation loss 1.513 at step 900) and lost again from there (1.644 at step
# 1,800); medium, with its dropout, still gained at the 61st time that it read tiny Shakespeare.
MAX_EPOCHS = 65


@dataclass(frozen=True)
class Plan:
    """One preset on one text."""

    preset: str
    num_parameters: int
    epochs: float  # how many times it would read its training text
    problem: str  # why it cannot be trained on at all; empty if it can

    @property
    def enough(self) -> bool:
        """Whether all of its steps would teach it more of the language than of this one text."""
        return not self.problem and self.epochs <= MAX_EPOCHS

    def sentence(self) -> str:
        """Whether the text is enough, with the reason."""
        if self.problem:
            return self.problem
        if self.epochs < 1:
            return f"Enough text: it reads {100 * self.epochs:.2g} % of it."
        times = f"{self.epochs:.1f}" if self.epochs < 9.5 else f"{self.epochs:,.0f}"
        if self.enough:
            return f"Enough text: it reads it {times} times."
        return f"Too little text: reading it {times} times, it begins to learn it by heart. Its best snapshot is kept."


def plans(characters: int, vocab_size: int) -> list[Plan]:
    """What each preset would make of a text of so many characters, so many of them different."""
    return [_plan(name, characters, vocab_size) for name in PRESETS]


def verdict(plans: list[Plan]) -> str:
    """For which of the presets a text is enough, in a few words."""
    names = [plan.preset for plan in plans if plan.enough]
    if not names:
        return "too little for any size"
    return f"enough for {' and '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}"


def _plan(name: str, characters: int, vocab_size: int) -> Plan:
    model, train = make_configs(preset(name), vocab_size)
    learned = characters - int(characters * train.validation_fraction)
    epochs = train.num_steps * train.batch_size * model.context_length / max(1, learned)
    problem = ""
    try:
        require_enough_text(characters, model, train)
    except InputError as error:
        problem = str(error)
    return Plan(name, model.num_parameters, epochs, problem)
