"""An export of the audit log, checked without a database: that the log alone shows what was approved is what ran.

With keys each row's signature is checked; without, only that rows follow one another and that what they tell agrees.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from clearance.journal.signing import Chain, Keys

#: The columns of a row, in the order in which they are signed, and the signature.
COLUMNS = ("seq", "at", "event", "actor", "thread_id", "turn_id", "request_id", "details", "mac")
_OUTCOMES = ("executed", "failed", "refused", "rejected", "withdrawn", "expired")


@dataclass(frozen=True)
class Finding:
    """What is wrong, and in which row."""

    seq: int
    text: str


@dataclass
class _Request:
    """A request as the log tells it so far."""

    actor: str
    #: Salted digest of action and arguments; None where it could be none, or the log told none yet.
    digest: str | None
    #: None where the log told none: it was written by a program that did not tell what is asked anew.
    revision: int | None
    deadline: str | None
    approvals: int
    approved_by: set[str] = field(default_factory=set)
    makers: set[str] = field(default_factory=set)
    ended: str | None = None
    #: Whether it was started elsewhere: what it takes to be carried out was looked at then.
    started: bool = False
    #: Who said that it happened, or did not, and which; None where nobody did.
    settled: tuple[str, bool] | None = None


@dataclass
class Result:
    """What an export shows."""

    rows: int
    findings: list[Finding]
    #: How many requests were carried out, and of how many of them the log tells what was cleared.
    executed: int
    proven: int
    #: Whether signatures were checked.
    is_signed: bool


def check(lines: Iterable[str], keys: Keys | None) -> Result:
    """Check an export line by line. Keeps what is open in memory, and the first hundred findings."""
    checker = _Checker(keys)
    rows = 0
    for number, text in enumerate(lines, 1):
        try:
            row = json.loads(text)
            given = tuple(row[name] for name in COLUMNS)
            details = json.loads(row["details"])
        except (ValueError, KeyError, TypeError):
            checker.findings.append(Finding(number, "it is no row of an export"))
            break
        if not checker.hear(given, details):
            break
        rows += 1
    return Result(rows, checker.findings[:100], checker.executed, checker.proven, keys is not None)


class _Checker:
    def __init__(self, keys: Keys | None) -> None:
        self.findings: list[Finding] = []
        self.executed = self.proven = 0
        self._chain = Chain(keys) if keys else None
        self._seq, self._at, self._mac = 0, "", ""
        self._requests: dict[str, _Request] = {}
        self._turns: dict[str, str] = {}
        self._frozen = False

    def hear(self, row: tuple[Any, ...], details: dict[str, Any]) -> bool:
        """Take the next row; tell whether reading on makes sense."""
        seq, at, event, actor, _, turn_id, request_id, _, mac = row
        if seq != self._seq + 1:
            self.findings.append(Finding(seq, f"row {self._seq + 1} is missing before it"))
            return False
        wrong = self._chain.check(row, self._mac) if self._chain else None
        if wrong:
            self.findings.append(Finding(seq, wrong))
            return False
        if at < self._at and event != "clock_settled":
            self.findings.append(Finding(seq, f"its time {at} is before that of the row before it"))
        self._seq, self._at, self._mac = seq, at, mac
        if event in ("frozen", "unfrozen"):
            self._frozen = event == "frozen"
        elif event == "turn_ended":
            self._turns[turn_id] = details["state"]
        elif request_id is not None:
            self.findings += [Finding(seq, text) for text in self._of_request(event, at, actor, request_id, details)]
            if event in (*_OUTCOMES, "started") and turn_id in self._turns and not self._is_started(request_id, event):
                self.findings.append(Finding(seq, f"its turn was {self._turns[turn_id]} before"))
        return True

    def _is_started(self, request_id: str, event: str) -> bool:
        """Tell whether an outcome is of what was in flight: that comes when it comes."""
        request = self._requests.get(request_id)
        return event != "started" and request is not None and request.started

    def _of_request(self, event: str, at: str, actor: str, request_id: str, details: dict[str, Any]) -> Iterator[str]:
        request = self._requests.get(request_id)
        if event == "requested":
            if request is not None:
                yield f"request {request_id} was opened before"
            known = "deadline" in details
            self._requests[request_id] = _Request(
                actor, details.get("digest"), details.get("revision", 1), details.get("deadline"),
                details["approvals"] if known else -1, makers={actor},
            )  # fmt: skip
            return
        if request is None:
            yield f"request {request_id} was never opened"
            return
        match event:
            case "approved":
                yield from self._approved(request, actor, details)
            case "edited":
                request.makers.add(actor)
                self._asked(request, details.get("becomes", {}))
                if details["counts"]:
                    request.approved_by.add(actor)
            case "asked_again":
                self._asked(request, details)
            case "started":
                request.started = True
                yield from self._cleared(request, at, details, "started")
            case "settled":
                yield from self._settled(request, actor, details)
            case "executed":
                self.executed += 1
                if not request.started:
                    yield from self._cleared(request, at, details, "carried out")
                elif "digest" in details:
                    self.proven += 1
                    if details["digest"] != request.digest:
                        yield "what was carried out is not what was started"
        if details.get("via") == "person" and request.settled != (actor, event == "executed"):
            yield f"its outcome rests on the word of {actor}, who did not say so"
        if event in _OUTCOMES:
            if request.ended:
                yield f"request {request_id} had ended already: {request.ended}"
            request.ended = event

    def _settled(self, request: _Request, actor: str, details: dict[str, Any]) -> Iterator[str]:
        if request.ended:
            yield f"{actor} said what became of it after it had ended: {request.ended}"
        if not request.started:
            yield f"{actor} said what became of it, and it was never started"
        if actor in request.makers and not details.get("own_request"):
            yield f"{actor} asked for it or edited it, and said what became of it"
        request.settled = actor, details["happened"]

    def _asked(self, request: _Request, details: dict[str, Any]) -> None:
        request.approved_by.clear()
        request.digest, request.revision = details.get("digest"), details.get("revision")
        request.deadline, request.approvals = details.get("deadline"), details.get("approvals", -1)

    def _approved(self, request: _Request, actor: str, details: dict[str, Any]) -> Iterator[str]:
        if request.ended:
            yield f"it was approved after it had ended: {request.ended}"
        if request.digest is not None and details["digest"] != request.digest:
            yield "what was approved is not what was asked for"
        if request.revision is not None and details["revision"] != request.revision:
            yield f"revision {details['revision']} was approved, {request.revision} was asked"
        if actor in request.makers and not details.get("own_request"):
            yield f"{actor} asked for it or edited it, and approved it"
        if actor in request.approved_by:
            yield f"{actor} approved it twice"
        request.approved_by.add(actor)

    def _cleared(self, request: _Request, at: str, details: dict[str, Any], done: str) -> Iterator[str]:
        """Say what an effect lacks at the moment it begins."""
        if self._frozen:
            yield f"it was {done} while effects were frozen"
        if request.deadline is None or request.approvals < 0 or "digest" not in details:
            return  # told by a program that did not tell what was cleared
        if done != "started":
            self.proven += 1
        if details["digest"] != request.digest:
            yield f"what was {done} is not what was asked for and cleared"
        if details["revision"] != request.revision:
            yield f"revision {details['revision']} was {done}, {request.revision} was cleared"
        if at > request.deadline:
            yield f"it was {done} after its deadline {request.deadline}"
        if len(request.approved_by) < request.approvals:
            yield f"it was {done} with {len(request.approved_by)} of {request.approvals} approvals"
