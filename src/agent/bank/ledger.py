"""The ledger: accounts, and transfers between them. Entries and balances are written by the schema's triggers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.bank.customers import Customer
from agent.bank.money import usd
from agent.bank.tables import HOUSE as HOUSE
from agent.bank.tables import accounts, customers, entries, payments, transfers
from clearance.db.among import among
from clearance.db.types import to_text

#: Sentences of each kind that `check_ledger` gives at most.
_COMPLAINTS = 20


@dataclass(frozen=True)
class Account:
    """A row of `accounts` with its owner; the house account has none."""

    account_id: str
    kind: str
    status: str
    balance_minor: int
    opened_at: datetime
    owner: Customer | None

    @property
    def is_open(self) -> bool:
        return self.status == "open"

    @property
    def owner_title(self) -> str:
        """Owner for people: `Priya Natarajan (C-1001)`."""
        return self.owner.title if self.owner else "the bank itself"


@dataclass(frozen=True)
class Transfer:
    """A row of `transfers`; `memo` is None when there is none or it was erased."""

    transfer_id: str
    number: int
    from_account: str
    to_account: str
    amount_minor: int
    memo: str | None
    made_at: datetime
    request_id: str | None
    requested_by: str | None
    reverses: str | None


def open_account(connection: Connection, account_id: str, customer_id: str, kind: str, *, at: datetime) -> None:
    """Add an empty account of `kind` checking or savings."""
    connection.execute(
        accounts.insert().values(account_id=account_id, customer_id=customer_id, kind=kind, opened_at=at)
    )


def find_account(connection: Connection, account_id: str, *, lock: bool = False) -> Account | None:
    """Give the account with this id and its owner, or None. `lock` holds its balance until the transaction ends."""
    if lock:
        connection.execute(sa.select(accounts.c.account_id).where(_is(account_id)).with_for_update())
    found = _accounts(connection, _is(account_id))
    return found[0] if found else None


def accounts_of(connection: Connection, customer_id: str, *, lock: bool = False) -> Sequence[Account]:
    """List a customer's accounts by id. `lock` holds their balances until the transaction ends."""
    owned = accounts.c.customer_id == customer_id
    if lock:
        connection.execute(sa.select(accounts).where(owned).order_by(accounts.c.account_id).with_for_update())
    return _accounts(connection, owned)


def make_transfer(
    connection: Connection,
    *,
    from_account: str,
    to_account: str,
    amount_minor: int,
    made_at: datetime,
    memo: str | None = None,
    request_id: str | None = None,
    requested_by: str | None = None,
    reverses: str | None = None,
) -> str:
    """Move money and return the transfer's id. Its entries and both balances change with it.

    The number is the next one: two writers at once need a lock around this, which the gate holds; without it the
    later one fails on the unique number, and nothing moves.

    Raises:
        sqlalchemy.exc.IntegrityError: the schema refused: overdraft, closed account, second reversal, used request.
    """
    number = connection.execute(sa.select(sa.func.coalesce(sa.func.max(transfers.c.number), 0) + 1)).scalar_one()
    transfer_id = f"T-{number}"
    connection.execute(
        transfers.insert().values(
            transfer_id=transfer_id,
            number=number,
            from_account=from_account,
            to_account=to_account,
            amount_minor=amount_minor,
            memo=memo,
            made_at=made_at,
            request_id=request_id,
            requested_by=requested_by,
            reverses=reverses,
        )
    )
    return transfer_id


def make_payment(
    connection: Connection,
    *,
    from_account: str,
    to_iban: str,
    amount_minor: int,
    made_at: datetime,
    memo: str | None,
    request_id: str,
    requested_by: str,
) -> str:
    """Book a payment to another bank, which happened, and return its transfer's id: money leaves by the house.

    Raises:
        sqlalchemy.exc.IntegrityError: see `make_transfer`.
    """
    transfer_id = make_transfer(
        connection,
        from_account=from_account,
        to_account=HOUSE,
        amount_minor=amount_minor,
        made_at=made_at,
        memo=memo,
        request_id=request_id,
        requested_by=requested_by,
    )
    connection.execute(payments.insert().values(transfer_id=transfer_id, to_iban=to_iban))
    return transfer_id


