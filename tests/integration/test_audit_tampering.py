"""Whatever is done to the log without the key is found, and the first bad row is named."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clearance.db.engine import Database
from clearance.db.tables import audit as log_rows
from clearance.db.tables import audit_head
from clearance.journal import audit, verification
from clearance.journal.audit import Head
from clearance.journal.signing import signer
from clearance.journal.verification import Verification, verify
from tests.support.tampering import disarm

KEY = b"a key for tests, not a secret at all"
COLUMNS = [column.name for column in log_rows.columns]
NULLABLE = {"thread_id", "turn_id", "request_id"}
Row = dict[str, Any]


@pytest.fixture
def log(database: Database) -> list[Row]:
    """Write a small log whose rows differ in what they leave out, and give it; nothing protects it any more."""

    def write(connection: sa.Connection) -> None:
        with audit.locked(connection, KEY, lambda: datetime(2026, 1, 1, tzinfo=UTC)) as log:
            log.append("noted", "olga", thread_id="t", turn_id="u", request_id="r", n=1, words="so and «so» \U0001f600")
            log.append("noted", "olga", thread_id="t", turn_id="u")
            log.append("noted", "ana", thread_id="t", n=1)
            log.append("noted", "ana", thread_id="t", n=1)
            log.append("ended", "ops")

    database.write_now(write)
    disarm(database)
    return database.read_now(lambda c: list(audit.rows(c)))


@pytest.mark.parametrize("at_once", [2, 100])
def test_any_one_change_is_found_at_its_row(
    database: Database, log: list[Row], monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(verification, "_AT_ONCE", at_once)
    tried = 0
    for changed in _changed(log, database):
        found = _verify(database, changed)
        assert (found.is_whole, found.broken_at) == (False, _first_bad(log, changed)), changed
        tried += 1
    assert tried > 150


def _changed(log: list[Row], database: Database) -> Iterator[list[Row]]:
    """Give every log with one change: of a column, a removal, an insertion, a swap, a copy, a cut."""
    for at, row in enumerate(log):
        for column in COLUMNS[1:]:
            others = {"", f"{row[column]} ", "x", "null", "ё", *(str(row[name]) for name in COLUMNS if name != column)}
            values: list[Any] = sorted(others - {row[column]})
            if column in NULLABLE and row[column] is not None:
                values.append(None)
            if database.is_sqlite:
                values += [sa.text("x'ff00'"), sa.text("CAST(x'ff' AS TEXT)"), str(row[column]).encode()]
            for value in values:
                yield [*log[:at], {**row, column: value}, *log[at + 1 :]]
        for number in (-(2**40), -1, 0, len(log) + 1, len(log) + 7, 2**40):
            yield [*log[:at], *log[at + 1 :], {**row, "seq": number}]
        yield _numbered([*log[:at], *log[at + 1 :]])  # removed, and the gap closed
        for until in range(at + 1, len(log) + 1):
            yield [*log[:at], *log[until:]]  # removed; at the end this is a cut tail
        for other in range(at + 1, len(log)):
            swapped = [*log]
            swapped[at], swapped[other] = swapped[other], swapped[at]
            yield _numbered(swapped)
        for forged in (*log, {**row, "mac": "0" * 64}, {**row, "mac": ""}, {**row, "event": "executed"}):
            for place in range(len(log) + 1):
                yield _numbered([*log[:place], forged, *log[place:]])


@given(data=st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_mixture_of_changes_is_found_at_the_first_of_them(
    database: Database, log: list[Row], data: st.DataObject
) -> None:
    changed = [*log]
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(changed) - 1)))
        match data.draw(st.sampled_from(["change", "remove", "insert", "move", "renumber"])):
            case "change" if changed:
                column = data.draw(st.sampled_from(COLUMNS[1:]))
                changed[at] = {**changed[at], column: data.draw(TEXTS)}
            case "remove" if changed:
                del changed[at]
            case "insert":
                changed.insert(at, {**data.draw(st.sampled_from(log)), "seq": 1000 + len(changed) + at})
            case "move" if changed:
                changed.insert(data.draw(st.integers(0, len(changed) - 1)), changed.pop(at))
            case "renumber":
                changed = _numbered(changed)
    if len({row["seq"] for row in changed}) < len(changed):
        changed = _numbered(changed)

    found = _verify(database, changed)

    assert found.broken_at == _first_bad(log, changed)
    assert found.is_whole == (found.broken_at is None)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)


def test_a_tail_cut_with_its_head_shows_against_each_head_that_was_noted_behind_the_cut(
    database: Database, log: list[Row]
) -> None:
    for left in range(len(log)):
        last = log[left - 1] if left else {"seq": 0, "mac": "", "at": "1970-01-01T00:00:00.000000Z"}
        head = {name: last[name] for name in ("seq", "mac", "at")}
        for row in log:
            found = _verify(database, log[:left], head, Head(row["seq"], row["mac"]))
            assert found.broken_at == (left + 1 if row["seq"] > left else None)
            assert found.is_whole == (row["seq"] <= left)
        assert _verify(database, log[:left], head).is_whole, "nobody can see that without a noted head"


@pytest.mark.parametrize(
    "head",
    [
        *({"seq": 4}, {"seq": 6}, {"seq": 0, "mac": ""}, {"mac": ""}, {"mac": "0" * 64}, {"requests": 1}),
        *({"at": "2026-01-02T00:00:00.000000Z"}, {"frozen": True, "frozen_by": "ops"}),
    ],
    ids=json.dumps,
)
def test_a_head_changed_by_hand_is_found(database: Database, log: list[Row], head: Row) -> None:
    found = _verify(database, log, head)

    assert not found.is_whole
    assert found.rows == 5


def test_a_noted_head_that_never_was_is_found(database: Database, log: list[Row]) -> None:
    for row in log:
        found = _verify(database, log, noted=Head(row["seq"], "0" * 64))
        assert found.broken_at == row["seq"]


def test_a_number_that_is_left_out_is_told_even_where_all_is_signed(database: Database, log: list[Row]) -> None:
    changed, before = [], ""
    for row, number in zip(log, (1, 2, 4, 5, 6), strict=True):
        of = {**row, "seq": number}
        before = signer(KEY)(tuple(of[name] for name in COLUMNS[:-1]), before)
        changed.append({**of, "mac": before})

    found = _verify(database, changed, {"seq": 6, "mac": before})

    assert (found.broken_at, found.reason) == (3, "row 3 is missing")


def test_what_is_not_text_is_no_way_to_pass_unsigned(database: Database, log: list[Row]) -> None:
    """A row that cannot be signed must not match a mac that says nothing."""
    if database.is_sqlite:
        for mac in ("", "None", "null"):
            forged = {**log[2], "details": sa.text("x'7b7d'"), "mac": mac}
            assert _verify(database, [*log[:2], forged, *log[3:]]).broken_at == 3


def _numbered(rows: list[Row]) -> list[Row]:
    return [{**row, "seq": number} for number, row in enumerate(rows, 1)]


def _first_bad(log: list[Row], changed: list[Row]) -> int | None:
    """Give the number of the first row that is not as it was: what `verify` should say, found by comparing."""
    ordered = sorted(changed, key=lambda row: row["seq"])
    for number, row in enumerate(ordered, 1):
        if row["seq"] < 1:
            return int(row["seq"])
        if number > len(log) or row != log[number - 1]:
            return number
    return None if len(ordered) == len(log) else len(ordered) + 1


def _verify(database: Database, rows: list[Row], head: Row | None = None, noted: Head | None = None) -> Verification:
    """Verify as if the log were `rows` and its head changed by `head`, and put everything back."""
    found: list[Verification] = []

    def work(connection: sa.Connection) -> None:
        savepoint = connection.begin_nested()
        connection.execute(sa.delete(log_rows))
        for row in rows:
            connection.execute(sa.insert(log_rows).values(**row))
        if head:
            connection.execute(sa.update(audit_head).values(**head))
        found.append(verify(connection, KEY, noted))
        savepoint.rollback()

    database.write_now(work)
    return found[0]
