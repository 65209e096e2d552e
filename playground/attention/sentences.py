"""Sentences and labels of the Attention tab."""

NO_MODEL = "No model to inspect yet. Add a text and train a model on it; its attention heads then appear here."
NO_SNAPSHOT = "The model's attention heads appear here as soon as there is a snapshot."
EXAMPLE_TEXT = "The old clock said that the old cl"  # a repetition, and layers that disagree

TEXT_LABEL = "Text"
VIEW_TITLES = {"looks": "Attention", "matters": "Ablation", "names": "Head type", "layers": "Logit lens"}
PYTHON_TITLE = "The same in Python"

# Attention
ATTENTION_ABOUT = (
    "Where does it look? Point at a character, or use the arrow keys, to see what the chosen head attends to."
)
ATTENTION_CAUTION = "Stronger color means more attention. That alone does not show that it mattered; try Ablation."
HEATMAP_LABEL = "The chosen head: each row attends to the columns"
HEATMAP_EMPTY = "The heatmap of the chosen head appears here."
SAVE_HTML = "Save as HTML"

# Ablation
ABLATION_ABOUT = (
    "Does it matter? Switch parts off to see how the loss, the next character and the generated text change."
)
ABLATION_CAUTION = (
    "No effect does not mean that a part is useless: another part may replace it, or another text may need it."
)
REPLACED_BY_MEAN = "Replaced by its average output, so it no longer reacts to this text."
REPLACED_BY_ZERO = "Replaced by zero. The following layers never met zeros in training, which alone can disturb them."
REPLACEMENT_LABEL = "Replace by"
REPLACEMENTS = {"mean": "Average", "zero": "Zero"}
SEED_LABEL = "Seed"
SWITCH_OFF_BOTH = "Switch both off"
BACKUP_PAIR = (
    "{first} and {second} back each other up: on text it never trained on, losing one costs {alone[0]} or {alone[1]} "
    "nats per character, but losing both costs {together}, {excess:.3f} ± {error:.3f} more than the sum."
)
NOTHING_TO_PREDICT = "A single character gives nothing to predict. Write at least two."
LOSS_UNCHANGED = (
    "Nothing is switched off. The loss on this text is {before:.2f} nats per character, a perplexity of {was}."
)
LOSS_CHANGED = (
    "Without {parts}, the loss on this text is {after:.2f} nats per character instead of {before:.2f}, "
    "a perplexity of {now} instead of {was}."
)
EFFECTS_CAPTION = "Loss increase, alone and together"
EFFECTS_LEGEND = "Nats per character, ± the standard error on this short text."
EFFECTS_EXCESS = "Together more than the sum of the single effects ({sum}): the parts back each other up. {legend}"
NEXT_CAPTION = "Next character"
NEXT_LEGEND = "Gray: with everything on."
GENERATED_WITH_ALL = "With everything on, seed {seed}"
GENERATED_SAME = "Without {parts}: the same"
GENERATED_DIFFERENT = "Without {parts}: different from the marked character on"

# Head type
TYPE_ABOUT = (
    "What is it? The share of the chosen head's attention that fits each known type; the mark is the chance level."
)
TYPE_CAUTION = "The type says where a head looks, not what it contributes. Most heads fit none, and some fit two."
SCORES_CAPTION = "Attention by type"
MEASURED_ON = "Measured on {text}."
NOT_MEASURED = "Too rare in it to be measured: {names}."
BY_CHANCE = "{score}, by chance {chance}"
HISTORY_LABEL = "The chosen head's scores over the snapshots of the run"
HISTORY_EMPTY = "How the scores of this head developed appears here, snapshot by snapshot."
HISTORY_PROGRESS = "Measured {done} of {total} snapshots."
NO_INDUCTION = "No induction head has formed in this run: none looks at what followed the same character before."
INDUCTION_HEADS = "Induction heads at step {step:,}: {heads}."
INDUCTION_SINCE = "{head} (first at step {step:,})"

# Logit lens
LENS_ABOUT = (
    "Layer by layer: choose a position to see what each layer would predict if it were the last one, and which parts "
    "contribute to it."
)
LENS_CAUTION = (
    "Early layers do not have to mean what this reading shows, and contributions through later layers are not counted."
)
LAST_ROW = "The last row is the model's prediction."
NEXT_IN_TEXT = "In the text, “{character}” comes next."
CLICK_CHARACTER = "Click a character to see what contributes to it."
CONTRIBUTIONS_CAPTION = "Contributions to “{character}”"
CONTRIBUTIONS_LEGEND = (
    "The sum, {sum:.2f}, is the logit of “{character}” ({logit:.2f}), to which the model gives a probability of "
    "{probability}. Amounts that raise the logits of all characters equally change nothing."
)

# Ranking
RANK = "Rank all heads"
CANCEL = "Cancel"
NOT_RANKED = "The bar beside each head shows how much the loss rises without it. The heads are not ranked yet."
RANKING_PROGRESS = "{done} of {total} heads"
RANKED_BY_ZERO = ", each replaced by zero rather than by its average"
RANKED = (
    "Bars: how much the loss rises without each head, on {text}. "
    "Largest effect: {head}. Without it the loss changes by {increase}{error} nats."
)
NO_ERRORS = "The text is too short: all effects are within the noise."
WITHIN_NOISE = "Pale bars, {count} of {total}, are within the noise: no measurable effect."

# Whole model
WHOLE_MODEL = "Whole model"
MAP_ABOUT = (
    "The embedding of each character, projected on the two directions of largest variance. "
    "Move the time bar to see how it develops."
)
MAP_CAUTION = "Two of many dimensions: points that are close here may be far apart in the others."
MAP_LABEL = "Character map"
MAP_EMPTY = "The map appears here as soon as there is a snapshot."
MAP_SHARE = "The map shows {share} of the variance."
CONTEXT_ABOUT = "The loss on the same characters when the model sees only a limited number of characters before each."
CONTEXT_CAUTION = "Context that does not help here may help on another text, or another model of this size."
CONTEXT_LABEL = "Loss by context length"
CONTEXT_EMPTY = "The chart appears here as soon as there is a snapshot."
REACH = (
    "{reach} of {window} characters are enough to come within 0.02 nats of the whole window (± {error:.3f}, on {text})."
)
REACH_ALL = (
    "The model uses its whole window of {window} characters: with fewer, it loses more than 0.02 nats "
    "(± {error:.3f}, on {text})."
)

NOT_A_PART = "Unknown part {label}. Use L1 (a layer), L1·H2 (a head) or L1·FF (a feed-forward block)."

# Written by the page's scripts (playground/browser/constants.py sends them)
HEAD_NAME = "Layer {layer}, head {head}"
HEAD_EFFECT = "without it the loss changes by {change} nats per character"
ATTENDS_TO = "{head}, from “{character}”: {places}"
CONTRIBUTIONS_OF = "{character}, {share}: show what contributes to its logit"
POSITION = "after {character}"
SWITCH_OFF_LAYER = "Switch off layer {layer}"
SWITCH_OFF_HEAD = "Switch off head {head} of layer {layer}"
SWITCH_OFF_FEED_FORWARD = "Switch off the feed-forward block of layer {layer}"
