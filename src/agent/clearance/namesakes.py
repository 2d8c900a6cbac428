"""Names that look alike: two people whom nobody who reads could tell apart.

Nobody is merged with anybody, for one would get the other's threads. Who looks like another is shown as such, and the
two are one pair of eyes: they cannot be maker and checker of one request, nor two of its approvers.
"""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

#: What reads like which ASCII text. Source: confusables.txt of UTS #39, without what NFKD takes apart.
_READS_AS = {
    "'": "ʹʻʼʽʾˈˊˋ՚՝ᑊᛌ‘’‛′‵ꞌ",
    ",": "‚ꓹ",
    "-": "‐‒–⁃Ⲻ",
    ".": "۰ꓸ꘎",
    "/": "᜵⁁Ⳇ〳ノ丿",
    "2": "ƧϨᒿꙄꛯꝚ",
    "3": "ƷȜЗӠⳌꝪꞫ𑣊𖼻",
    "4": "Ꮞ𑢯",
    "5": "Ƽ𑢻",
    "6": "бᏮⳒ𑣕",
    "7": "𐓒𑣆",
    "8": "Ȣȣ৪੪𐌚",
    "9": "৭੧୨൭ⳊꝮ𑢬𑣌𑣖",
    ":": "ː։᛬᠃᠉⁚ꓽ",
    "A": "ΑАᎪᗅꓮ𐊠𖽀",
    "AA": "Ꜳ",
    "AE": "ÆӔ",
    "AO": "Ꜵ",
    "AU": "Ꜷ",
    "AV": "ꜸꜺ",
    "AY": "Ꜽ",
    "B": "ΒВᏴᗷꓐꞴ𐊂𐊡𐌁",
    "C": "СᏟⲤꓚ𐊢𐌂𐐕𐔜𑣩𑣲",
    "C'": "Ƈ",
    "D": "Ꭰᗞᗪꓓ",
    "E": "ΕЕᎬⴹꓰ𐊆𑢦𑢮",
    "F": "ϜᖴꓝꞘ𐊇𐊥𐔥𑢢𑣂",
    "G": "ԌᏀᏳꓖ",
    "G'": "Ɠ",
    "H": "ΗНᎻᕼⲎꓧ𐋏",
    "I": "ƖǀΙІӀ۱ᛁⲒⵏꓲ𐊊𐌉𐌠𖼨",
    "J": "ͿЈᎫᒍꓙꞲ",
    "K": "ΚКᏦᛕⲔꓗ𐔘",
    "K'": "Ƙ",
    "L": "ᏞᒪⳐꓡ𐐛𐔦𑢣𑢲𖼖",
    "M": "ΜϺМᎷᗰᛖⲘꓟ𐊰𐌑",
    "N": "ΝⲚꓠ𐔓",
    "O": "ΟОՕ০ଠ୦ዐⲞⵔ〇ꓳ𐊒𐊫𐐄𐓂𐔖𑓐𑢵𑣠",
    "O'": "ƠᎤ",
    "OE": "Œ",
    "OO": "ꚘꝎ",
    "P": "ΡРᏢᑭⲢꓑ𐊕",
    "P'": "ᒆ",
    "Q": "ⵕ",
    "R": "ƦᎡᏒᖇꓣ𐒴𖼵",
    "S": "ЅՏᏕᏚꓢ𐊖𐐠𖼺",
    "T": "ΤТᎢⲦꓔ𐊗𐊱𐌕𑢼𖼊",
    "T3": "Ꜩ",
    "U": "Սሀᑌꓴ𐓎𑢸𖽂",
    "U'": "ᑧ",
    "V": "Ѵ۷Ꮩᐯⴸꓦꛟ𐔝𑢠𖼈",
    "W": "ԜᎳᏔꓪ𑣦𑣯",
    "X": "ΧХᚷⲬⵝꓫꞳ𐊐𐊴𐌗𐌢𐔧𑣬",
    "Y": "ΥУҮᎩᎽⲨꓬ𐊲𑢤𖽃",
    "Z": "ΖᏃꓜ𐋵𑢩𑣥",
    "a": "ɑαа",
    "aa": "ꜳ",
    "ae": "æӕ",
    "ao": "ꜵ",
    "au": "ꜷ",
    "av": "ꜹꜻ",
    "ay": "ꜽ",
    "b": "ƄЬᏏᑲᖯ",
    "b'": "ᒈ",
    "bl": "Ы",
    "c": "сᴄⲥꮯ𐐽",
    "d": "ԁᏧᑯꓒ",
    "d'": "ᒇ",
    "dz": "ʣ",
    "e": "еҽꬲ",
    "f": "քẝꞙꬵ",
    "g": "ƍɡցᶃ",
    "h": "һհᏂ",
    "i": "ıɩɪͺιіӏᎥꙇꭵ𑣃",
    "j": "ϳј",
    "lO": "Ю",
    "ll": "ǁ‖",
    "ls": "ʪ",
    "lz": "ʫ",
    "m": "𑜀𑣣",
    "n": "ոռ",
    "o": "οσоօ۵०੦૦௦౦೦ഠ൦๐໐ဝ၀ჿᴏᴑⲟꬽ𐐬𐓪𑣈𑣗",
    "o'": "ơ",
    "oe": "œ",
    "oo": "ꚙꝏ",
    "p": "ρрⲣ",
    "q": "ԛգզ",
    "r": "гᴦⲅꭇꭈꮁ",
    "r'": "ґ",
    "s": "ƽѕꜱꮪ𐑈𑣁",
    "tf": "ꝷ",
    "ts": "ʦ",
    "u": "ʋυսᴜꞟꭎꭒ𐓶𑣘",
    "ue": "ᵫ",
    "uo": "ꭣ",
    "v": "νѵᴠꮩ𑜆𑣀",
    "w": "ɯѡԝաᴡꮃ𑜊𑜎𑜏",
    "x": "хᕁᕽ᙮",
    "y": "ɣʏγуүყᶌỿꭚ𑣜",
    "z": "ᴢꮓ𑣄",
}
#: ASCII letters and digits that read like each other. Source: as above.
_ASCII = {"1": "l", "|": "l", "I": "l", "0": "O", "m": "rn", "`": "'"}
_TABLE = str.maketrans(
    {
        **_ASCII,
        **{
            letter: "".join(_ASCII.get(one, one) for one in plain)
            for plain, letters in _READS_AS.items()
            for letter in letters
        },
    }
)


def look_alike(one: str, other: str) -> bool:
    """Tell whether two names that are not the same read the same; case, spaces and Unicode's forms do not count."""
    return one != other and not _readings(one).isdisjoint(_readings(other))


def namesake(name: str, others: Iterable[str]) -> str | None:
    """Give the first of the others that looks like a name and is another's; None where there is none."""
    return next((other for other in others if look_alike(name, other)), None)


def reads_as(name: str, prefix: str) -> bool:
    """Tell whether a name reads as if it began so."""
    return any(mine.startswith(its) for mine in _readings(name) for its in _readings(prefix))


@lru_cache(maxsize=4096)
def _readings(name: str) -> frozenset[str]:
    """Give what a name may be read as: a capital I is an l there, a small one an i."""
    plain = " ".join(unicodedata.normalize("NFKD", name).split())
    return frozenset(_reading(text) for text in (plain, plain.casefold()))


def _reading(text: str) -> str:
    return unicodedata.normalize("NFKD", text.translate(_TABLE)).casefold()
