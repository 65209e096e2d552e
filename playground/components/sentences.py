"""Sentences and labels of components that several features use."""

from __future__ import annotations

OVER_10_000 = "over 10,000"

# Sampling controls
PROMPT = "Prompt"
GENERATE = "Generate"
STOP = "Stop"
DROP_UNKNOWN = "Remove them"
TEMPERATURE = "Temperature"
TOP_K = "Top-k"
PRESET = "Sampling preset"
SEED_AND_LENGTH = "Seed and length"
SEED = "Seed (same seed, same text)"
RANDOM_SEED = "⚄ Random seed"
NEXT_SEED = "Next seed"
LENGTH = "Length in characters"

# Text views
SURPRISAL = "surprisal (likely → unlikely)"
COPY = "Copy"
DOWNLOAD = "Download"
CLICKED_CHARACTER = "The clicked character"
CLICK_A_CHARACTER = "Click a character to see the alternatives."
CLOSE = "Close"
BEFORE = "before"
AFTER = "after temperature and top-k"
UNDO = "Undo this choice"

# Table of runs
NO_TABLE = "Once there are two runs, they are compared here."
MORE_COLUMNS = "The runs differ in many settings. Save as CSV, or use a wider screen, to see all of them."
SAVE_CSV = "Save as CSV"

# Without a model
ADD_TEXT = "Add a text →"

# Downloading a training text
FETCH_OFFER = "Download its training text ({megabytes:.1f} MB)"
FETCHING = "Downloading {title}…"
FETCH_PROGRESS = "Downloading {title}: {share:.0%}"
NOT_BUILT_IN = "This is not one of the built-in texts. Choose one from the list."

# Written by the page's scripts (playground/browser/constants.py sends them)
CHART_FAILED = "The chart's library did not load. Reload the page to try again."
CURRENT_CHARACTER = "Current character: {character}, {before} before, {after} after"
CHOOSE_CHARACTER = "Choose {character}, {before} before, {after} after"
ALTERNATIVE = "{character}, {before} before, {after} after"
PROBABILITY_AND_RANK = "{probability}, {rank} choice"
BITS = "{bits} bits"
CHOOSE_ANOTHER = "Choose another character: the rest is generated again from there."
COPIED = "Copied"
SELECT_AND_COPY = "Select the text and copy it"

# Menus of runs and texts
NEW_NAME = "New name"
RENAME = "Rename"
DELETE = "Delete"
CANCEL = "Cancel"
KEEP = "Keep"
RENAME_OR_DELETE = "Rename or delete {name}"
