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
