"""A large journal, as the gate would have written it: made row by row with the library's own digests and signatures.

Turns of four actions each, decided over the last months, and open turns of one. Every row of the log is signed after
the one before it and binds the rows it tells of; transfers are booked at the bank as its triggers would. What is left
out is what makes a gate slow to fill: its transactions, policies and facts, which are written as they would have come
out.
"""

import gc
import hashlib
import json
import random
import sqlite3
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any, Protocol

import orjson
import psycopg
import sqlalchemy as sa

from agent.bank.ledger import HOUSE
from agent.bank.money import to_decimal_text, usd
from agent.bank.tables import accounts, customers, entries, payments, transfers
from agent.bank.tables import metadata as bank
from clearance import canonical
from clearance.canonical import digest, key, said_digest
from clearance.db.engine import Database
from clearance.db.tables import (
    attempts,
    audit,
    audit_head,
    cursors,
    decisions,
    metadata,
    notifications,
    plans,
    questions,
    receipts,
    request_subjects,
    requests,
    turns,
)
from clearance.db.types import to_text
from clearance.gate.transitions import asked, note, salted
from clearance.journal import audit as log_of
from clearance.journal import binding, left_behind
from clearance.journal.notifications import REMIND_BEFORE, REMINDER
from clearance.journal.requests import Request
from clearance.journal.signing import fingerprint, signer

#: Not a secret.
KEY = b"a key for a benchmark, not a secret"
#: How many ask, and how many decide.
PEOPLE, REVIEWERS = 100, 20
ACCOUNTS = 2_000
#: Turns of a thread, and actions of a turn, of what is decided.
TURNS, ACTIONS = 5, 4
#: Over so long all was asked for; what is open within so long, and may wait for days.
_SPAN, _RECENT = timedelta(days=90), timedelta(hours=20)
#: Rows of a table that are stored at a time, and how many such batches may wait to be stored.
_BATCH, _BATCHES_BEHIND = 5_000, 8

#: A row as SQLite stores it: JSON and times as text, booleans as 0 and 1.
Stored = dict[str, Any]


class Store(Protocol):
    """Where rows go."""

    def put(self, table: sa.Table, rows: list[Stored]) -> None:
        """Store rows."""

    def close(self) -> None:
        """Commit, and make the indexes."""


#: Tables whose rows stand there from the first migration on, and are written anew.
_REPLACED = (audit_head, accounts)


class SqliteStore:
    """A SQLite file, past SQLAlchemy."""

    def __init__(self, url: str) -> None:
        self._indexes = _Indexes(url)
        file = str(sa.make_url(url).database)
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        # Else all of it would be written twice.
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "foreign_keys = OFF", "cache_size = -400000"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("BEGIN IMMEDIATE")
        # What is written fits: the bank's triggers would look rows up for each.
        self._triggers = self._connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        ).fetchall()
        for name, _ in self._triggers:
            self._connection.execute(f"DROP TRIGGER {name}")

    def put(self, table: sa.Table, rows: list[Stored]) -> None:
        names = _names(table, rows)
        if table in _REPLACED:
            self._connection.execute(f"DELETE FROM {table.name}")
        sql = f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        self._connection.executemany(sql, map(itemgetter(*names), rows))

    def close(self) -> None:
        for _, sql in self._triggers:
            self._connection.execute(sql)
        self._connection.execute("COMMIT")
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.close()
        self._indexes.make()


class PostgresStore:
    """A PostgreSQL database, by COPY."""

    def __init__(self, url: str) -> None:
        self._indexes = _Indexes(url)
        self._url = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        self._connection = psycopg.connect(self._url)
        self._connection.execute("SET synchronous_commit = off")
        # What is written fits: neither triggers nor foreign keys look rows up.
        self._connection.execute("SET session_replication_role = replica")

    def put(self, table: sa.Table, rows: list[Stored]) -> None:
        names = _names(table, rows)
        if table in _REPLACED:
            self._connection.execute(f"DELETE FROM {table.name}")
        text = "".join(["\t".join(map(_copied, row)) + "\n" for row in map(itemgetter(*names), rows)])
        with (
            self._connection.cursor() as cursor,
            cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as copy,
        ):
            copy.write(text.encode())

    def close(self) -> None:
        self._connection.commit()
        self._connection.close()
        self._indexes.make()
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")