def find_transfer(connection: Connection, transfer_id: str) -> Transfer | None:
    """Give the transfer with this id, or None."""
    return _transfer(connection, transfers.c.transfer_id == transfer_id)


def find_reversal(connection: Connection, transfer_id: str) -> Transfer | None:
    """Give the transfer that reversed this one, or None."""
    return _transfer(connection, transfers.c.reverses == transfer_id)


#: Made once, and the ids one value: the whole log is verified by them, some hundred at a time.
_MADE = (
    sa.select(
        *(transfers.c[name] for name in ("transfer_id", "from_account", "to_account", "amount_minor", "made_at")),
        *(transfers.c[name] for name in ("requested_by", "reverses", "request_id")),
    )
    .where(among(transfers.c.request_id))
    .order_by(transfers.c.number)
)
_PAID = sa.select(payments.c.transfer_id, payments.c.to_iban).where(among(payments.c.transfer_id))
_BOOKED = (
    sa.select(entries.c.transfer_id, entries.c.account_id, entries.c.amount_minor)
    .where(among(entries.c.transfer_id))
    .order_by(entries.c.account_id)
)


def traces_of(connection: Connection, request_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Read the transfers that requests made, with their entries, by request; without what erasure takes."""
    traces: dict[str, dict[str, Any]] = {}
    found: dict[str, list[dict[str, Any]]] = {}
    for row in connection.execute(_MADE, {"ids": request_ids}).all():
        transfer_id, from_account, to_account, amount_minor, made_at, requested_by, reverses, request_id = row
        trace = traces[transfer_id] = {
            "transfer_id": transfer_id,
            "from_account": from_account,
            "to_account": to_account,
            "amount_minor": amount_minor,
            "made_at": to_text(made_at),
            "requested_by": requested_by,
            "reverses": reverses,
            "entries": [],
        }
        found.setdefault(request_id, []).append(trace)
    given = {"ids": list(traces)}
    for transfer_id, to_iban in connection.execute(_PAID, given).all():
        traces[transfer_id]["to_iban"] = to_iban
    for transfer_id, account_id, amount_minor in connection.execute(_BOOKED, given).all():
        traces[transfer_id]["entries"].append([account_id, amount_minor])
    return found


def has_paid(connection: Connection, from_account: str, to_account: str) -> bool:
    """Tell whether money ever went from one account to the other."""
    query = sa.select(sa.exists().where(transfers.c.from_account == from_account, transfers.c.to_account == to_account))
    return bool(connection.execute(query).scalar())


def has_paid_out(connection: Connection, from_account: str, to_iban: str) -> bool:
    """Tell whether money ever went from an account to one at another bank."""
    found = sa.select(payments.c.transfer_id).join(transfers, transfers.c.transfer_id == payments.c.transfer_id)
    there = found.where(payments.c.to_iban == to_iban, transfers.c.from_account == from_account).exists()
    return bool(connection.execute(sa.select(there)).scalar())


def paid_to(connection: Connection, transfer_ids: Sequence[str]) -> dict[str, str]:
    """Give the IBANs of those transfers that left for another bank, by transfer."""
    rows = connection.execute(sa.select(payments).where(payments.c.transfer_id.in_(transfer_ids)))
    return {row.transfer_id: row.to_iban for row in rows}


def sent_by_account(connection: Connection, account_id: str, *, until: datetime, span: timedelta) -> int:
    """Sum what left an account in the `span` before `until`, in minor units."""
    return _sum_sent(connection, transfers.c.from_account == account_id, until=until, span=span)


def sent_by_requester(connection: Connection, requested_by: str, *, until: datetime, span: timedelta) -> int:
    """Sum what was moved at a person's request in the `span` before `until`, over all accounts, in minor units."""
    return _sum_sent(connection, transfers.c.requested_by == requested_by, until=until, span=span)


def sent_by_day(connection: Connection, account_id: str, *, since: datetime, until: datetime) -> dict[date, int]:
    """Sum what left an account by day, UTC, in minor units; days without a transfer are left out."""
    query = sa.select(transfers.c.made_at, transfers.c.amount_minor).where(
        transfers.c.from_account == account_id, transfers.c.made_at > since, transfers.c.made_at <= until
    )
    sums: dict[date, int] = {}
    for made_at, amount_minor in connection.execute(query):
        sums[made_at.date()] = sums.get(made_at.date(), 0) + amount_minor
    return sums


def count_entries(connection: Connection, customer_id: str) -> int:
    """Count the ledger entries of a customer's accounts."""
    query = (
        sa.select(sa.func.count())
        .select_from(entries.join(accounts, entries.c.account_id == accounts.c.account_id))
        .where(accounts.c.customer_id == customer_id)
    )
    return connection.execute(query).scalar_one()


def count_memos(connection: Connection, customer_id: str) -> int:
    """Count the memos that a customer wrote: those of transfers from the own accounts."""
    query = (
        sa.select(sa.func.count())
        .select_from(transfers.join(accounts, transfers.c.from_account == accounts.c.account_id))
        .where(accounts.c.customer_id == customer_id, transfers.c.memo.is_not(None))
    )
    return connection.execute(query).scalar_one()


def transfers_of(
    connection: Connection, account_id: str, *, limit: int, before: int | None = None
) -> Sequence[Transfer]:
    """List an account's transfers, newest first, at most `limit`; `before` is a number, None begins at the newest."""
    # Two index walks of `limit` steps: an OR over both columns would read every transfer of a busy account.
    sides = [
        sa.select(transfers)
        .where(side == account_id, *([transfers.c.number < before] if before is not None else []))
        .order_by(transfers.c.number.desc())
        .limit(limit)
        .subquery()
        for side in (transfers.c.from_account, transfers.c.to_account)
    ]
    both = sa.union_all(*(sa.select(side) for side in sides)).subquery()
    query = sa.select(both).order_by(both.c.number.desc()).limit(limit)
    return [Transfer(**row._mapping) for row in connection.execute(query)]


def newest_transfer(connection: Connection) -> Transfer | None:
    """Give the transfer with the highest number, or None in an empty ledger."""
    return _transfer(connection, transfers.c.number == sa.select(sa.func.max(transfers.c.number)).scalar_subquery())


def first_number_since(connection: Connection, moment: datetime) -> int:
    """Give the lowest number of a transfer made at `moment` or later; 1 when there is none."""
    query = sa.select(sa.func.min(transfers.c.number)).where(transfers.c.made_at >= moment)
    return connection.execute(query).scalar() or 1


def read_ledger(connection: Connection, *, after: int, until: int, limit: int) -> Sequence[Transfer]:
    """List transfers with numbers above `after` and up to `until`, in order, at most `limit`: a page of the ledger."""
    query = (
        sa.select(transfers)
        .where(transfers.c.number > after, transfers.c.number <= until)
        .order_by(transfers.c.number)
        .limit(limit)
    )
    return [Transfer(**row._mapping) for row in connection.execute(query)]


def check_ledger(connection: Connection) -> list[str]:
    """Say in a sentence each what does not balance; an empty list means that the ledger is whole.

    The schema should make all of it impossible. This does not rely on it, and reads every row.
    """
    return [
        *_unbalanced_transfers(connection),
        *_wrong_balances(connection),
        *_overdrawn(connection),
        *_gaps(connection),
    ]


def _unbalanced_transfers(connection: Connection) -> list[str]:
    # The sum alone would miss an entry of 0 or two wrong ones that cancel out.
    sent = sa.func.coalesce(
        sa.func.sum(sa.case((entries.c.account_id == transfers.c.from_account, entries.c.amount_minor))), 0
    )
    arrived = sa.func.coalesce(
        sa.func.sum(sa.case((entries.c.account_id == transfers.c.to_account, entries.c.amount_minor))), 0
    )
    query = (
        sa.select(transfers.c.transfer_id, transfers.c.amount_minor, sent, arrived)
        .select_from(transfers.outerjoin(entries, entries.c.transfer_id == transfers.c.transfer_id))
        .group_by(transfers.c.transfer_id, transfers.c.amount_minor)
        .having(
            sa.or_(
                sa.func.count(entries.c.account_id) != 2,
                sent != -transfers.c.amount_minor,
                arrived != transfers.c.amount_minor,
            )
        )
        .limit(_COMPLAINTS)
    )
    return [
        f"{transfer_id} is of {usd(amount)}, but {usd(-int(sent))} left and {usd(int(arrived))} arrived."
        for transfer_id, amount, sent, arrived in connection.execute(query)
    ]


def _wrong_balances(connection: Connection) -> list[str]:
    total = sa.func.coalesce(sa.func.sum(entries.c.amount_minor), 0)
    query = (
        sa.select(accounts.c.account_id, accounts.c.balance_minor, total)
        .select_from(accounts.outerjoin(entries, entries.c.account_id == accounts.c.account_id))
        .group_by(accounts.c.account_id, accounts.c.balance_minor)
        .having(total != accounts.c.balance_minor)
        .limit(_COMPLAINTS)
    )
    complaints = [
        f"The balance of {account_id} is {usd(balance)}, but its entries sum to {usd(int(total))}."
        for account_id, balance, total in connection.execute(query)
    ]
    everything = int(
        connection.execute(sa.select(sa.func.coalesce(sa.func.sum(accounts.c.balance_minor), 0))).scalar_one()
    )
    return complaints + ([f"All balances sum to {usd(everything)}, not to $0.00."] if everything else [])


def _overdrawn(connection: Connection) -> list[str]:
    query = (
        sa.select(accounts.c.account_id, accounts.c.status, accounts.c.balance_minor)
        .where(
            accounts.c.kind != "house",
            sa.or_(
                accounts.c.balance_minor < 0,
                sa.and_(accounts.c.status == "closed", accounts.c.balance_minor != 0),
            ),
        )
        .limit(_COMPLAINTS)
    )
    return [
        f"{account_id} is {status} and has {usd(balance)}." for account_id, status, balance in connection.execute(query)
    ]


def _gaps(connection: Connection) -> list[str]:
    count, last = connection.execute(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.max(transfers.c.number), 0))
    ).one()
    return [f"The newest transfer has number {last}, but there are {count}."] if count != last else []


