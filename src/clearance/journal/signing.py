"""How rows of the audit log are signed, and under which key."""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

import orjson

from clearance.canonical import are_written_alike, dense, is_dense


@dataclass(frozen=True)
class Keys:
    """The key that signs now, and those that signed before it was changed."""

    now: bytes
    before: tuple[bytes, ...] = ()

    def find(self, key_id: str) -> bytes | None:
        """Give the key of a fingerprint, or None."""
        return next((key for key in (self.now, *self.before) if fingerprint(key) == key_id), None)


@lru_cache(maxsize=8)
def fingerprint(key: bytes) -> str:
    """Name a key without telling it."""
    return hmac.new(key, b"fingerprint of an audit key", "sha256").hexdigest()[:16]


def seal(key: bytes, text: str) -> str:
    """Digest a text under a key, apart from how rows are signed."""
    return hmac.new(key, b"sealed:" + text.encode(), "sha256").hexdigest()


@lru_cache(maxsize=8)
def signer(key: bytes) -> Callable[[tuple[Any, ...], str], str]:
    """Make the function that signs a row, given its columns in the table's order and the mac of the row before."""
    inside, outside = _begun(key)

    def sign(row: tuple[Any, ...], before: str) -> str:
        inner, outer = inside.copy(), outside.copy()
        inner.update(dense((*row, before)))
        outer.update(inner.digest())
        mac: str = outer.hexdigest()
        return mac

    return sign


def _begun(key: bytes) -> tuple[Any, Any]:
    """Begin the two hashes of HMAC-SHA256 (RFC 2104) with a key, to be copied for each row."""
    # OpenSSL's own takes twice as long for a row, since it begins with the key each time.
    padded = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
    inside, outside = (hashlib.sha256(padded.translate(_XORED[with_])) for with_ in (0x36, 0x5C))
    return inside, outside


#: Bytes of a block of SHA-256.
_BLOCK = 64
_XORED = {with_: bytes(byte ^ with_ for byte in range(256)) for with_ in (0x36, 0x5C)}


def checker(key: bytes) -> Callable[[tuple[Any, ...], str], bool]:
    """Make the function that tells whether a row as the table has it, mac included, was signed after the mac before."""
    sign = signer(key)

    def is_signed(row: tuple[Any, ...], before: str) -> bool:
        try:
            return bool(sign(row[:-1], before) == row[-1])
        except TypeError:  # neither text nor null, such as bytes, which SQLite takes for text: nobody signed that
            return False

    return is_signed


def are_signed(key: bytes, rows: list[tuple[Any, ...]], before: str) -> bool:
    """Tell whether rows as the table has them were signed one after another, the first of them after the mac `before`.

    Where it is not so, or not to be told quickly, `checker` tells of which row.
    """
    if not are_written_alike(chain.from_iterable(rows)):
        return False
    inside, outside = _begun(key)
    # Written out, and nothing called that need not be: this is what a row of the log costs.
    for seq, at, event, actor, thread_id, turn_id, request_id, details, mac in rows:
        row = (seq, at, event, actor, thread_id, turn_id, request_id, details, before)
        try:
            text = orjson.dumps(row)
        except TypeError:
            return False
        inner, outer = inside.copy(), outside.copy()
        inner.update(text if is_dense(text) else dense(row))
        outer.update(inner.digest())
        if outer.hexdigest() != mac:
            return False
        before = mac
    return True


def is_changed_to(told: dict[str, Any], key: bytes, seq: int, before: str) -> bool:
    """Tell whether a row `key_rotated` of these details, after the mac `before`, was written by who holds `key`."""
    return bool(told["new_key"] == fingerprint(key) and told["proof"] == seal(key, f"{seq - 1}:{before}"))


_EVENT = itemgetter(2)


class Chain:
    """Checks rows one after another, each under the key of its time."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.key = keys.now
        self._is_signed = checker(keys.now)
        self._has_begun = False

    def check(self, row: tuple[Any, ...], before: str) -> str | None:
        """Say what is wrong with the next row, as the table has it; None when it was signed after the mac before."""
        if not self._has_begun:
            self._begin(row)
        if not self._is_signed(row, before):
            return f"row {row[0]} is not what was written (event {row[2]!r})"
        if row[2] == "key_rotated":
            return self._change(row, before)
        return None

    def goes_on(self, rows: list[tuple[Any, ...]], before: str) -> bool:
        """Tell whether the next rows, at least one, are signed one after another, and none changes the key.

        Quicker than `check`, which says what is wrong with which of them where they are not.
        """
        if not self._has_begun:
            self._begin(rows[0])
        return "key_rotated" not in map(_EVENT, rows) and are_signed(self.key, rows, before)

    def begin_after(self, row: tuple[Any, ...], before: str, key: bytes) -> str | None:
        """Go on after a row that `key` signed after the mac `before`; say what is wrong with the key of the next."""
        self._has_begun = True
        self._use(key)
        return self._change(row, before) if row[2] == "key_rotated" else None

    def _begin(self, row: tuple[Any, ...]) -> None:
        """Find the key of the first row among those that were."""
        self._has_begun = True
        for key in self.keys.before:
            if not self._is_signed(row, "") and checker(key)(row, ""):
                self._use(key)

    def _change(self, row: tuple[Any, ...], before: str) -> str | None:
        told = json.loads(row[7])
        new = self.keys.find(told["new_key"])
        if new is None:
            return f"what follows row {row[0]} is under the key {told['new_key']}, which is not given (AUDIT_OLD_KEYS)"
        if not is_changed_to(told, new, row[0], before):
            return f"row {row[0]} names a key that did not sign it"
        self._use(new)
        return None

    def _use(self, key: bytes) -> None:
        self.key, self._is_signed = key, checker(key)
