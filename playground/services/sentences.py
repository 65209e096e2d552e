"""Sentences of the services."""

from __future__ import annotations

BUSY = "The server is busy. Try again in a moment."
TOO_MANY_REQUESTS = "You have too many requests in progress. Wait for one to finish, or stop it."
NO_MODEL = "There is no trained model yet. Add a text in Corpus and train one."
SNAPSHOT_GONE = "This snapshot no longer exists. Choose another one on the time bar."
PROMPT_NOT_TEXT = "The prompt must be text."
LONG_PROMPT = "The prompt is longer than {limit:,} characters. Shorten it."
NOT_A_REQUEST = "Not a generation request: expected run, prompt and sampling settings."
NO_TEXT = "There is no text to inspect. Type some characters."
NO_HELD_OUT = "No part of this run's text was held out for validation. Inspect another run."
HELD_OUT = "held-out text"
THIS_TEXT = "only the text above"
NO_MEANS = "This snapshot has no stored means, and its text is not available: heads are set to zero."
SHOWN_BY_PAGE = "Shown: the last {shown} of {total:,} characters, the most that the page can draw."
SHOWN_BY_MODEL = "Shown: the last {shown} of {total:,} characters, the context length of this model."

# Written by the page's scripts: rough ages
JUST_NOW = "just now"
MINUTES = "{count} min ago"
HOURS = "{count} h ago"
DAYS = "{count} days ago"
