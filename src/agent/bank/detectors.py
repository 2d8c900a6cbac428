"""What is odd about transfers: four detectors that read them one by one, oldest first, in bounded memory.

Nothing here knows a database or a tool. Each detector keeps a short window (64 amounts, 8 transfers, 20 trails) for
each of the `_ACCOUNTS` accounts that were active last, and its first `_FINDINGS` findings; more are only counted.
So memory depends on these constants and not on the length of the ledger.
"""

import math
from bisect import bisect_left, insort
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, Protocol, TypeVar

from agent.bank.ledger import HOUSE, Transfer
from agent.bank.money import usd
from clearance.db.types import from_text, to_text

Kind = Literal["outlier", "burst", "under_threshold", "round_trip"]
S = TypeVar("S")

_ACCOUNTS = 20_000
_FINDINGS = 500
_IDS = 50


@dataclass(frozen=True)
class Finding:
    """Something odd, in one sentence, with the transfers that show it."""

    kind: Kind
    #: The account that pays; of a round trip the one where it begins and ends.
    account_id: str
    #: Who takes part, as far as the sentence tells.
    accounts: tuple[str, ...]
    #: The first 50, in order of time; `count` tells how many there are.
    transfer_ids: tuple[str, ...]
    count: int
    #: Sum of the transfers; of a round trip what came back.
    amount_minor: int
    first_at: datetime
    last_at: datetime
    sentence: str


class Detector(Protocol):
    """Reads transfers in order and keeps what it found."""

    @property
    def kind(self) -> Kind:
        """Name what it looks for."""

    def feed(self, transfer: Transfer) -> None:
        """Take the next transfer; its number is higher than that of all before."""

    def findings(self) -> "Findings":
        """Give what was found so far, in order of time. Safe to call at any moment."""

    def state(self) -> list[Any]:
        """Give all that it keeps, as JSON."""

    def restore(self, state: list[Any]) -> None:
        """Go on from a `state`, as if it had been fed what that one was."""


@dataclass
class Findings:
    """Findings in the order they began: the first ones, and how many there are in all."""

    kept: list[Finding] = field(default_factory=list)
    total: int = 0

    def add(self, finding: Finding) -> None:
        self.total += 1
        if len(self.kept) < _FINDINGS:
            self.kept.append(finding)

    def state(self) -> list[Any]:
        """Give them as JSON."""
        return [self.total, [_written(finding) for finding in self.kept]]

    def restore(self, state: list[Any]) -> None:
        """Become what a `state` was."""
        self.total, self.kept = state[0], [_read(finding) for finding in state[1]]


def detectors(keep: Callable[[Finding], bool] = lambda finding: True) -> list[Detector]:
    """Make one detector of each kind; findings for which `keep` is false are dropped, and not counted."""
    return [Outliers(keep), Bursts(keep), UnderThreshold(keep), RoundTrips(keep)]


def is_business(transfer: Transfer) -> bool:
    """Tell whether detectors look at it: not what the bank itself pays, nor what only undoes another transfer."""
    return HOUSE not in (transfer.from_account, transfer.to_account) and transfer.reverses is None


class _Recent(Generic[S]):
    """A state for each account; when there are too many, that of the longest idle account is dropped."""

    def __init__(self, make: Callable[[], S], drop: Callable[[S], None] = lambda state: None) -> None:
        self._make, self._drop = make, drop
        self._states: OrderedDict[str, S] = OrderedDict()

    def __getitem__(self, account_id: str) -> S:
        state = self._states.get(account_id)
        if state is None:
            state = self._states[account_id] = self._make()
            if len(self._states) > _ACCOUNTS:
                self._drop(self._states.popitem(last=False)[1])
        self._states.move_to_end(account_id)
        return state

    def __iter__(self) -> Iterator[S]:
        return iter(self._states.values())

    def state(self, write: Callable[[S], Any]) -> list[Any]:
        """Give the accounts in order, the longest idle first, each with what `write` makes of its state."""
        return [[account_id, write(state)] for account_id, state in self._states.items()]

    def restore(self, state: list[Any], read: Callable[[Any], S]) -> None:
        """Become what a `state` was."""
        self._states = OrderedDict((account_id, read(written)) for account_id, written in state)


