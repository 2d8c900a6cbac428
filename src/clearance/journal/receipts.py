"""Receipts: how a request ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db.tables import receipts, requests
from clearance.journal.requests import PLANS_OF, Request
from clearance.journal.statements import among, filled, insert, param, read_all, read_one, write


@dataclass(frozen=True)
class Receipt:
    """How a request ended."""

    request_id: str
    #: executed, failed, refused, rejected, withdrawn or expired.
    outcome: str
    revision: int
    #: What the model and people are told; None when erased.
    sentence: str | None
    finished_at: datetime
    version: int | None = 1

    @property
    def artifact(self) -> dict[str, Any]:
        """What clients get beside the sentence, so that no program has to read prose; the model never sees it."""
        return {"outcome": self.outcome, "revision": self.revision}


_RECEIPT = sa.select(receipts).where(receipts.c.request_id == param("request_id"))
_RECEIPTS_OF = sa.select(receipts).where(receipts.c.request_id.in_(among("request_ids")))
_ENDED = (
    sa.select(requests, *(column.label(f"receipt_{column.name}") for column in receipts.c))
    .select_from(requests.outerjoin(receipts, receipts.c.request_id == requests.c.request_id))
    .order_by(requests.c.number)
)
_ENDED_OF_TURN = _ENDED.where(requests.c.plan_id.in_(PLANS_OF))
_ENDED_OF_PLANS = _ENDED.where(requests.c.plan_id.in_(among("plan_ids")))
_ADD_RECEIPT = insert(receipts)


def read_receipt(connection: Connection, request_id: str) -> Receipt | None:
    """Read how a request ended, or None while it is open."""
    return read_one(connection, _RECEIPT, Receipt, request_id=request_id)


def ended_of_turn(connection: Connection, turn_id: str) -> list[tuple[Request, Receipt | None]]:
    """Read the requests of a turn, oldest first, and how each ended; None while it is open."""
    return read_all(connection, _ENDED_OF_TURN, _ended, turn_id=turn_id)


def ended_of_plans(connection: Connection, plan_ids: Sequence[str]) -> list[tuple[Request, Receipt | None]]:
    """Read the requests of several plans, oldest first, and how each ended; None while it is open."""
    return read_all(connection, _ENDED_OF_PLANS, _ended, plan_ids=plan_ids) if plan_ids else []


def _ended(*row: Any) -> tuple[Request, Receipt | None]:
    asked, ended = row[:_OF_REQUEST], row[_OF_REQUEST:]
    return filled(Request, asked), None if ended[0] is None else filled(Receipt, ended)


_OF_REQUEST = len(requests.c)


def receipts_of_turn(connection: Connection, turn_id: str) -> list[Receipt]:
    """Read the receipts of a turn, in the order they were written."""
    ended = [receipt for _, receipt in ended_of_turn(connection, turn_id) if receipt]
    return sorted(ended, key=lambda receipt: receipt.finished_at)


def receipts_of(connection: Connection, request_ids: Sequence[str]) -> dict[str, Receipt]:
    """Read receipts by request."""
    found = read_all(connection, _RECEIPTS_OF, Receipt, request_ids=request_ids) if request_ids else []
    return {one.request_id: one for one in found}


def add_receipt(connection: Connection, added: Receipt) -> None:
    """Insert a receipt; the database refuses a second one of the same request."""
    write(connection, _ADD_RECEIPT, **vars(added))
