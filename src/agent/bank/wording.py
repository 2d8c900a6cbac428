"""Text from the database and from people, made safe to show: a name or memo cannot pose as anything else."""

import json
import unicodedata

#: Characters shown of one name or memo; of a longer one the rest is counted.
_SHOWN = 120


def quoted(text: str) -> str:
    """Give `text` in double quotes on one line, at most 120 characters of it.

    Escaped as in JSON (`\\n`, `\\u202e`): quotes, line breaks, control, invisible and direction-changing characters,
    and every letter beyond ASCII where Latin is mixed with another script, which is how look-alikes are made.
    """
    rest = f" … and {len(text) - _SHOWN:,} more characters" if len(text) > _SHOWN else ""
    return f'"{_escaped(text[:_SHOWN])}"{rest}'


def named(name: str | None) -> str:
    """Give a person's name bare when it is made of letters as names are, else `quoted`; `(erased)` for None."""
    if name is None:
        return "(erased)"
    is_plain = all(c.isalpha() or unicodedata.combining(c) or c in " .'’-" for c in name)
    return name if name and is_plain and len(name) <= _SHOWN and _escaped(name) == name else quoted(name)


def _escaped(text: str) -> str:
    scripts = {unicodedata.name(c, "?").split()[0] for c in text if c.isalpha()}
    has_lookalikes = "LATIN" in scripts and len(scripts) > 1
    return "".join(
        json.dumps(c)[1:-1] if c in '"\\' or not c.isprintable() or (has_lookalikes and c > "\x7f") else c for c in text
    )


def has_control_characters(text: str) -> bool:
    """Tell whether `text` holds what no database and no line of text should: control characters or half of a pair."""
    return any(unicodedata.category(c) in ("Cc", "Cs") for c in text)
