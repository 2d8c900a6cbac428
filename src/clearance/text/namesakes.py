"""Names that look alike: two people whom nobody who reads could tell apart.

Nobody is merged with anybody, for one would get the other's threads. Who looks like another is shown as such, and the
two are one pair of eyes: they cannot be maker and checker of one request, nor two of its approvers.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from clearance.text.confusables import confusables

#: Letters side by side that read like one. UTS #39 has `rn`; these are as close in the letters of most pages.
_PAIRS = (("vv", "w"), ("cl", "d"))
#: A dot above a letter that has one: nothing more is drawn. Source: Soft_Dotted, of what is left of a reading.
_SECOND_DOT = re.compile("([ij][\u0316-\u0333]*)\u0307")


def look_alike(one: str, other: str) -> bool:
    """Tell whether two names that are not the same read the same; case, spaces and Unicode's forms do not count."""
    return one != other and not _readings(one).isdisjoint(_readings(other))


def namesake(name: str, others: Iterable[str]) -> str | None:
    """Give the first of the others that looks like a name and is another's; None where there is none."""
    return next((other for other in others if look_alike(name, other)), None)


class Known:
    """People by what their names read as: of any number of them who looks like somebody is found at once."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = dict.fromkeys(names)
        self._by_reading: dict[str, list[tuple[int, str]]] = {}
        for number, name in enumerate(self.names):
            for reading in _readings(name):
                self._by_reading.setdefault(reading, []).append((number, name))

    def namesake(self, name: str) -> str | None:
        """As `namesake` of all of them."""
        alike = {one for reading in _readings(name) for one in self._by_reading.get(reading, ()) if one[1] != name}
        return min(alike)[1] if alike else None


def reads_as(name: str, prefix: str) -> bool:
    """Tell whether a name reads as if it began so."""
    return any(mine.startswith(its) for mine in _readings(name) for its in _readings(prefix))


@lru_cache(maxsize=4096)
def _readings(name: str) -> frozenset[str]:
    """Give what a name may be read as: a capital I is an l there, a small one an i."""
    plain = _plain(name)
    # And as it stands: of an accent that poses as an apostrophe NFKD makes a space and a mark.
    return frozenset(_reading(text) for text in (plain, plain.casefold(), _plain(name.translate(confusables()))))


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKD", name).split())


def _reading(text: str) -> str:
    read = unicodedata.normalize("NFKD", text.translate(confusables())).casefold()
    for pair, letter in _PAIRS:
        read = read.replace(pair, letter)
    return _SECOND_DOT.sub(r"\1", read)
