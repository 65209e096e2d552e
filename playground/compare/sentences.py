"""What the Compare tab tells the user."""

NO_MODELS = "Nothing to compare yet. One trained model is enough: compare two steps of its training."
NOT_MODELS = "Expected a list of up to {limit} models."
NO_COLUMNS = "There is no model to compare yet. The first one appears as soon as training starts."
TOO_FEW = "Add a second model to compare."

UNKNOWN_CORPORA = "These models may have been trained on different texts: compare the generated texts, not the losses."
DIFFERENT_CORPORA = "These models were trained on different texts: compare the generated texts, not the losses."
DIFFERENT_VOCABULARIES = "These models have different vocabularies: compare the generated texts, not the losses."
BOTH_DIFFERENT = (
    "These models were trained on different texts with different vocabularies: compare the generated texts, "
    "not the losses."
)

VIEW_TITLES = {
    "texts": "Texts",
    "curves": "Curves",
    "table": "Table",
    "scored": "Score a text",
    "blind": "Guess the size",
}
VIEW_LABEL = "View"

# Texts
GENERATE_ALL = "Generate all"
PRESS_GENERATE = "Press Generate all."
COLUMN_TEXT_LABEL = "Text of column {number}"
UNKNOWN_CHARACTERS = "Not all of these models know every character of the prompt."
SECOND_MODEL = (
    "Add a second model to compare. Until then, the columns show this one at the last and the first step of its "
    "training."
)
SAME_SHARE = "The time bar above moves all models to the same share of their training."
ADD_MODEL = "Add a model"
REMOVE_MODEL = "Remove the last model"

# Curves and table
RUNS = "Runs"
ALL_RUNS = "All"
NO_RUNS = "None"
AXES = {"steps": "steps", "characters": "characters", "seconds": "seconds", "compute (FLOPs)": "flops"}  # title → name
AXIS_LABEL = "X axis"
CURVES_LABEL = "Loss of the chosen runs"
CURVES_EMPTY = "Choose a run above. Its curve appears as soon as its loss has been measured."
CURVES_LEGEND = "Solid: validation loss. Faint: training loss. Dashed gray: n-gram baselines."

# Score a text
TEXT_LABEL = "Text"
SCORE = "Score this text"
TAKE_HELD_OUT = "Use held-out text"
SCORE_NOTE = "Paste a few lines, or use text that none of these models was trained on. Then press Score this text."
NO_MODEL_YET = "There is no model in the columns yet."
MODEL_COLUMN = "model"
LOSS_COLUMN = "loss on this text"
PERPLEXITY_COLUMN = "perplexity"
EASIER_FOR = "Easier for"
OR_FOR = "or for"
FIRST_MODEL = "First model"
SECOND_MODEL_CHOICE = "Second model"
TEXT_ARROWS = "The text: use the arrow keys to move from character to character"
WHERE_COLUMNS = ("where", "characters", "difference")

# Guess the size
GUESS_INTRODUCTION = (
    "The models above generate another text each, from another seed, without their names and in random order."
)
START_ROUND = "Start a round"
LARGER = ("Which model is larger?", "Which model is the largest?")  # of two, of more
LONGER = ("Which model was trained longer?", "Which model was trained the longest?")
SCORE_SO_FAR = "{correct} of {guessed} right."
SAME_SIZE = "These models have the same size and were trained for the same number of steps. Choose others in Texts."

# Experiments
OPEN_EXPERIMENT = "Open an experiment"
EXPERIMENT_TITLE = "{presets} on {corpus} ({day})"
EXPERIMENT_NOT_FOUND = "This experiment no longer exists. Choose another one."
EXPERIMENT_EMPTY = "No run of this experiment has a snapshot yet. Wait for the first ones."

# Written by the page's scripts (playground/browser/constants.py sends them)
MODEL_AT_STEP = "{title} · step {step}"
FIRST_LETTERS = "first letters of words"
LATER_LETTERS = "later letters"
SPACES_AND_PUNCTUATION = "spaces and punctuation"
ALL_CHARACTERS = "all characters"
DIFFERENCE_CAPTION = "Loss of {other} minus loss of {one}, in nats per character"
CLICK_CHARACTER = "Click a character to see how likely each model found it."
GENERATED_BY = "Text of model {letter}"
GUESS = "Guess {letter}"
ANOTHER_ROUND = "Another round"
RIGHT = "Right: it is {letter}, {title}."
WRONG = "Wrong: it is {letter}, {title}."
