"""What SQLAlchemy compiled for one engine, kept for all others of its kind: there are some for each test."""

from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any

import sqlalchemy as sa
from sqlalchemy.util import LRUCache

#: As many as an engine keeps by itself.
_MOST = 500


class _Kept(LRUCache[Any, Any]):
    """Statements under the keys that engines keep them under, but that in each the dialect's class is for the dialect.

    What is compiled depends on no more of it here: all engines of a kind are made alike, and for one and the same
    version of its database.
    """

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_of_kind(key), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__(_of_kind(key), compiled)


def _of_kind(key: tuple[Any, ...]) -> Hashable:
    dialect, *rest = key
    return type(dialect), *rest


_kept = _Kept(_MOST)


def with_statements_kept(make: Callable[..., sa.Engine]) -> Callable[..., sa.Engine]:
    """Give what makes engines that have the statements of all before them."""

    @wraps(make)
    def making(*url: str, **how: bool) -> sa.Engine:
        engine = make(*url, **how)
        engine.update_execution_options(compiled_cache=_kept)
        return engine

    return making
