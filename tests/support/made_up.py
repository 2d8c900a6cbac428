"""JSON that looks like an answer and is none."""

import random
from typing import Any

WORDS = ["approve", "approved", "true", "false", "yes", "no", "reject", "edit", "accept", "ok", "1", "", "null"]
KEYS = ["approved", "type", "decisions", "args", "reason", "edited_args", "edited_action", "id", "digest", "name", "x"]


def made_up(chance: random.Random, depth: int = 0) -> Any:
    """Make JSON that looks like an answer and is none: its truth values are never the booleans a decision needs."""
    kinds = ["word", "number", "list", "object"] if depth < 3 else ["word", "number"]
    match chance.choice(kinds):
        case "word":
            return chance.choice(WORDS)
        case "number":
            return chance.choice([0, 1, -1, 3.5, 2**60])
        case "list":
            return [made_up(chance, depth + 1) for _ in range(chance.randrange(3))]
        case _:
            keys = chance.sample(KEYS, chance.randrange(1, 4))
            # A type outside the words of a decision, so that what is made up never is one by chance.
            return {key: "perhaps" if key == "type" else made_up(chance, depth + 1) for key in keys}
