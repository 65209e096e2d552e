"""Sentences and labels of the Corpus tab."""

from __future__ import annotations

INVITATION = "Drop a .txt file, paste a text, or choose a built-in one. 100,000 characters are enough."
UPLOAD = "A text file"
WHICH_ENCODING = "Which line is readable?"
PASTE = "Or paste"
PASTE_HINT = "Any text"
USE_TEXT = "Use this text"
TRAIN_ON_TEXT = "Train on this text →"
BUILT_IN = "Built-in texts"
YOUR_TEXTS = "Your texts"
CHARACTERS = "{count:,} characters"

# The card of a text
TEXT = "The text"
PAGE = "page"
PAGE_LABEL = "Page"
PREVIOUS_PAGE = "Previous page"
NEXT_PAGE = "Next page"
FREQUENCIES = "Character frequencies"
UNUSUAL_CHARACTERS = "They are learned like any other. Many come from copying from a web page or a PDF."
SIZES = "Time and fit per preset"
PRESET_TIME = " About {time} here."
BASELINES = "N-gram baselines"