def _copied(value: Any) -> str:
    """Write a value as COPY takes it; no text here has a tab or a new line in it."""
    if value is None:
        return "\\N"
    return str(value).replace("\\", "\\\\")


class _Behind:
    """A store that stores in a thread of its own: rows are made meanwhile."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1)
        self._queue: deque[Future[None]] = deque()

    def put(self, table: sa.Table, rows: list[Stored]) -> None:
        self._queue.append(self._thread.submit(self._store.put, table, rows))
        while len(self._queue) > _BATCHES_BEHIND:
            self._queue.popleft().result()

    def close(self) -> None:
        self._queue.append(self._thread.submit(self._store.close))
        for one in self._queue:
            one.result()
        self._thread.shutdown()


def _names(table: sa.Table, rows: list[Stored]) -> list[str]:
    return [column.name for column in table.columns if column.name in rows[0]]


class _Indexes:
    """The indexes of the journal and the bank, made anew when they are full."""

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(Database(url).url)
        self._of = [index for tables in (metadata, bank) for table in tables.sorted_tables for index in table.indexes]
        engine = sa.create_engine(self._url)
        with engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                # In the order in which they were made: of two that serve alike SQLite takes the newer one.
                made = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'index' ORDER BY rowid")
                names = [row[0] for row in made]
                self._of.sort(key=lambda index: names.index(str(index.name)))
            for index in self._of:
                index.drop(connection)
        engine.dispose()

    def make(self) -> None:
        engine = sa.create_engine(self._url)
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SET maintenance_work_mem = '400MB'")
            for index in self._of:
                index.create(connection)
        engine.dispose()


def store_of(url: str) -> Store:
    """Open what rows of an empty, migrated database go into."""
    return _Behind(SqliteStore(url) if url.startswith("sqlite") else PostgresStore(url))


class _Log(log_of.Log):
    """The log, which gives its rows to be stored; written as `Log` does it, past what tells unusual values apart."""

    put: Callable[[sa.Table, Stored], None]
    #: By table and id, as they are last: request, turn, salt, and what `binding.mention` is of.
    changed: dict[tuple[str, str], tuple[str | None, str | None, str, bool, int, Sequence[Any]]]

    def flush(self) -> None:
        """Sign what was noted since, with the rows as they are now."""
        of_request = {event.request_id: event for event in self._events if event.request_id}
        of_turn = {event.turn_id: event for event in self._events}
        for (table, row_id), (request_id, turn_id, salt, is_new, version, values) in self.changed.items():
            event = of_request.get(request_id or "") or of_turn[turn_id]
            told = orjson.dumps([table, row_id, version, *values])
            digested = hashlib.sha256(salt.encode() + told).hexdigest()
            # Hints tell which column of a row was changed, once its digest has shown that one was: these tell nothing.
            hints = _HINTS[: binding.HINT * len(values)]
            event.rows.setdefault(table, {})[row_id] = f"{'+' if is_new else ''}{version}:{digested}{hints}"
        self.changed.clear()
        sign, at = signer(self._key), _text(self.now)
        for event in self._events:
            self._seq += 1
            details = {**event.details, "rows": event.rows} if event.rows else event.details
            row = {
                "seq": self._seq, "at": at, "event": event.event, "actor": event.actor, "thread_id": event.thread_id,
                "turn_id": event.turn_id, "request_id": event.request_id,
                "details": orjson.dumps(details, option=orjson.OPT_SORT_KEYS).decode(),
            }  # fmt: skip
            self._mac = row["mac"] = sign(tuple(row.values()), self._mac)
            self.put(audit, row)
        self._events.clear()

    def write(self, table: sa.Table, row: Stored, request: Request | None = None, salt: str | None = None) -> None:
        """Note a row, new or changed; it is stored as it is last, by `put`."""
        found_by, columns, name = _BOUND[table]
        row["version"] = version = row.get("version", 0) + 1
        row_id = f"{row['interrupt_id']} {row['thread_id']}" if table is questions else row[found_by]
        turn_id, request_id = (request.turn_id, request.request_id) if request else (row["turn_id"], None)
        before = self.changed.get((name, row_id))
        is_new = version == 1 or (before is not None and before[3])
        self.changed[name, row_id] = request_id, turn_id, salt or "", is_new, version, columns(row)


_BOUND = {one.table: (one.found_by.name, itemgetter(*one.columns), one.name) for one in binding.BOUND.values()}
_HINTS = "0" * 200
#: Most moments are written several times.
_text = lru_cache(maxsize=64)(to_text)


class Filling:
    """Writes a journal of a size into several databases at once."""

    def __init__(self, stores: Sequence[Store], now: datetime) -> None:
        self._stores = stores
        self._now = now
        self._held: dict[sa.Table, list[Stored]] = {}
        self._random = random.Random(1)
        start = now - _SPAN
        self.log = _Log(None, start, start, False, None, None, 0, KEY, 0, "", 1, binding.WrittenRows())  # type: ignore[arg-type]  # nothing is read
        self.log.put, self.log.changed = self._put, {}
        self._transfers = 0
        #: By account: balance and last transfer.
        self._moved: dict[str, list[int]] = {}

    def fill(self, *, open_requests: int, decided: int) -> None:
        """Write all, and the head last."""
        self._open_accounts()
        many = decided // ACTIONS
        step = (_SPAN - _RECENT) / max(many, 1)
        for number in range(many):
            self.log.now = self._now - _SPAN + step * number
            self._decided_turn(number)
        step = (_RECENT - timedelta(minutes=5)) / max(open_requests, 1)
        for number in range(open_requests):
            self.log.now = max(self._now - _RECENT + step * number, self.log.now)
            self._open_turn(number)
        head = {"id": 1, "seq": self.log._seq, "mac": self.log._mac, "at": to_text(self.log.now), "frozen": 0,
                "requests": self.log.requests, "key_id": fingerprint(KEY), "bound_from": 1, "frozen_at": None,
                "frozen_by": None, "frozen_reason": None}  # fmt: skip
        self._close_accounts()
        self._put(cursors, {"name": "notifications", "seq": self.log._seq})
        self._put(audit_head, head)
        for table in list(self._held):
            self._flush(table)

    # Where rows go

    def _put(self, table: sa.Table, row: Stored) -> None:
        held = self._held.setdefault(table, [])
        held.append(row)
        if len(held) >= _BATCH:
            self._flush(table)

    def _flush(self, table: sa.Table) -> None:
        rows = self._held.pop(table, [])
        for store in self._stores if rows else ():
            store.put(table, rows)

    def _at(self) -> str:
        return _text(self.log.now)

    def _later(self, **span: float) -> None:
        self.log.now += timedelta(**span)

    # The bank

    def _open_accounts(self) -> None:
        at = self._at()
        for number in range(1, ACCOUNTS + 1):
            self._put(customers, {"customer_id": f"C-{10_000 + number}", "name": f"Customer {number}", "email": None,
                                  "phone": None, "status": "active", "opened_at": at})  # fmt: skip
            self._book(HOUSE, _account(number), 100_000_000_00, at, None, None)

    def _close_accounts(self) -> None:
        """Write the accounts as all that moved leaves them, the house's among them."""
        opened = to_text(self._now - _SPAN)
        for number, (account, (balance, last)) in enumerate(self._moved.items()):
            is_house = account == HOUSE
            owner = None if is_house else f"C-{10_000 + number}"
            self._put(accounts, {"account_id": account, "customer_id": owner,
                                 "kind": "house" if is_house else "checking", "status": "open",
                                 "balance_minor": balance, "last_number": last, "opened_at": opened})  # fmt: skip

    def _book(self, source: str, target: str, minor: int, at: str, request: Request | None, iban: str | None) -> Any:
        """Book a transfer, and give what is left behind of it."""
        self._transfers += 1
        row = {"transfer_id": f"T-{self._transfers}", "number": self._transfers, "from_account": source,
               "to_account": target, "amount_minor": minor, "memo": None, "made_at": at,
               "request_id": request and request.request_id, "requested_by": request and request.requested_by,
               "reverses": None}  # fmt: skip
        self._put(transfers, row)
        for account, moved in ((source, -minor), (target, minor)):
            self._put(entries, {"transfer_id": row["transfer_id"], "account_id": account, "amount_minor": moved})
            of_account = self._moved.setdefault(account, [0, 0])
            of_account[0] += moved
            of_account[1] = self._transfers
        if iban:
            self._put(payments, {"transfer_id": row["transfer_id"], "to_iban": iban})
        of_trace = ("transfer_id", "from_account", "to_account", "amount_minor", "made_at", "requested_by", "reverses")
        trace = {name: row[name] for name in of_trace}
        return [
            {**trace, "entries": sorted([[source, -minor], [target, minor]]), **({"to_iban": iban} if iban else {})}
        ]

    # Turns

    def _turn(self, thread_id: str, number: int, calls: list[tuple[str, dict[str, Any]]]) -> tuple[Stored, Stored]:
        """Let somebody ask, and the model call."""
        turn_id = key("turn", thread_id, str(number))
        person = f"person{self._random.randrange(PEOPLE):03}"
        turn: Stored = {"turn_id": turn_id, "thread_id": thread_id, "number": number, "run_id": _uuid("run", turn_id),
                "requested_by": person, "requester_kind": "person", "requester_roles": "[]",
                "message_id": _uuid("message", turn_id),
                "messages": json.dumps([{"id": _uuid("message", turn_id), "content": "Pay what is due, please."}]),
                "is_durable": 1, "state": "open", "opened_at": self._at(), "closed_at": None,
                "salt": key("salt", turn_id), "place": "", "checkpoint_id": None, "graph_id": "clearance"}  # fmt: skip
        self.log.append("turn_opened", person, thread_id=thread_id, turn_id=turn_id, number=number)
        self.log.write(turns, turn, salt=turn["salt"])
        self.log.flush()
        # So short that all that is open fits into `_RECENT`: else the log is ahead of the clock, and stops effects.
        self._later(milliseconds=300)
        return turn, self._said(turn, 0, "", calls)

    def _said(self, turn: Stored, position: int, text: str, calls: list[tuple[str, dict[str, Any]]]) -> Stored:
        plan_id = key("plan", turn["turn_id"], str(position))
        message = {"content": text, "id": f"said-{plan_id}", "tool_calls": [
            {"name": name, "args": args, "id": f"call-{at}", "type": "tool_call"}
            for at, (name, args) in enumerate(calls)]}  # fmt: skip
        plan = {"plan_id": plan_id, "turn_id": turn["turn_id"], "position": position, "thread_id": turn["thread_id"],
                "message_id": message["id"], "message": json.dumps(message), "digest": said_digest(message),
                "opened": 1, "stored_at": self._at()}  # fmt: skip
        self.log.append("model_said", "system", thread_id=turn["thread_id"], turn_id=turn["turn_id"], position=position)
        self.log.write(plans, plan, salt=turn["salt"])
        self._put(plans, plan)
        return plan

    def _request(self, turn: Stored, plan: Stored, position: int, call: "_Call", expires: timedelta) -> Request:
        self.log.requests += 1
        request_id = key("request", plan["plan_id"], str(position), size=24)
        is_asked = call.verdict == "ask"
        treasurer = call.minor > 25_000_00
        return Request(
            request_id=request_id, number=self.log.requests, plan_id=plan["plan_id"], turn_id=turn["turn_id"],
            thread_id=turn["thread_id"], tool_call_id=f"call-{position}", position=position,
            requested_by=turn["requested_by"], action=call.action, arguments=call.arguments,
            digest=digest(call.action, call.arguments), salt=key("salt", request_id), facts=call.facts,
            sentence=call.sentence, verdict=call.verdict, rule=call.rule,
            risk="low" if not is_asked else "critical" if treasurer or call.action == "delete_user" else "high",
            approvers=[("treasurer" if treasurer else "approver")] if is_asked else None,
            approvals=(2 if treasurer else 1) if is_asked else 0, state="asked" if is_asked else "allowed", revision=1,
            notice=None, opened_at=self.log.now, expires_at=self.log.now + expires, asked_ms=None, refused_answers=0,
            needs=("treasurer" if treasurer else "approver") if is_asked else "",
            business_key=f"payment:{request_id}" if call.action == "send_payment" else None,
        )  # fmt: skip

    def _opened(self, request: Request) -> Stored:
        """Store a request, and tell of it."""
        row = _stored(request)
        note(self.log, "requested", request, request.requested_by, action=request.action,
             arguments=salted(request, request.arguments), verdict=request.verdict, rule=request.rule,
             **asked(request))  # fmt: skip
        self.log.write(requests, row, request, request.salt)
        for subject in _subjects(request):
            self._put(request_subjects, {"request_id": request.request_id, "subject": subject})
        return row

    def _put_question(self, request: Request, row: Stored) -> None:
        row["asked_ms"] = int(self.log.now.timestamp() * 1000)
        question = {"thread_id": request.thread_id, "interrupt_id": key("interrupt", request.request_id),
                    "request_id": request.request_id, "revision": 1,
                    "checkpoint_id": _uuid("checkpoint", request.request_id), "asked_ms": row["asked_ms"]}  # fmt: skip
        note(self.log, "question_put", request, "system", revision=1, asked_ms=row["asked_ms"])
        self.log.write(questions, question, request)
        self.log.write(requests, row, request, request.salt)
        self._put(questions, question)
        self.log.flush()

    def _decide(self, request: Request, row: Stored, word: str, number: int = 1) -> str:
        person = f"reviewer{self._random.randrange(REVIEWERS // 2) * 2 + number % 2:02}"
        decision = {"decision_id": key("decision", request.request_id, str(number)), "number": number,
                    "request_id": request.request_id, "revision": 1, "digest": request.digest, "decision": word,
                    "decided_by": person, "decider_kind": "person",
                    "decider_roles": json.dumps(["approver", "treasurer"]), "reason": None, "edited": None,
                    "counts": int(word == "approve"), "lapsed": None, "decided_at": self._at()}  # fmt: skip
        self.log.write(decisions, decision, request, request.salt)
        self._put(decisions, decision)
        if word == "approve":
            note(self.log, "approved", request, person, digest=salted(request, request.digest), revision=1)
            row["state"] = "approved" if number >= request.approvals else "asked"
            self.log.write(requests, row, request, request.salt)
            self.log.flush()
        return person

    def _finish(self, request: Request, row: Stored, outcome: str, sentence: str, actor: str, **details: Any) -> None:
        row |= {"state": outcome, "finished_at": self._at()}
        receipt = {"request_id": request.request_id, "outcome": outcome, "revision": 1, "sentence": sentence,
                   "finished_at": self._at()}  # fmt: skip
        note(self.log, outcome, request, actor, receipt=salted(request, sentence),
             digest=salted(request, request.digest), revision=1, **details)  # fmt: skip
        self.log.write(receipts, receipt, request, request.salt)
        self.log.write(requests, row, request, request.salt)
        self._put(receipts, receipt)
        self._put(requests, row)
        self.log.flush()

    def _perform(self, request: Request, row: Stored, call: "_Call") -> None:
        done = {"arguments": salted(request, request.arguments), "subjects": _subjects(request)}
        if call.iban is None:
            left = self._book(call.source, call.target, call.minor, self._at(), request, None)
            self._finish(request, row, "executed", f"Transferred {usd(call.minor)}.", "system",
                         traces=left_behind.digest(left), **done)  # fmt: skip
            return
        attempt = {"attempt_id": key("attempt", request.request_id, "1"), "request_id": request.request_id,
                   "number": 1, "revision": 1, "idempotency_key": key("idempotency", request.request_id),
                   "cleared_as": "approved", "state": "executing", "holder": "a process", "started_at": self._at(),
                   "late_at": to_text(self.log.now + timedelta(seconds=15)),
                   "absent_at": to_text(self.log.now + timedelta(seconds=70)), "cause": None, "looks": 0,
                   "last_look": None, "next_look_at": None, "ended_at": None, "settled_by": None, "reason": None,
                   "told_at": None}  # fmt: skip
        row["state"] = "executing"
        note(self.log, "started", request, "system", attempt=1, digest=salted(request, request.digest), revision=1,
             key=attempt["idempotency_key"])  # fmt: skip
        self.log.write(attempts, attempt, request, request.salt)
        self.log.write(requests, row, request, request.salt)
        self.log.flush()
        self._later(milliseconds=300)
        attempt |= {"state": "executed", "ended_at": self._at()}
        self.log.write(attempts, attempt, request, request.salt)
        self._put(attempts, attempt)
        left = self._book(call.source, HOUSE, call.minor, self._at(), request, call.iban)
        self._finish(request, row, "executed", f"Paid {usd(call.minor)}.", "system", attempt=1, via="performed",
                     traces=left_behind.digest(left), **done)  # fmt: skip

    def _decided_turn(self, number: int) -> None:
        """Write a turn that is over: mostly done, some rejected, some that nobody decided in time."""
        kind = "rejected" if number % 10 == 3 else "expired" if number % 20 == 7 else "executed"
        calls = [self._call(number * ACTIONS + at, is_small=at == 2, is_payment=at == 3) for at in range(ACTIONS)]
        if kind != "executed":
            calls = [self._call(number * ACTIONS + at) for at in range(ACTIONS)]
        thread_id = _uuid("thread", str(number // TURNS))
        turn, plan = self._turn(thread_id, number % TURNS + 1, [(call.action, call.arguments) for call in calls])
        made = [self._request(turn, plan, at, call, timedelta(hours=24)) for at, call in enumerate(calls)]
        rows = [self._opened(request) for request in made]
        self.log.flush()
        for request, row in zip(made, rows, strict=True):
            if request.verdict == "ask":
                self._later(milliseconds=200)
                self._put_question(request, row)
            if request.verdict == "ask" and kind != "expired":
                self._later(seconds=2)
                if kind == "rejected":
                    person = self._decide(request, row, "reject")
                    self._finish(request, row, "rejected", f"Not done: {person} rejected it.", person)
                else:
                    self._decide(request, row, "approve")
        for request, row, call in zip(made, rows, calls, strict=True):
            if kind == "expired":
                self._later(milliseconds=1)
                self._finish(request, row, "expired", "Not done: it was not cleared in time.", "system")
            elif kind == "executed":
                self._later(milliseconds=40)
                self._perform(request, row, call)
        self._later(milliseconds=700)
        self._said(turn, 1, "Done.", [])
        turn |= {"state": "answered", "closed_at": self._at()}
        self.log.append("turn_ended", "system", thread_id=thread_id, turn_id=turn["turn_id"], state="answered")
        self.log.write(turns, turn, salt=turn["salt"])
        self.log.flush()
        self._put(turns, turn)

    def _open_turn(self, number: int) -> None:
        """Write a turn that waits for a person; some for the second of two."""
        call = self._call(number, is_payment=number % 5 == 1, is_large=number % 8 == 2, is_deletion=number % 11 == 4)
        turn, plan = self._turn(_uuid("open", str(number)), 1, [(call.action, call.arguments)])
        request = self._request(turn, plan, 0, call, timedelta(hours=24 + self._random.randrange(200)))
        row = self._opened(request)
        self.log.flush()
        self._later(milliseconds=50)
        self._put_question(request, row)
        if request.approvals == 2 and number % 16 == 2:
            self._decide(request, row, "approve")
        self._put(requests, row)
        self._put(turns, turn)
        at = to_text(request.expires_at - REMIND_BEFORE)
        expires_at = to_text(request.expires_at)
        self._put(notifications, {"notification_id": key(REMINDER, request.request_id, expires_at), "event": REMINDER,
                                  "request_id": request.request_id, "details": json.dumps({"expires_at": expires_at}),
                                  "created_at": at, "next_at": at, "attempts": 0, "delivered_at": None,
                                  "last_error": None})  # fmt: skip

    def _call(self, number: int, *, is_small: bool = False, is_large: bool = False, is_payment: bool = False,
              is_deletion: bool = False) -> "_Call":  # fmt: skip
        source = 1 + self._random.randrange(ACCOUNTS)
        target = 1 + (source + self._random.randrange(ACCOUNTS - 1)) % ACCOUNTS
        minor = 500_00 if is_small else 30_000_00 + number % 900_000 if is_large else 1_000_01 + number % 900_000
        return _Call(source, target, minor, is_small, is_payment, is_deletion)


class _Call:
    """What the model calls, and what is known of it."""

    def __init__(self, source: int, target: int, minor: int, is_small: bool, is_payment: bool, is_deletion: bool):
        self.source, self.target, self.minor = _account(source), _account(target), minor
        self.iban = _iban(source, target) if is_payment else None
        self.verdict = "allow" if is_small else "ask"
        payer, receiver = f"C-{10_000 + source}", f"C-{10_000 + target}"
        amount = to_decimal_text(minor)
        facts = {"from_owner": f"Customer {source}", "from_customer": payer, "from_status": "open"}
        balances = {"from_balance": 100_000_000_00, "from_balance_after": 100_000_000_00 - minor}
        if is_deletion:
            self.action, self.minor = "delete_user", 0
            self.arguments: dict[str, Any] = {"user_id": payer, "reason": "moved away"}
            self.facts: dict[str, Any] = {"name": f"Customer {source}", "since": "2020-01-01", "accounts": self.source}
            self.facts |= {"account_count": 1, "ledger_entries": 2, "memos": 0, "waiting": 0}
            self.sentence, self.rule = f"Delete {payer} (Customer {source})", "deletion of a person (policy.toml:90)"
        elif self.iban:
            self.action = "send_payment"
            self.arguments = {"from_account": self.source, "to_iban": self.iban, "amount": amount, "memo": "rent"}
            self.facts = {**facts, **balances, "on_its_way": 0, "is_new_payee": False, "sent_24h": 0, "moving": minor,
                          "requester_sent_24h": 0, "to_owner": "Somebody", "to_bank": "A bank"}  # fmt: skip
            self.sentence, self.rule = f"Pay {usd(minor)} from {self.source}", "payment (policy.toml:70)"
        else:
            self.action = "transfer_funds"
            self.arguments = {"from_account": self.source, "to_account": self.target, "amount": amount, "memo": "rent"}
            self.facts = {**facts, "to_owner": f"Customer {target}", "to_customer": receiver, "to_status": "open",
                          **balances, "to_balance": 0, "to_balance_after": minor, "moving": minor,
                          "is_new_payee": False, "sent_24h": 0, "requester_sent_24h": 0, "waiting": 0}  # fmt: skip
            self.sentence = f"Transfer {usd(minor)} from {self.source} to {self.target}"
            self.rule = "small transfer (policy.toml:20)" if is_small else "transfer (policy.toml:45)"


def _subjects(request: Request) -> list[str]:
    facts, arguments = request.facts or {}, request.arguments or {}
    found = {facts.get("from_customer"), facts.get("to_customer"), arguments.get("user_id")} - {None}
    return sorted(f"customer:{one}" for one in found)


def _iban(source: int, target: int) -> str:
    account = f"37040044{source:05}{target:05}"
    return f"DE{98 - int(f'{account}131400') % 97:02}{account}"  # D is 13, E is 14


def _account(number: int) -> str:
    return f"A-{100_000 + number}"


def _uuid(*parts: str) -> str:
    made = key(*parts)
    return f"{made[:8]}-{made[8:12]}-{made[12:16]}-{made[16:20]}-{made[20:]}"


def _stored(request: Request) -> Stored:
    row = dict(vars(request))
    row.pop("version")
    for name in ("arguments", "facts", "approvers"):
        row[name] = None if row[name] is None else json.dumps(row[name])
    for name in ("opened_at", "expires_at"):
        row[name] = _text(row[name])
    return row


def fill(urls: Sequence[str], *, open_requests: int, decided: int) -> tuple[int, float]:
    """Fill empty, migrated databases alike; give rows of the log and seconds."""
    start = time.monotonic()
    stores = [store_of(url) for url in urls]
    filling = Filling(stores, datetime.now(UTC))
    # Nothing that is digested here is a float, or named in other letters than ours.
    vars(canonical)["_is_plain"] = lambda _: True
    gc.disable()  # nothing here goes in circles
    filling.fill(open_requests=open_requests, decided=decided)
    gc.enable()
    for store in stores:
        store.close()
    return filling.log._seq, time.monotonic() - start
