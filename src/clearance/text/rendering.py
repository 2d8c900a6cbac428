"""Text from outside as people may see it: payload, command line and inbox all show what comes out of here.

visible    nothing in it hides, turns around or breaks the line: such characters stand as `‹U+202E›`
line       `visible`, cut with its length told, look-alike letters named
whole      `visible`, line by line, nothing cut: for what must be read to its end
shown      any JSON value with its texts as `line`; `unshown` reads back what a client echoes of it
words      what a person or the model wrote, as one line
markdown   a line that Markdown shows as it is
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from clearance.errors import ActionError
from clearance.text.lookalikes import lookalikes

#: Characters shown of one value.
VALUE = 200
#: Characters shown of a sentence of ours: two names of 120 characters, every one of them escaped, fit.
SENTENCE = 4_000
#: Characters shown of what a person or the model wrote.
WORDS = 1_000
#: More than any text has: arguments are bounded before they are stored.
_NO_LIMIT = 1 << 31
#: Values shown of a list or object; a larger one is shown as its JSON text, cut.
_MOST_PARTS = 50
#: Accents on one letter; more are no language. Source: UTS #39, section 5.4.
_MOST_MARKS = 4

_HIDDEN = frozenset(["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Me"])
#: Letters, marks and symbols that show as nothing. Source: Default_Ignorable_Code_Point, and the braille blank.
_BLANK = frozenset(
    chr(code)
    for first, last in [
        *((0x34F, 0x34F), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F), (0x2800, 0x2800), (0x3164, 0x3164)),
        *((0xFE00, 0xFE0F), (0xFFA0, 0xFFA0), (0x1D159, 0x1D159), (0xE0000, 0xE0FFF)),
    ]
    for code in range(first, last + 1)
)
_OVERLAY = 1  # the combining class of what strikes letters out
#: In a value two spaces are another value than one, and pages draw both the same; people write two after a sentence.
_GAP, _WIDE_GAP = re.compile(" {2,}"), re.compile(" {4,}")


def visible(text: str, keep: str = "") -> str:
    """Give `text` with every character that does not show as itself as `‹U+202E›`, but those in `keep`.

    These are controls, line breaks, invisible and direction-changing characters, spaces other than the ordinary one,
    and accents piled up. What it gave stays as it is when it is given again.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_visible(text, keep))


def _visible(text: str, keep: str = "", marks: int = 0) -> Iterator[str]:
    """Give the parts of `visible`; `marks` accents stand before it."""
    for character in text:
        is_mark = unicodedata.category(character) == "Mn"
        marks = marks + 1 if is_mark else 0
        if character in keep:
            yield character
        elif _shows(character) and marks <= _MOST_MARKS:
            yield character
            if character != " ":
                continue
        else:
            yield f"‹U+{ord(character):04X}›"
        marks = _MOST_MARKS


def _shows(character: str) -> bool:
    if " " <= character <= "~":
        return True
    category = unicodedata.category(character)
    return not (
        category in _HIDDEN or category == "Zs" or character in _BLANK or unicodedata.combining(character) == _OVERLAY
    )


def line(text: str, limit: int = VALUE) -> str:
    """Give `visible` text on one line: `limit` characters of it, how many there are, and its look-alike letters."""
    return "".join(_line(text, limit))


def _line(text: str, limit: int = VALUE, length: int | None = None, gap: re.Pattern[str] = _GAP) -> tuple[str, str]:
    """Give `line` in two parts: what is the text's, and what we say of it. `length` is told in place of the text's."""
    if len(text) <= limit and text.isascii() and text.isprintable() and not gap.search(text):
        return text, ""
    kept: list[str] = []
    room = limit
    # An accent at its start would stand on whatever we wrote before.
    for piece in _visible(gap.sub(lambda found: f"‹{len(found[0])} spaces›", text), marks=_MOST_MARKS):
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    body = "".join(kept)
    said = f" … {length or len(text):,} characters" if room < 0 else ""
    warning = lookalikes(body)
    # What is given once more, or stands in a sentence that was, says it already.
    return body, f"{said} ({warning})" if warning and f"({warning})" not in body else said


def prose(text: str, limit: int) -> str:
    """Give `line` of what somebody wrote, who may put two spaces after a sentence."""
    return "".join(_line(text, limit, gap=_WIDE_GAP))


def is_cut(text: str) -> bool:
    """Tell whether `line` shows less than all of a text, or draws its lines into one."""
    _, said = _line(text)
    return said.startswith(" … ") or "\n" in text


def whole(text: str) -> str:
    """Give all of a text, each of its lines as a `line` that is not cut."""
    return "\n".join(prose(part, _NO_LIMIT) for part in text.splitlines())


def words(text: str) -> str:
    """Give what somebody wrote as one `line`, its line breaks as ⏎: it cannot draw lines of its own around ours."""
    joined = " ⏎ ".join(part for part in text.splitlines() if part.strip())
    return "".join(_line(joined, WORDS, len(text), _WIDE_GAP))


def shown(value: Any) -> Any:
    """Give JSON for people: its texts as `line`, its shape as it is; a large list or object as one text."""
    match value:
        case str():
            return line(value)
        case dict() | list() if _is_one_text(value):
            return line(_json(value))
        case list():
            return [shown(item) for item in value]
        case dict():
            return {line(str(name)): shown(item) for name, item in value.items()}
        case _:
            return value


