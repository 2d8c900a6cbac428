"""A transaction that is kept for whoever began it: what is not said to the database while somebody else writes in it.

An effect that commits by itself would have happened without its receipt, and would happen again. SQLite tells what a
statement does when it prepares it. For PostgreSQL the first words of each are read here, and nothing rests on them
alone: a COMMIT that comes by any other way fails there, and what ended the transaction is found at the end of it.
"""

import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

#: What is told to whoever tries.
SENTENCE = "an action does not end the transaction it runs in"
PAST_OURS = "an action uses the cursors that its connection gives"
_SETS = "an action does not set what holds for the gate as well"
_ANOTHER = "an action opens no connection of its own to write with"

_inside = threading.local()


@dataclass
class Kept:
    """What an open transaction is kept from."""

    #: Savepoint that is not theirs who write in it.
    outer: str
    #: Whether it is not to be written in. SQLite is kept only from what is no change of rows, see `lent.read_only`.
    is_look: bool = False
    #: Whether it was found to be over.
    is_over: bool = False
    #: Whether something was sent that was not looked at.
    is_passed: bool = False
    #: Whether SQLite asked what it is kept from.
    is_asked: bool = False

    def refusal(self, sql: str) -> str | None:
        """Say why some statements of PostgreSQL's are not to be sent; None when they are."""
        return next((why for words in _heads(sql) if (why := self._of_one(words))), None)

    def _of_one(self, words: tuple[str, ...]) -> str | None:
        match words:
            case ("COMMIT" | "END" | "ABORT" | "BEGIN" | "START", *_) | ("PREPARE", "TRANSACTION", *_):
                return SENTENCE
            case ("ROLLBACK", *rest):
                rest = rest[1:] if rest and rest[0] in ("WORK", "TRANSACTION") else rest
                return self._of_savepoint(rest[1:]) if rest and rest[0] == "TO" else SENTENCE
            case ("SAVEPOINT" | "RELEASE", *rest):
                return self._of_savepoint(rest)
            case ("SET", "CONSTRAINTS", *_):
                return None
            case ("SET", "LOCAL", name, *_) if "." in name:  # a setting of the program's own
                return None
            case ("SET" | "RESET" | "DISCARD", *_):
                return _SETS
            case _:
                return None

    def _of_savepoint(self, rest: list[str]) -> str | None:
        name = rest[1] if len(rest) > 1 and rest[0] == "SAVEPOINT" else rest[0] if rest else ""
        return SENTENCE if _as_name(name) == self.outer else None

    def authorize(self, code: int, first: str | None, second: str | None) -> int:
        """Tell SQLite whether a statement may be prepared, as its `set_authorizer` asks."""
        self.is_asked = True
        match code:
            case sqlite3.SQLITE_TRANSACTION:
                return sqlite3.SQLITE_DENY
            case sqlite3.SQLITE_SAVEPOINT if (second or "").lower() == self.outer:
                return sqlite3.SQLITE_DENY
            case sqlite3.SQLITE_PRAGMA if second is not None and (first or "").lower() not in _PRAGMAS:
                return sqlite3.SQLITE_DENY
            case _ if self.is_look and code not in _OF_ROWS:
                return sqlite3.SQLITE_DENY
            case _:
                return sqlite3.SQLITE_OK


#: Of statements that change no table's shape.
_OF_ROWS = frozenset({
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE,
    sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_PRAGMA,
    sqlite3.SQLITE_SAVEPOINT,
})  # fmt: skip
#: Those with a value that change nothing for anybody else.
_PRAGMAS = frozenset({
    "defer_foreign_keys", "foreign_key_check", "foreign_key_list", "index_info", "index_list", "index_xinfo",
    "integrity_check", "quick_check", "table_info", "table_list", "table_xinfo",
})  # fmt: skip


@contextmanager
def inside() -> Iterator[None]:
    """Let this thread begin no other transaction that writes for the length of the block."""
    before = getattr(_inside, "is_kept", False)
    _inside.is_kept = True
    try:
        yield
    finally:
        _inside.is_kept = before


def refuse_another() -> None:
    """Refuse another transaction that writes where one is kept: it would commit by itself, or wait for the first.

    Raises:
        RuntimeError: this thread is inside one.
    """
    if getattr(_inside, "is_kept", False):
        raise RuntimeError(_ANOTHER)


#: Words that are looked at of each statement: ROLLBACK TRANSACTION TO SAVEPOINT name.
_MOST_WORDS = 5
_TOKEN = re.compile(
    r"""
      (?P<nothing> \s+ | --[^\n\r]* )
    | (?P<comment> /\* )
    | (?P<text> [eE]'(?:[^'\\]|''|\\.)*'? | '(?:[^']|'')*'? )
    | (?P<dollar> \$(?:[^\W\d]\w*)?\$ )
    | (?P<word> [^\W\d][\w$.]* | "(?:[^"]|"")*"? )
    | (?P<end> ; )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT = re.compile(r"/\*|\*/")


@lru_cache(maxsize=1000)
def _heads(sql: str) -> tuple[tuple[str, ...], ...]:
    """Give the first words of each statement, names as they stand, the rest in capitals."""
    heads: list[tuple[str, ...]] = []
    words: list[str] = []
    at, is_head = 0, True
    while at < len(sql):
        token = _TOKEN.match(sql, at)
        assert token is not None
        at = token.end()
        match token.lastgroup:
            case "nothing":
                pass
            case "comment":
                at = _after_comment(sql, at)
            case "dollar":
                found = sql.find(token[0], at)
                at, is_head = (len(sql) if found < 0 else found + len(token[0])), False
            case "end":
                heads.append(tuple(words))
                words, is_head = [], True
            case "word" if is_head and len(words) < _MOST_WORDS:
                words.append(token[0] if token[0][0] == '"' else token[0].upper())
            case _:
                is_head = False
    return (*heads, tuple(words))


def _after_comment(sql: str, at: int) -> int:
    depth = 1
    while depth:
        mark = _COMMENT.search(sql, at)
        if mark is None:
            return len(sql)
        at, depth = mark.end(), depth + (1 if mark[0] == "/*" else -1)
    return at


def _as_name(word: str) -> str:
    """Give an identifier as PostgreSQL takes it."""
    return word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()
