"""Sentences and labels of the Corpus tab."""

from __future__ import annotations

INVITATION = "Drop a .txt file, paste a text, or choose a built-in one. 100,000 characters are enough."
UPLOAD = "A text file"
WHICH_ENCODING = "Choose the line that is readable"
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

# Written by the page's scripts (playground/browser/constants.py sends them)
OF_PAGES = "of {count}"
SPLIT = "{train} characters for training, the last {validation} held out for validation"
MORE_CHARACTERS = "and {count} more, each less frequent than these"
UNUSUAL_COUNT = "Unusual characters: {count}"
DELETE_TEXT = "Delete this text? Models trained on it stay."
COUNTING = "Counting…"
PERPLEXITY = "perplexity {perplexity}"
BASELINES_EXPLAINED = (
    "Validation loss in nats per character. A model whose loss is below the last one has learned more than counting "
    "characters can capture."
)
ENTROPY = "The entropy of the whole text is {entropy} nats per character, a perplexity of {perplexity}."
