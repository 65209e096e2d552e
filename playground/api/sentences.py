"""Error messages of the public endpoints."""

NOT_AN_OBJECT = 'settings must be an object such as {"num_steps": 500}.'
NOT_TEXT = "Expected a text, got {value}."
NOT_A_RUN_ID = "run must be the id of a run, got {value}."
NOT_A_STEP = "step must be a whole number, or null for the last snapshot, got {value}."
NOT_LISTS = "runs must be a list of ids; steps must be null or a list of whole numbers of the same length."
NOT_IN_RANGE = "{name} must be a whole number from 1 to {count}, got {value}."
TOO_MANY_CANDIDATES = "The answer would contain more than {limit:,} candidates. Ask for fewer, or score a shorter text."
NOT_PARTS = 'parts must be a list such as ["L1·H2", "L3·FF"].'
NOT_A_KIND = 'kind must be "mean" or "zero", got {value}.'
NOT_A_CHARACTER = "character must be one character, or null for the most likely one, got {value}."
TEXT_TOO_LONG = "The text has {length:,} characters, the limit is {limit:,}. Shorten it."