def _is(account_id: str) -> sa.ColumnElement[bool]:
    return accounts.c.account_id == account_id


def _accounts(connection: Connection, condition: sa.ColumnElement[bool]) -> list[Account]:
    query = (
        sa.select(
            accounts.c.account_id,
            accounts.c.kind,
            accounts.c.status,
            accounts.c.balance_minor,
            accounts.c.opened_at,
            customers.c.customer_id,
            customers.c.name,
            customers.c.email,
            customers.c.phone,
            customers.c.status,
            customers.c.opened_at,
        )
        .select_from(accounts.outerjoin(customers, customers.c.customer_id == accounts.c.customer_id))
        .where(condition)
        .order_by(sa.func.length(accounts.c.account_id), accounts.c.account_id)
    )
    return [Account(*row[:5], Customer(*row[5:]) if row[5] is not None else None) for row in connection.execute(query)]


def _transfer(connection: Connection, condition: sa.ColumnElement[bool]) -> Transfer | None:
    row = connection.execute(sa.select(transfers).where(condition)).one_or_none()
    return Transfer(**row._mapping) if row else None


def _sum_sent(connection: Connection, condition: sa.ColumnElement[bool], *, until: datetime, span: timedelta) -> int:
    within = (transfers.c.made_at > until - span, transfers.c.made_at <= until)
    query = sa.select(sa.func.coalesce(sa.func.sum(transfers.c.amount_minor), 0)).where(condition, *within)
    return int(connection.execute(query).scalar_one())