def unshown(edited: Any, current: Any) -> Any:
    """Give what an edited value means. Clients send back what they were shown: there it is what `current` holds.

    Raises:
        ActionError: a text was changed together with the length or the warning that was shown after it, or could be
            one of several.
    """
    if isinstance(edited, str | list | dict) and edited == shown(current):
        return current
    return _with_originals(edited, list(_texts(current)))


def _with_originals(edited: Any, texts: list[tuple[str, str, Any]]) -> Any:
    match edited:
        case str():
            originals = [original for body, said, original in texts if edited == body + said]
            if any(other != originals[0] for other in originals):
                raise ActionError("a text came back that stands for several, which look the same cut; write it whole.")
            if originals:
                return originals[0]
            if any(said and said.strip() in edited for _, said, _ in texts):
                raise ActionError("a text came back changed, with the remark that is shown after it; write it whole.")
            return edited
        case list():
            return [_with_originals(item, texts) for item in edited]
        case dict():
            return {_with_originals(name, texts): _with_originals(item, texts) for name, item in edited.items()}
        case _:
            return edited


def _texts(value: Any) -> Iterator[tuple[str, str, Any]]:
    """List the texts that a value is shown with: the text, what we say of it, what it stands for."""
    match value:
        case str():
            yield *_line(value), value
        case dict() | list() if _is_one_text(value):
            yield *_line(_json(value)), value
        case list():
            for item in value:
                yield from _texts(item)
        case dict():
            for item in (*value, *value.values()):
                yield from _texts(item)


def _is_one_text(value: dict[str, Any] | list[Any]) -> bool:
    """Tell whether a list or object is shown as one text: a large one, or one whose texts look the same cut."""
    if _parts(value) > _MOST_PARTS:
        return True
    names = list(value) if isinstance(value, dict) else []
    return len({line(str(name)) for name in names}) < len(names)


def _parts(value: Any) -> int:
    match value:
        case dict():
            return 1 + sum(_parts(item) for item in value.values())
        case list():
            return 1 + sum(_parts(item) for item in value)
        case _:
            return 1


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def markdown(text: str) -> str:
    """Give a `line` that reads the same as plain text and as a paragraph of Markdown of its own.

    No link, picture, heading, list, formula or HTML comes of it. Only what would mean something is escaped: pages that
    show Markdown as it is written show escapes, too. What programs make links of, escaped or not, stands as code.
    """
    shown_text = visible(text.strip())
    if not _MAY_MEAN.search(shown_text):
        return _START.sub(_behind_backslash, shown_text)
    words = shown_text.split(" ")
    addresses = {word for word in words if _ADDRESS.search(word)}
    together = " ".join(word for word in words if word not in addresses)
    meaning = [pattern for pattern, least in _MEANING if len(pattern.findall(together)) >= least]
    if addresses:
        meaning.append(_TICK)  # one alone would begin a code that ends with ours
    if _LINK.search(together):
        meaning.append(_BRACKET)
    if addresses or meaning:
        words = [_as_code(word) if word in addresses else _escaped(word, meaning) for word in words]
    return _START.sub(_behind_backslash, " ".join(words))


def _behind_backslash(start: re.Match[str]) -> str:
    return start[0][:-1] + "\\" + start[0][-1]


#: Addresses, as eager programs find them: `https://x`, `www.x`, `x.com`, `a@b`.
_ADDRESS = re.compile(r"://|@|www\.|\w\.[^\W\d_]{2}", re.IGNORECASE)
#: What means something in a paragraph, and how often it has to stand there to do so. Sources: CommonMark 0.31, GFM,
#: and the formulas that chat pages draw between dollar signs.
_MEANING = [
    (re.compile(r"\\(?=[!-/:-@\[-`{-~]|$)"), 1),
    (re.compile(r"<(?=[A-Za-z/!?])"), 1),
    (re.compile(r"&(?=#?\w+;)"), 1),
    (re.compile(r"[`*]"), 2),
    (re.compile(r"~"), 2),
    (re.compile(r"\$"), 2),
    # Inside a word an underscore is one.
    (re.compile(r"(?<![^\W_])_|_(?![^\W_])"), 2),
]
_LINK = re.compile(r"\][(\[:]|\[\^")
_TICK = re.compile("`")
_BRACKET = re.compile(r"\[")
#: Nothing of all that stands in a text in which this is not found: most have neither.
_MAY_MEAN = re.compile(rf"[\\<&`*~$_\[\]]|{_ADDRESS.pattern}", re.IGNORECASE)
#: What only means something at the start of a paragraph.
_START = re.compile(r"^(?:\d+[.)]|[-+*#=>:|])")


def _as_code(word: str) -> str:
    return f"`{word.replace('`', '‹U+0060›')}`"


def _escaped(word: str, meaning: list[re.Pattern[str]]) -> str:
    at = sorted({found.start() for pattern in meaning for found in pattern.finditer(word)}, reverse=True)
    for place in at:
        word = f"{word[:place]}\\{word[place:]}"
    return word


def span(length: timedelta) -> str:
    """Say how long in words, rounded down: minutes under 120, hours under 48, then days."""
    minutes = int(length.total_seconds() // 60)
    if minutes < 1:
        return "under 1 min"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // 1440} days"
