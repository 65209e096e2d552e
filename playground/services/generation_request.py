"""A request to generate text: snapshot, prompt and sampling settings. Equal requests produce equal texts."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from nanollm.errors import InputError
from nanollm.inference.sampling import SamplingOptions
from playground.selection import parse_selection
from playground.services import sentences

MAX_PROMPT = 20_000  # characters; the model needs seconds to read them while the user waits


@dataclass(frozen=True)
class GenerationRequest:
    """A snapshot (run and step), a prompt and sampling settings.

    `prefix` is generated text that the user kept when choosing another character in it: generation continues after it.
    Raises InputError for a prompt that is no text or too long, and for invalid sampling settings.
    """

    run: str | None
    step: int | None
    prompt: str
    temperature: float
    top_k: int
    max_length: int
    seed: int
    prefix: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.prompt, str) or not isinstance(self.prefix, str):
            raise InputError(sentences.PROMPT_NOT_TEXT)
        if len(self.prompt) + len(self.prefix) > MAX_PROMPT:
            raise InputError(sentences.LONG_PROMPT.format(limit=MAX_PROMPT))
        _ = self.sampling  # raises InputError for invalid options

    @classmethod
    def of(cls, values: Any) -> GenerationRequest:
        """Parse a request from a browser's dictionary. Raises InputError if it is malformed."""
        names = {field.name for field in fields(cls)}
        try:
            request = cls(**{name: value for name, value in values.items() if name in names})
        except (AttributeError, TypeError):
            raise InputError(sentences.NOT_A_REQUEST) from None
        run, step = parse_selection({"run": request.run, "step": request.step})
        return replace(request, run=run, step=step)

    @property
    def full_prompt(self) -> str:
        """The text that generation continues: the prompt and the prefix."""
        return self.prompt + self.prefix

    @property
    def sampling(self) -> SamplingOptions:
        """The sampling options. Raises InputError if they are invalid."""
        return SamplingOptions(self.max_length, self.temperature, self.top_k, self.seed)

    @property
    def remaining_sampling(self) -> SamplingOptions:
        """The sampling options for what is still to be generated after `full_prompt`."""
        return replace(self.sampling, max_length=max(0, self.max_length - len(self.prefix)))

    def as_dict(self) -> dict[str, Any]:
        """Return the request as JSON-ready fields; `of` restores it."""
        return asdict(self)
