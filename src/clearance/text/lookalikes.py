"""Letters that pose as other letters: which of a text's letters can be taken for ASCII, though they are not.

A word that mixes scripts, or that can be read as ASCII from end to end. It cannot tell `l` from `1` or `rn` from `m`.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator

#: Letters and digits of other scripts that can be read as ASCII ones. Source: confusables.txt of UTS #39, those with an
#: ASCII prototype. All of them as printed there; what NFKC makes ASCII is found without a table.
_POSING = frozenset(
    "ͿΑΒΕΖΗΙΚΜΝΟΡΤΥΧαγινορσυϜϨϳϺЅІЈАВЕЗКМНОРСТУХЫЬЮабгеорсухѕіјѡѴѵҮүһҽӀӏӔӕӠԁԌԛԜԝՍՏՕագզհոռսցքօ۱۵۷०০৪৭੦੧੪૦ଠ୦୨௦౦೦ഠ൦൭๐໐ဝ၀"
    "ყჿሀዐᎠᎡᎢᎥᎩᎪᎫᎬᎳᎷᎻᎽᏀᏂᏃᏎᏏᏒᏔᏕᏙᏚᏞᏟᏢᏦᏧᏮᏳᏴᐯᑌᑭᑯᑲᒍᒪᒿᕁᕼᕽᖇᖯᖴᗅᗞᗪᗰᗷᚷᛁᛕᛖᴦⲅⲎⲒⲔⲘⲚⲞⲟⲢⲣⲤⲥⲦⲨⲬⳊⳌⳐⳒⴸⴹⵏⵔⵕⵝ〇ꓐꓑꓒꓓꓔꓖꓗꓙꓚꓜꓝꓟꓠꓡꓢꓣꓦꓧꓪꓫꓬꓮꓰꓲꓳꓴꙄꙇ"
    "Ꚙꚙꛟꛯꭵꮁꮃꮓꮩꮪꮯ𐊂𐊆𐊇𐊊𐊐𐊒𐊕𐊖𐊗𐊠𐊡𐊢𐊥𐊫𐊰𐊱𐊲𐊴𐋏𐋵𐌁𐌂𐌉𐌑𐌕𐌗𐌚𐌠𐌢𐐄𐐕𐐛𐐠𐐬𐐽𐑈𐒴𐓂𐓎𐓒𐓪𐓶𐔓𐔖𐔘𐔜𐔝𐔥𐔦𐔧𑓐𑜀𑜆𑜊𑜎𑜏𑢠𑢢𑢣𑢤𑢦𑢩𑢬𑢮𑢯𑢲𑢵𑢸𑢻𑢼𑣀𑣁𑣂𑣃𑣄𑣆𑣈𑣊𑣌𑣕𑣖𑣗𑣘𑣜𑣠𑣣𑣥𑣦𑣩𑣬𑣯𑣲𖼈𖼊𖼖𖼨𖼵𖼺𖼻𖽀𖽂"
    "𖽃"
)
#: Latin letters that can be read as ASCII, from the same source, without those that people write (Turkish ı, Danish æ).
_POSING_LATIN = frozenset("ƄƍƖƦƧƼƽǀǁȜȢȣɑɡɩɪɯʏʣʦʪʫᴄᴏᴑᴜᴠᴡᴢᵫᶃᶌẝỿꜨꜱꜲꜳꜴꜵꜶꜷꜸꜹꜺꜻꜼꜽꝎꝏꝚꝪꝮꝷꞘꞙꞟꞫꞲꞳꞴꬲꬵꬽꭇꭈꭎꭒꭚꭣ")
#: Scripts that stand together, and beside Latin, in ordinary East Asian text. Source: UTS #39, highly restrictive.
_EAST_ASIAN = frozenset(["CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"])
_PHRASE = re.compile(r"[\w .'’‘-]+")
_WORD = re.compile(r"[^\W_]+")
#: Letters that a warning names; of more it says how many.
_NAMED = 3


def lookalikes(text: str) -> str:
    """Say which letters of `text` can be taken for others, as `look-alike letters: U+0410 CYRILLIC …`; "" for none."""
    if text.isascii():
        return ""
    found = list(dict.fromkeys(_found(text)))
    if not found:
        return ""
    named = [f"U+{ord(c):04X} {unicodedata.name(c, 'without a name')}" for c in found[:_NAMED]]
    rest = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"look-alike letters: {', '.join(named)}{rest}"


def _found(text: str) -> Iterator[str]:
    # Accents neither make a word nor break one.
    letters = "".join(c for c in text if unicodedata.category(c)[0] != "M")
    yield from (c for c in letters if c > "\x7f" and _is_styled(c))
    for phrase in _PHRASE.findall(letters):
        yield from _found_in(phrase)


def _found_in(phrase: str) -> Iterator[str]:
    """Look at words that stand side by side: one of them that cannot be read as ASCII speaks for those of its script.

    So `Вера` is flagged alone and not in `Вера Иванова`. A word glued to ASCII, such as `А-2001`, speaks for itself.
    """
    together: dict[str, list[str]] = defaultdict(list)
    for glued in phrase.split():
        has_ascii = any(c.isascii() and c.isalnum() for c in glued)
        for word in _WORD.findall(glued):
            strange = [c for c in word if not c.isascii()]
            scripts = {script for c in word if (script := _script(c))}
            if len(scripts) > 1 and not scripts <= _EAST_ASIAN | {"LATIN"}:
                yield from (c for c in strange if _script(c) not in ("LATIN", ""))
            elif has_ascii and all(c in _POSING for c in strange):
                yield from strange
            elif not has_ascii:
                together[min(scripts, default="")] += strange
    for letters in together.values():
        if all(c in _POSING for c in letters):
            yield from letters


def _script(letter: str) -> str:
    """Name the script of a letter, "" where it has none of its own: digits, modifiers, compatibility forms."""
    if unicodedata.category(letter) not in ("Lu", "Ll", "Lt", "Lo") or unicodedata.decomposition(letter)[:1] == "<":
        return ""
    return unicodedata.name(letter, "").split(" ", 1)[0]


def _is_styled(character: str) -> bool:
    """Tell whether it is a letter or digit in disguise, whatever stands around it: fullwidth, mathematical, circled."""
    if character in _POSING_LATIN:
        return True
    category, name = unicodedata.category(character), unicodedata.name(character, "")
    if category == "So" or " SMALL CAPITAL " in name:
        return "LATIN " in name
    plain = unicodedata.normalize("NFKC", character)
    return (
        category[0] in "LN"
        and plain != character
        and not unicodedata.decomposition(character).startswith(("<super>", "<sub>"))
        and all(c in _POSING or (c.isascii() and c.isalnum()) for c in plain)
    )
