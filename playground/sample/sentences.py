"""Sentences and labels of the Sample tab."""

NO_MODEL = "No model has been trained yet. Add a text and train a model on it; the generated text then appears here."
WAITING = "The first characters appear here in a moment."
TEXT_LABEL = "Generated text: use the arrow keys to move from character to character, Enter to see the alternatives"
PYTHON_TITLE = "The same in Python"
PARAMETERS = "{count:,} parameters"
SPEED = "{parameters}, {speed:,.0f} characters per second"

# Is it copying?
COPYING_TITLE = "Is it copying?"
COPIES_CAPTION = "Share of n-grams that do not occur in the training text"
COPIES_COLUMNS = ("length n", "this text", "held-out text")
UNKNOWN_CORPUS = "The training text of this model is unknown, so there is nothing to compare with."
MISSING_CORPUS = (
    "The training text of this model has not been downloaded. Download it to see which passages are copied from it."
)
NO_TEXT = "There is no text to check. Generate some first."
LONGEST_COPY = "Longest passage copied word for word from the training text: {longest} characters."
CONTROL = "In held-out text: {control:.0f}."
COVERED = "Underlined, {share}: copies of at least {length} characters."

# Score my text
SCORE_TITLE = "Score my text"
SCORE_INPUT = "Text"
SCORE_BUTTON = "Score this text"
SCORE_LABEL = "Your text, colored by surprisal"
SCORE_NOTE = "Paste a few lines: your own, the model's, or from a text that it was not trained on."
SCORE = (
    "Perplexity {perplexity:.1f}, like choosing among {perplexity:.1f} characters each time. "
    "Loss: {loss:.2f} nats per character."
)
SCORE_TRUNCATED = "Only the first {limit:,} of {length:,} characters are shown and scored."

# Written by the page's scripts (playground/browser/constants.py sends them)
WAITING_FOR_TEXT = "The check starts when the text is complete."
