"""What is asked of a snapshot: go on from this prompt, with these dials. The same question has the same answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from nanollm.errors import InputError
from nanollm.inference.sampling import SamplingOptions

MOST = 20_000  # characters of a prompt; reading them takes seconds, and somebody waits


@dataclass(frozen=True)
class Question:
    """A snapshot, a prompt and the dials. `kept`: what was settled of the answer, by choosing in it: it goes on there.

    Values come from a browser. Raises InputError for those that cannot be asked; settings that cannot be sampled with
    included.
    """

    run: str | None
    step: int | None
    prompt: str
    temperature: float
    top_k: int
    max_length: int
    seed: int
    kept: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str) or not isinstance(self.kept, str):
            raise InputError("The prompt must be a text.")
        if len(self.prompt) + len(self.kept) > MOST:
            raise InputError(f"The prompt is longer than {MOST:,} characters: shorten it.")
        _ = self.options  # raises InputError for invalid options

    @classmethod
    def of(cls, asked: Any) -> Question:
        """The question in a browser's dictionary. Raises InputError where it is none."""
        names = {field.name for field in fields(cls)}
        try:
            question = cls(**{name: value for name, value in asked.items() if name in names})
        except (AttributeError, TypeError):
            raise InputError("That is no question: a run, a prompt and the dials are expected.") from None
        known = isinstance(question.run, str) or question.run is None
        return replace(question, run=question.run if known else None, step=_whole(question.step))

    @property
    def given(self) -> str:
        """The text that the snapshot goes on from."""
        return self.prompt + self.kept

    @property
    def options(self) -> SamplingOptions:
        """The sampling options. Raises InputError if they are invalid."""
        return SamplingOptions(self.max_length, self.temperature, self.top_k, self.seed)

    @property
    def remaining_options(self) -> SamplingOptions:
        """The sampling options for the characters that are still to be generated after `given`."""
        return replace(self.options, max_length=max(0, self.max_length - len(self.kept)))

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it; `of` makes the same question of it."""
        return asdict(self)


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