class _History:
    """Logarithms of the last amounts of an account: in order of time, and sorted."""

    SPAN = 64

    def __init__(self) -> None:
        self._in_time: deque[float] = deque()
        self._sorted: list[float] = []

    @classmethod
    def of(cls, amounts: list[float]) -> "_History":
        """Make one of logarithms in order of time."""
        history = cls()
        history._in_time, history._sorted = deque(amounts), sorted(amounts)
        return history

    def amounts(self) -> list[float]:
        """Give the logarithms in order of time."""
        return list(self._in_time)

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, value: float) -> None:
        if len(self._in_time) == self.SPAN:
            del self._sorted[bisect_left(self._sorted, self._in_time.popleft())]
        self._in_time.append(value)
        insort(self._sorted, value)

    def middle(self) -> tuple[float, float]:
        """Give median, and median distance from it: neither moves when a few amounts are extreme."""
        median = self._sorted[len(self) // 2]
        distances = sorted(abs(value - median) for value in self._sorted)
        return median, distances[len(self) // 2]


class Outliers:
    """An amount far above what the account usually pays, on a scale of ratios."""

    kind: Kind = "outlier"
    #: Below this nobody needs to look, and so many earlier payments make a habit.
    FLOOR_MINOR = 5_000_00
    EARLIER = 12
    #: How many typical distances above the median; a typical distance is at least a fifth up or down.
    DISTANCES = 4.0
    LEAST_DISTANCE = 0.2

    def __init__(self, keep: Callable[[Finding], bool]) -> None:
        self._keep = keep
        self._found = Findings()
        self._histories = _Recent(_History)

    def feed(self, transfer: Transfer) -> None:
        if not is_business(transfer):
            return
        history = self._histories[transfer.from_account]
        value = math.log(transfer.amount_minor)
        if transfer.amount_minor >= self.FLOOR_MINOR and len(history) >= self.EARLIER:
            median, distance = history.middle()
            # 1.4826 makes of the median distance what a standard deviation would be.
            if (value - median) / max(1.4826 * distance, self.LEAST_DISTANCE) > self.DISTANCES:
                self._report(transfer, round(math.exp(median)))
        history.add(value)

    def findings(self) -> Findings:
        return self._found

    def state(self) -> list[Any]:
        return [self._found.state(), self._histories.state(_History.amounts)]

    def restore(self, state: list[Any]) -> None:
        self._found.restore(state[0])
        self._histories.restore(state[1], _History.of)

    def _report(self, transfer: Transfer, usual_minor: int) -> None:
        finding = Finding(
            kind=self.kind,
            account_id=transfer.from_account,
            accounts=(transfer.from_account, transfer.to_account),
            transfer_ids=(transfer.transfer_id,),
            count=1,
            amount_minor=transfer.amount_minor,
            first_at=transfer.made_at,
            last_at=transfer.made_at,
            sentence=f"{transfer.from_account} paid {usd(transfer.amount_minor)} to {transfer.to_account} in"
            f" {transfer.transfer_id}, {transfer.amount_minor / usual_minor:,.0f} times its usual {usd(usual_minor)}.",
        )
        if self._keep(finding):
            self._found.add(finding)


class _Run:
    """Transfers of one account that follow each other closely: those in the window, and the run they belong to."""

    def __init__(self) -> None:
        self.window: deque[Transfer] = deque()
        self.finding: Finding | None = None

    @classmethod
    def of(cls, state: list[Any]) -> "_Run":
        """Make one of a `state`."""
        run = cls()
        run.window = deque(map(_transfer, state[0]))
        run.finding = None if state[1] is None else _read(state[1])
        return run

    def state(self) -> list[Any]:
        """Give it as JSON."""
        return [[_row(one) for one in self.window], None if self.finding is None else _written(self.finding)]


class _Runs:
    """Base of detectors of many alike in a short time. A run goes on while its window stays full enough."""

    kind: Kind
    WINDOW: timedelta
    LEAST: int

    def __init__(self, keep: Callable[[Finding], bool]) -> None:
        self._keep = keep
        self._found = Findings()
        self._runs = _Recent(_Run, self._end)

    def counts(self, transfer: Transfer) -> bool:
        """Tell whether the transfer is of the kind looked for."""
        raise NotImplementedError

    def sentence(self, finding: Finding) -> str:
        """Say what was found."""
        raise NotImplementedError

    def feed(self, transfer: Transfer) -> None:
        if not is_business(transfer) or not self.counts(transfer):
            return
        run = self._runs[transfer.from_account]
        while run.window and transfer.made_at - run.window[0].made_at > self.WINDOW:
            run.window.popleft()
        run.window.append(transfer)
        # LEAST transfers decide; a longer window would only grow with a busy account.
        if len(run.window) > self.LEAST:
            run.window.popleft()
        if len(run.window) < self.LEAST:
            self._end(run)
        elif run.finding is None:
            run.finding = self._begun(run.window)
        else:
            run.finding = _extended(run.finding, transfer)

    def findings(self) -> Findings:
        found = Findings(list(self._found.kept), self._found.total)
        for run in self._runs:
            if run.finding is not None:
                self._add(found, run.finding)
        found.kept.sort(key=lambda finding: finding.first_at)
        return found

    def state(self) -> list[Any]:
        return [self._found.state(), self._runs.state(_Run.state)]

    def restore(self, state: list[Any]) -> None:
        self._found.restore(state[0])
        self._runs.restore(state[1], _Run.of)

    def _begun(self, window: deque[Transfer]) -> Finding:
        return Finding(
            kind=self.kind,
            account_id=window[0].from_account,
            accounts=(window[0].from_account,),
            transfer_ids=tuple(transfer.transfer_id for transfer in window),
            count=len(window),
            amount_minor=sum(transfer.amount_minor for transfer in window),
            first_at=window[0].made_at,
            last_at=window[-1].made_at,
            sentence="",
        )

    def _end(self, run: _Run) -> None:
        if run.finding is not None:
            self._add(self._found, run.finding)
            run.finding = None

    def _add(self, found: Findings, finding: Finding) -> None:
        if self._keep(finding):
            found.add(replace(finding, sentence=self.sentence(finding)))


class Bursts(_Runs):
    """Many transfers from one account within an hour."""

    kind: Kind = "burst"
    WINDOW = timedelta(hours=1)
    LEAST = 8

    def counts(self, transfer: Transfer) -> bool:
        return True

    def sentence(self, finding: Finding) -> str:
        minutes = max(1, round((finding.last_at - finding.first_at).total_seconds() / 60))
        return (
            f"{finding.account_id} made {finding.count} transfers in {minutes} minutes from {_time(finding.first_at)},"
            f" {usd(finding.amount_minor)} in all."
        )


class UnderThreshold(_Runs):
    """Several transfers within days that each stay just under 1,000 dollars, where people begin to ask."""

    kind: Kind = "under_threshold"
    WINDOW = timedelta(days=5)
    LEAST = 4
    THRESHOLD_MINOR = 1_000_00
    JUST_UNDER = 0.9

    def counts(self, transfer: Transfer) -> bool:
        return self.JUST_UNDER * self.THRESHOLD_MINOR <= transfer.amount_minor < self.THRESHOLD_MINOR

    def sentence(self, finding: Finding) -> str:
        return (
            f"{finding.account_id} made {finding.count} transfers just under {usd(self.THRESHOLD_MINOR)} between"
            f" {_time(finding.first_at)} and {_time(finding.last_at)}, {usd(finding.amount_minor)} in all."
        )


@dataclass(frozen=True)
class _Trail:
    """Money on its way: where it began, what set out, and the transfers so far."""

    origin: str
    amount_minor: int
    path: tuple[Transfer, ...]

    @classmethod
    def of(cls, state: list[Any]) -> "_Trail":
        """Make one of a `state`."""
        return cls(state[0], state[1], tuple(map(_transfer, state[2])))

    def state(self) -> list[Any]:
        """Give it as JSON."""
        return [self.origin, self.amount_minor, [_row(one) for one in self.path]]


class RoundTrips:
    """Money that comes back, nearly all of it, over other accounts within two days."""

    kind: Kind = "round_trip"
    WINDOW = timedelta(hours=48)
    FLOOR_MINOR = 1_000_00
    #: Part of the amount that may get lost, or be added, on the way.
    LOSS = 0.05
    HOPS = 6
    #: Trails that are followed from one account at a time, the newest ones.
    TRAILS = 20

    def __init__(self, keep: Callable[[Finding], bool]) -> None:
        self._keep = keep
        self._found = Findings()
        # Trails that have arrived at an account and may go on from there.
        self._arrived = _Recent[deque[_Trail]](lambda: deque(maxlen=self.TRAILS))

    def feed(self, transfer: Transfer) -> None:
        if not is_business(transfer) or transfer.amount_minor < self.FLOOR_MINOR:
            return
        here = self._arrived[transfer.from_account]
        while here and transfer.made_at - here[0].path[0].made_at > self.WINDOW:
            here.popleft()
        grown = [replace(trail, path=(*trail.path, transfer)) for trail in here if self._continues(trail, transfer)]
        for trail in grown:
            if trail.origin != transfer.to_account and len(trail.path) < self.HOPS:
                self._arrived[transfer.to_account].append(trail)
        # What returns once closes one trail, the oldest, however often the same sum had set out.
        closed = next((trail for trail in grown if trail.origin == transfer.to_account), None)
        if closed is not None:
            self._report(closed)
            here.remove(replace(closed, path=closed.path[:-1]))
        self._arrived[transfer.to_account].append(_Trail(transfer.from_account, transfer.amount_minor, (transfer,)))

    def findings(self) -> Findings:
        return self._found

    def state(self) -> list[Any]:
        arrived = self._arrived.state(lambda trails: [trail.state() for trail in trails])
        return [self._found.state(), arrived]

    def restore(self, state: list[Any]) -> None:
        self._found.restore(state[0])
        self._arrived.restore(state[1], lambda trails: deque(map(_Trail.of, trails), maxlen=self.TRAILS))

    def _continues(self, trail: _Trail, transfer: Transfer) -> bool:
        visited = {hop.to_account for hop in trail.path}
        return (
            abs(transfer.amount_minor - trail.amount_minor) <= self.LOSS * trail.amount_minor
            and transfer.made_at - trail.path[0].made_at <= self.WINDOW
            and transfer.to_account not in visited
        )

    def _report(self, trail: _Trail) -> None:
        first, last = trail.path[0], trail.path[-1]
        way = " → ".join([trail.origin, *(hop.to_account for hop in trail.path)])
        finding = Finding(
            kind=self.kind,
            account_id=trail.origin,
            accounts=tuple(hop.from_account for hop in trail.path),
            transfer_ids=tuple(hop.transfer_id for hop in trail.path),
            count=len(trail.path),
            amount_minor=last.amount_minor,
            first_at=first.made_at,
            last_at=last.made_at,
            sentence=f"{usd(trail.amount_minor)} left {trail.origin} on {_time(first.made_at)} and"
            f" {usd(last.amount_minor)} came back by {_time(last.made_at)}: {way}.",
        )
        if self._keep(finding):
            self._found.add(finding)


def _extended(finding: Finding, transfer: Transfer) -> Finding:
    return replace(
        finding,
        transfer_ids=(*finding.transfer_ids, transfer.transfer_id)[:_IDS],
        count=finding.count + 1,
        amount_minor=finding.amount_minor + transfer.amount_minor,
        last_at=transfer.made_at,
    )


def _written(finding: Finding) -> dict[str, Any]:
    times = {"first_at": to_text(finding.first_at), "last_at": to_text(finding.last_at)}
    return {**vars(finding), **times}


def _read(written: dict[str, Any]) -> Finding:
    lists = {name: tuple(written[name]) for name in ("accounts", "transfer_ids")}
    times = {name: from_text(written[name]) for name in ("first_at", "last_at")}
    return Finding(**{**written, **lists, **times})


def _row(transfer: Transfer) -> list[Any]:
    """Give what detectors look at of a transfer that they look at: no memo, no requester."""
    return [
        transfer.number,
        transfer.from_account,
        transfer.to_account,
        transfer.amount_minor,
        to_text(transfer.made_at),
    ]


def _transfer(row: list[Any]) -> Transfer:
    number, source, target, amount_minor, made_at = row
    return Transfer(f"T-{number}", number, source, target, amount_minor, None, from_text(made_at), None, None, None)


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
