"""A year of made-up business, the same every time: customers, accounts, transfers, and oddities planted on purpose.

All dates are fixed and lie before 2026-11-01, so nothing of it falls into anybody's last 24 hours.

Demo customers, with the same balances in both sizes:
C-1001 Priya Natarajan   A-2001 checking $84,550.00, A-2002 savings $12,750.00; has paid A-2003 and A-2002 before
C-1002 Tom Becker        A-2003 checking $3,620.00, A-2004 savings $5,000.00
C-1003 Ada Quist         A-2005 checking, empty, so that she can be deleted
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from agent.bank.tables import HOUSE, accounts, customers, transfers

Oddity = Literal["outlier", "burst", "under_threshold", "round_trip"]

_END = datetime(2026, 11, 1, tzinfo=UTC)
_FIRST_CUSTOMER, _FIRST_ACCOUNT = 1001, 2001
_DEMO = (("Priya Natarajan", 2), ("Tom Becker", 2), ("Ada Quist", 1))
_BATCH = 5_000
_FIRST_NAMES = (
    "Amara Anton Beatriz Bruno Carla Chloé Dario Elif Emeka Eva Farid Grace Hana Hugo Ines Ivan Jana Jonas Kofi Lena "
    "Liam Lucía Malik Mei Mira Nadia Noah Olga Omar Paula Pedro Rosa Sami Sofia Stefan Tara Uma Victor Yara Zoë"
)
_LAST_NAMES = (
    "Abebe Andersson Bauer Berg Castillo Chen Costa Dubois Eriksen Farah Fischer García Haddad Hansen Horvat Ibrahim "
    "Ito Jansen Kaya Keller Kim Kowalski Lopes Mbeki Meyer Moreau Müller Nakamura Novak Okafor Olsen Pereira Petrov "
    "Rossi Santos Schmidt Silva Singh Tanaka Weber"
)
_SPENDING = ("Groceries", "Dinner", "Tickets", "Repair", "Gift", "Lunch", "Books", "Fuel", "Thanks!", None, None)
#: Of each oddity: its kind, and how many people take part.
_ODDITIES: tuple[tuple[Oddity, int], ...] = (("outlier", 1), ("burst", 1), ("under_threshold", 1), ("round_trip", 3))


class BankNotEmpty(Exception):
    """The bank has customers or transfers already: seed a database of its own, or a new one."""


@dataclass(frozen=True)
class Planted:
    """An oddity that `seed` put in on purpose, so that a detector can be measured."""

    kind: Oddity
    #: The account that pays; of a round trip the one where it begins and ends.
    account_id: str
    #: In order of time.
    transfer_ids: tuple[str, ...]


@dataclass(frozen=True)
class Size:
    customers: int
    accounts: int
    transfers: int
    #: Oddities of each kind.
    planted: int
    #: Ordinary business of each kind that comes close to an oddity, so that detectors can be wrong.
    lookalikes: int
    begin: datetime


SIZES = {
    "full": Size(
        customers=500,
        accounts=1_000,
        transfers=50_000,
        planted=12,
        lookalikes=12,
        begin=datetime(2025, 11, 1, tzinfo=UTC),
    ),
    "small": Size(
        customers=20, accounts=40, transfers=300, planted=1, lookalikes=0, begin=datetime(2026, 9, 1, tzinfo=UTC)
    ),
}


class _Movement(NamedTuple):
    at: datetime
    from_account: str
    to_account: str
    amount_minor: int
    memo: str | None
    #: Index of the oddity that it belongs to; None for ordinary business.
    oddity: int | None = None


class _Payer(NamedTuple):
    """A checking account with its habits."""

    checking: str
    savings: str
    #: Pays the salary: a company, or the world outside for a company itself.
    employer: str
    landlord: str
    payees: list[str]
    salary_minor: int
    rent_minor: int
    #: Median of what it spends at a time.
    typical_minor: int


def seed(connection: Connection, size: Literal["full", "small"] = "full") -> list[Planted]:
    """Fill an empty bank and return what was planted. Always the same data; commits nothing by itself.

    Raises:
        BankNotEmpty: there are customers or transfers already.
    """
    for table in (customers, transfers):
        if connection.execute(sa.select(sa.exists().select_from(table))).scalar():
            raise BankNotEmpty(f"The bank has {table.name} already; seed an empty one.")
    random = Random(20261101)
    business = _Business(random, SIZES[size])
    connection.execute(customers.insert(), business.customer_rows())
    connection.execute(accounts.insert(), business.account_rows())
    movements = business.movements()
    rows = [
        {"transfer_id": f"T-{number}", "number": number, "made_at": m.at, **_columns(m)}
        for number, m in enumerate(movements, start=1)
    ]
    for start in range(0, len(rows), _BATCH):
        connection.execute(transfers.insert(), rows[start : start + _BATCH])
    return business.planted(movements)


def _columns(movement: _Movement) -> dict[str, str | int | None]:
    return {name: getattr(movement, name) for name in ("from_account", "to_account", "amount_minor", "memo")}


class _Business:
    """Who there is and what they do, drawn from one random generator in a fixed order."""

    def __init__(self, random: Random, size: Size) -> None:
        self._random, self._size = random, size
        spare = size.accounts - 2 * size.customers + 1  # Ada has one account, so somebody else has three
        counts = [count for _, count in _DEMO] + [2 + spare] + [2] * (size.customers - len(_DEMO) - 1)
        ids = iter(range(_FIRST_ACCOUNT, _FIRST_ACCOUNT + size.accounts))
        self._owned = {
            f"C-{_FIRST_CUSTOMER + i}": [f"A-{next(ids)}" for _ in range(count)] for i, count in enumerate(counts)
        }
        self._oddities: list[tuple[Oddity, str]] = []
        #: The first so many of the ordinary customers are companies, who pay salaries and let flats.
        self._companies = max(2, size.customers // 20)
        self._payers = self._draw_payers()

    def customer_rows(self) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = []
        first_names, last_names = _FIRST_NAMES.split(), _LAST_NAMES.split()
        for index, customer_id in enumerate(self._owned):
            drawn = f"{self._random.choice(first_names)} {self._random.choice(last_names)}"
            name = _DEMO[index][0] if index < len(_DEMO) else drawn
            rows.append(
                {
                    "customer_id": customer_id,
                    "name": name,
                    "email": f"{_ascii(name).lower().replace(' ', '.')}.{customer_id[2:]}@example.com",
                    "phone": f"+1 555 01{index % 100:02d} {self._random.randrange(10_000):04d}",
                    "opened_at": self._opened_at(index),
                }
            )
        return rows

    def account_rows(self) -> list[dict[str, object]]:
        return [
            {
                "account_id": account_id,
                "customer_id": customer_id,
                "kind": "savings" if position == 1 else "checking",
                "opened_at": self._opened_at(index),
            }
            for index, (customer_id, owned) in enumerate(self._owned.items())
            for position, account_id in enumerate(owned)
        ]

    def movements(self) -> list[_Movement]:
        """Give exactly `size.transfers` movements in order of time, none of which overdraws."""
        fixed = [*self._openings(), *self._demo(), *self._habits(), *self._plant(), *self._lookalikes()]
        spending = self._spending(self._size.transfers - len(fixed))
        return list(_affordable(sorted([*fixed, *spending], key=lambda m: m.at)))

    def planted(self, movements: list[_Movement]) -> list[Planted]:
        ids: dict[int, list[str]] = {index: [] for index in range(len(self._oddities))}
        for number, movement in enumerate(movements, start=1):
            if movement.oddity is not None:
                ids[movement.oddity].append(f"T-{number}")
        return [Planted(kind, account, tuple(ids[i])) for i, (kind, account) in enumerate(self._oddities)]

    def _opened_at(self, index: int) -> datetime:
        return self._size.begin - timedelta(days=30 + index * 37 % 900)

    def _draw_payers(self) -> list[_Payer]:
        random = self._random
        ordinary = list(self._owned.values())[len(_DEMO) :]
        everyday = [owned[0] for owned in ordinary]
        companies = everyday[: self._companies]
        payers = []
        for owned in ordinary:
            others = [account for account in everyday if account != owned[0]]
            payers.append(
                _Payer(
                    checking=owned[0],
                    savings=owned[1],
                    employer=HOUSE if owned[0] in companies else random.choice(companies),
                    landlord=random.choice([account for account in companies if account != owned[0]]),
                    payees=random.sample(others, 5),
                    salary_minor=random.randrange(2_400_00, 7_500_00, 50_00),
                    rent_minor=random.randrange(650_00, 1_600_00, 10_00),
                    typical_minor=random.randrange(20_00, 120_00),
                )
            )
        return payers

    def _openings(self) -> Iterator[_Movement]:
        demo = {"A-2001": 86_500_00, "A-2002": 12_000_00, "A-2003": 2_300_00, "A-2004": 5_000_00, "A-2005": 120_00}
        for index, account in enumerate(account for owned in self._owned.values() for account in owned):
            amount = demo.get(account) or self._random.randrange(1_500_00, 9_000_00, 5_00)
            yield _Movement(self._size.begin + timedelta(seconds=index), HOUSE, account, amount, "Opening deposit")

    def _demo(self) -> Iterator[_Movement]:
        for month in (9, 10):
            at = datetime(2026, month, 3, 9, 30, tzinfo=UTC)
            yield _Movement(at, "A-2001", "A-2003", 600_00, "Rent share")
            yield _Movement(at + timedelta(minutes=2), "A-2001", "A-2002", 375_00, "Savings plan")
        at = datetime(2026, 9, 17, 16, 5, tzinfo=UTC)
        yield _Movement(at, "A-2005", "A-2003", 120_00, "Thanks for everything, Ada")

    def _habits(self) -> Iterator[_Movement]:
        """Salary, rent and savings, once a month each; companies have the payroll wired in before."""
        month = self._size.begin
        while month < _END:
            for company in self._payers[: self._companies]:
                payroll = sum(payer.salary_minor for payer in self._payers if payer.employer == company.checking)
                if payroll:
                    yield _Movement(self._at(month, 22, 23), HOUSE, company.checking, payroll, "Payroll")
            for payer in self._payers:
                yield _Movement(self._at(month, 24, 27), payer.employer, payer.checking, payer.salary_minor, "Salary")
                yield _Movement(self._at(month, 1, 4), payer.checking, payer.landlord, payer.rent_minor, "Rent")
                saved = self._random.randrange(50_00, 450_00, 10_00)
                yield _Movement(self._at(month, 27, 28), payer.checking, payer.savings, saved, "Savings")
            month = (month + timedelta(days=31)).replace(day=1)

    def _spending(self, count: int) -> list[_Movement]:
        """Give `count` everyday payments; those in whom an outlier is planted spend more often, to have a history."""
        random, days = self._random, (_END - self._size.begin).days
        marked = {account for kind, account in self._oddities if kind == "outlier"}
        weights = [4 if payer.checking in marked else 1 for payer in self._payers]
        return [
            _Movement(
                self._at(self._size.begin, 0, days),
                payer.checking,
                random.choice(payer.payees),
                max(1_00, round(random.lognormvariate(0, 0.6) * payer.typical_minor)),
                random.choice(_SPENDING),
            )
            for payer in random.choices(self._payers, weights, k=count)
        ]

    def _plant(self) -> Iterator[_Movement]:
        """Yield oddities of each kind, each on accounts of its own, and the money for it, paid in two days before."""
        free = self._random.sample(self._payers[self._companies :], sum(n for _, n in _ODDITIES) * self._size.planted)
        for kind, people in _ODDITIES:
            for _ in range(self._size.planted):
                payers = [free.pop() for _ in range(people)]
                self._oddities.append((kind, payers[0].checking))
                odd = [m._replace(oddity=len(self._oddities) - 1) for m in self._odd(kind, payers)]
                payer = odd[0].from_account
                cost = sum(m.amount_minor for m in odd if m.from_account == payer)
                yield _Movement(odd[0].at - timedelta(days=2), HOUSE, payer, _half_more(cost), "Incoming wire")
                yield from odd

    def _odd(self, kind: Oddity, payers: list[_Payer]) -> list[_Movement]:
        random, payer = self._random, payers[0]
        days = (_END - self._size.begin).days
        at = self._at(self._size.begin, days * 8 // 10, days - 6)
        match kind:
            case "outlier":
                amount = random.randrange(25_000_00, 60_000_00)
                return [_Movement(at, payer.checking, random.choice(payer.payees), amount, "As agreed")]
            case "burst":
                return [
                    _Movement(
                        at + timedelta(minutes=3 * i, seconds=random.randrange(60)),
                        payer.checking,
                        random.choice(payer.payees),
                        random.randrange(30_00, 400_00),
                        None,
                    )
                    for i in range(random.randrange(9, 15))
                ]
            case "under_threshold":
                return [
                    _Movement(
                        at + timedelta(hours=17 * i, minutes=random.randrange(120)),
                        payer.checking,
                        random.choice(payer.payees),
                        random.randrange(920_00, 1_000_00),
                        "Invoice",
                    )
                    for i in range(random.randrange(5, 8))
                ]
            case "round_trip":
                stations = [p.checking for p in payers]
                amount = random.randrange(3_000_00, 18_000_00)
                hops = []
                for i, (source, target) in enumerate(zip(stations, [*stations[1:], stations[0]], strict=True)):
                    moment = at + timedelta(hours=9 * i, minutes=random.randrange(300))
                    hops.append(_Movement(moment, source, target, amount, "Consulting"))
                    amount -= amount * random.randrange(0, 8) // 1_000
                return hops

    def _lookalikes(self) -> Iterator[_Movement]:
        """Yield ordinary business that comes close: a car, a shared dinner, an invoice in parts, a loan paid back."""
        random, days = self._random, (_END - self._size.begin).days
        for payer in random.sample(self._payers[self._companies :], self._size.lookalikes):
            at = self._at(self._size.begin, days // 2, days - 10)
            car, loan, friend = (
                random.randrange(4_000_00, 9_000_00),
                random.randrange(1_000_00, 3_000_00),
                payer.payees[0],
            )
            yield _Movement(at - timedelta(days=3), HOUSE, payer.checking, 2 * car, "Incoming wire")
            yield _Movement(at, payer.checking, payer.payees[1], car, "Car")
            for i in range(random.randrange(5, 9)):
                share = random.randrange(15_00, 60_00)
                yield _Movement(
                    at + timedelta(hours=5, minutes=7 * i), payer.checking, random.choice(payer.payees), share, "Dinner"
                )
            for i in range(random.randrange(3, 5)):
                yield _Movement(at + timedelta(hours=40 * i), payer.checking, payer.payees[2], 950_00, f"Part {i + 1}")
            yield _Movement(at + timedelta(hours=1), payer.checking, friend, loan, "Loan")
            yield _Movement(
                at + timedelta(hours=random.randrange(20, 120)), friend, payer.checking, loan, "Loan, with thanks"
            )

    def _at(self, begin: datetime, first_day: int, last_day: int) -> datetime:
        """Draw a moment between 07:00 and 22:00 of a day, counted from 0, `last_day` excluded."""
        day = begin + timedelta(days=self._random.randrange(first_day, last_day))
        return day + timedelta(hours=7, seconds=self._random.randrange(15 * 3_600))


def _affordable(movements: list[_Movement]) -> Iterator[_Movement]:
    """Yield the movements; where the money is missing, money is paid in from outside instead."""
    balances: dict[str, int] = {}
    for m in movements:
        if m.from_account != HOUSE and balances.get(m.from_account, 0) < m.amount_minor:
            assert m.oddity is None, "what is planted is paid for"
            m = _Movement(m.at, HOUSE, m.from_account, 3 * m.amount_minor, "Incoming wire")
        for account, change in ((m.from_account, -m.amount_minor), (m.to_account, m.amount_minor)):
            balances[account] = balances.get(account, 0) + change
        yield m


def _half_more(amount_minor: int) -> int:
    """Give one and a half times the amount, in whole dollars."""
    return amount_minor * 3 // 2_00 * 1_00


def _ascii(name: str) -> str:
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
