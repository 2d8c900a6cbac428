"""The seeded bank is the same every time, whole, and holds what was planted; the detectors find it."""

import hashlib
import time
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.bank.detectors import Finding, detectors
from agent.bank.ledger import HOUSE, check_ledger, find_account, read_ledger
from agent.bank.seed import SIZES, BankNotEmpty, Planted, seed
from agent.bank.tables import accounts, customers, transfers
from clearance.db.engine import Database

#: What the demo tells: the same in both sizes.
DEMO_BALANCES = {"A-2001": 84_550_00, "A-2002": 12_750_00, "A-2003": 3_620_00, "A-2004": 5_000_00, "A-2005": 0}
#: Of the transfers of the full bank: number, accounts, amount, memo, time. It changes only on purpose.
FINGERPRINT = "985ada3f3bdb"


def fingerprint(connection: Connection) -> str:
    rows = connection.execute(sa.select(transfers).order_by(transfers.c.number))
    text = "\n".join(
        f"{r.transfer_id} {r.from_account} {r.to_account} {r.amount_minor} {r.memo} {r.made_at}" for r in rows
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def detect(database: Database) -> list[Finding]:
    found, after = detectors(), 0
    while page := database.read_now(partial(read_ledger, after=after, until=10**6, limit=5_000)):
        for detector in found:
            for transfer in page:
                detector.feed(transfer)
        after = page[-1].number
    return [finding for detector in found for finding in detector.findings().kept]


def report(planted: Sequence[Planted], findings: Sequence[Finding]) -> dict[str, tuple[int, int, int, int]]:
    """Count for each kind: planted, found of these, findings of something else that was planted, false findings."""
    odd = {transfer_id for oddity in planted for transfer_id in oddity.transfer_ids}
    counts = {}
    for kind in ("outlier", "burst", "under_threshold", "round_trip"):
        mine = [set(finding.transfer_ids) for finding in findings if finding.kind == kind]
        wanted = [set(oddity.transfer_ids) for oddity in planted if oddity.kind == kind]
        other = [ids for ids in mine if ids & odd and not any(ids & oddity for oddity in wanted)]
        counts[kind] = (
            len(wanted),
            sum(any(oddity <= ids for ids in mine) for oddity in wanted),
            len(other),
            sum(not ids & odd for ids in mine),
        )
    return counts


@pytest.mark.parametrize("size", ["small", "full"])
def test_a_seeded_bank_is_whole_and_every_planted_oddity_is_found(
    database: Database, size: str, record_property: Callable[[str, object], None]
) -> None:
    began = time.monotonic()
    planted = database.write_now(lambda c: seed(c, size), is_long=True)  # type: ignore[arg-type]  # a parameter is a plain str
    took_s = time.monotonic() - began

    counts = report(planted, detect(database))

    on = "SQLite" if database.is_sqlite else "PostgreSQL"
    record_property("measured", f"{size} seed on {on}: {took_s:.1f} s")
    for kind, (wanted, found, other, false) in counts.items():
        told = f"  {kind:16}planted {wanted}, found {found}, other planted {other}, false {false}"
        record_property("measured", told)
    for wanted, found, _, false in counts.values():
        assert wanted == found == SIZES[size].planted
        assert false <= SIZES[size].lookalikes / 2
    assert database.read_now(check_ledger) == []
    assert {a: balance_of(database, a) for a in DEMO_BALANCES} == DEMO_BALANCES
    for table, count in ((customers, SIZES[size].customers), (accounts, SIZES[size].accounts + 1)):
        assert database.read_now(lambda c: c.scalar(sa.select(sa.func.count()).select_from(table))) == count  # noqa: B023  runs at once
    newest = sa.select(sa.func.count(), sa.func.max(transfers.c.number), sa.func.max(transfers.c.made_at))
    number_of, number, made_at = database.read_now(lambda c: c.execute(newest).one())
    assert number_of == number == SIZES[size].transfers
    assert f"{made_at:%Y-%m}" == "2026-10"
    if size == "full":
        assert database.read_now(fingerprint) == FINGERPRINT


def test_the_demo_customers_are_as_the_demo_tells(database: Database) -> None:
    database.write_now(lambda c: seed(c, "small"))

    for account_id, owner in (("A-2001", "Priya Natarajan"), ("A-2003", "Tom Becker"), ("A-2005", "Ada Quist")):
        account = database.read_now(lambda c: find_account(c, account_id))  # noqa: B023  runs at once
        assert account is not None
        assert account.owner is not None
        assert account.owner.name == owner


def test_a_bank_in_use_is_not_seeded(database: Database) -> None:
    database.write_now(lambda c: seed(c, "small"))

    with pytest.raises(BankNotEmpty, match="has customers already"):
        database.write_now(lambda c: seed(c, "small"))

    assert database.read_now(lambda c: c.scalar(sa.select(sa.func.max(transfers.c.number)))) == 300


def test_all_money_comes_from_the_house(database: Database) -> None:
    database.write_now(lambda c: seed(c, "small"))

    total = database.read_now(lambda c: c.scalar(sa.select(sa.func.sum(accounts.c.balance_minor))))

    assert total == 0
    assert (balance_of(database, HOUSE) or 0) < 0


def balance_of(database: Database, account_id: str) -> int | None:
    return database.read_now(
        lambda c: c.scalar(sa.select(accounts.c.balance_minor).where(accounts.c.account_id == account_id))
    )
