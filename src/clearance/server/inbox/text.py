"""Text from outside as HTML. `rendering` decides what shows; here what it escaped gets its look.

A hidden or misleading character stands in its place as its code point, with its name for a screen reader.
"""

import re
import unicodedata

from markupsafe import Markup, escape

from clearance.actions.review import Id, Name, Words
from clearance.text.rendering import SENTENCE, VALUE, line, prose
from clearance.text.rendering import WORDS as MOST_WORDS
from clearance.text.rendering import whole as all_of

_MARKED = re.compile(r"‹U\+([0-9A-F]{4,6})›")
#: As `json.dumps` writes characters, which is how the actions' own texts carry what misleads. Pairs of backslashes
#: come first, so that a backslash somebody wrote begins no escape.
_ESCAPED = re.compile(r"\\\\|\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|\\u([0-9a-f]{4})")
_CHARACTER = Markup('<span class="char" title="{name}">U+{code}<span class="vh"> ({name})</span></span><wbr>')


def ours(text: str, limit: int = VALUE) -> Markup:
    """Give a text of our own code, in which names and memos may stand."""
    return _with_escapes(line(text, limit))


def sentence(text: str) -> Markup:
    """Give a sentence of our own code."""
    return ours(text, SENTENCE)


def theirs(text: str, limit: int = MOST_WORDS) -> Markup:
    """Give what a person or the model wrote: line by line, each as `rendering.line`."""
    kept, room = [], limit
    for part in (part for part in text.splitlines() if part.strip()):
        kept.append(_marked(prose(part, room)))
        room -= len(part)
        if room <= 0:
            break
    if room <= 0 and len(text) > limit:
        kept.append(Markup("… {:,} characters").format(len(text)))
    return Markup("\n").join(kept)


def whole(text: str) -> Markup:
    """Give all of a text, line by line."""
    return _marked(all_of(text))


def name(text: str) -> Markup:
    """Give what somebody is called, turned by its own direction only."""
    return Markup(f"<bdi>{ours(text)}</bdi>")


def ident(text: str) -> Markup:
    """Give an id, unbroken."""
    return Markup(f'<span class="id">{ours(text)}</span>')


def parts(words: Words) -> Markup:
    """Give our words, names and ids, each by its kind."""
    made: list[str] = []
    for word in words:
        if any(made) and word[:1] not in ",.;:":
            made.append(" ")
        made.append(_part(word))
    return Markup("".join(made))


def _part(word: str) -> Markup:
    if isinstance(word, Name):
        return name(word)
    return ident(word) if isinstance(word, Id) else ours(word, SENTENCE)


def _with_escapes(text: str) -> Markup:
    if "\\" not in text:
        return _marked(text)
    made, at = Markup(""), 0
    for found in _ESCAPED.finditer(text):
        if found[0] == "\\\\":
            continue
        code = int(found[3], 16) if found[3] else _of_pair(found[1], found[2])
        made += _marked(text[at : found.start()]) + _character(code)
        at = found.end()
    return made + _marked(text[at:])


def _of_pair(high: str, low: str) -> int:
    return 0x10000 + ((int(high, 16) - 0xD800) << 10) + (int(low, 16) - 0xDC00)


def _marked(text: str) -> Markup:
    if "‹" not in text:  # nearly always: a page has thousands of such texts
        return escape(text)
    made, at = Markup(""), 0
    for found in _MARKED.finditer(text):
        made += escape(text[at : found.start()]) + _character(int(found[1], 16))
        at = found.end()
    return made + escape(text[at:])


def _character(code: int) -> Markup:
    if code > 0x10FFFF:
        return escape(f"‹U+{code:X}›")
    known = unicodedata.name(chr(code), "").lower()
    is_hidden = not chr(code).isprintable() or unicodedata.category(chr(code)).startswith(("Z", "M", "C"))
    kind = "hidden character" if is_hidden else "character"
    return _CHARACTER.format(name=f"{kind}: {known}" if known else f"{kind} without a name", code=f"{code:04X}")
