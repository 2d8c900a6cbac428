"""How awake reviewers are, and how much policy asks: counted from the journal."""

import statistics
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from clearance.db.tables import decisions, questions, requests
from clearance.journal.statements import written_out

#: More decisions than these are not read: then those of a shorter time are, and that is told.
MOST_DECISIONS = 10_000
#: An approval faster than this was hardly read.
HASTY = timedelta(seconds=3)


@dataclass(frozen=True)
class Reviewer:
    """One person's decisions."""

    person: str
    decisions: int
    approved: int
    edited: int
    rejected: int
    #: From the question to the decision, at the median.
    median: timedelta
    #: Approvals within `HASTY` of the question.
    hasty: int


@dataclass(frozen=True)
class Statistics:
    """All of a period."""

    #: Where it begins: later than was asked for, where more than `MOST_DECISIONS` were made since then.
    since: datetime
    #: Most decisions first.
    reviewers: list[Reviewer]
    #: Requests by action and verdict: allow, ask or deny.
    verdicts: dict[str, dict[str, int]]

    @property
    def totals(self) -> dict[str, int]:
        """Requests by verdict."""
        return {word: sum(counted.get(word, 0) for counted in self.verdicts.values()) for word in _WORDS}


_WORDS = ("allow", "ask", "deny")


def read_statistics(connection: Connection, since: datetime) -> Statistics:
    """Count decisions made and requests opened since a moment, and since a later one where these are many."""
    newest = sa.select(decisions.c.decided_at).where(decisions.c.decided_at >= since)
    first = connection.scalar(newest.order_by(decisions.c.decided_at.desc()).offset(MOST_DECISIONS - 1).limit(1))
    since = max(since, first or since)
    # By the words of the index's condition, which all of them meet.
    is_any = requests.c.verdict.in_(written_out(_WORDS))
    counted = sa.select(requests.c.action, requests.c.verdict, sa.func.count()).where(
        requests.c.opened_at >= since, is_any
    )
    verdicts: dict[str, dict[str, int]] = {}
    for action, verdict, number in connection.execute(counted.group_by(requests.c.action, requests.c.verdict)):
        verdicts.setdefault(action, dict.fromkeys(_WORDS, 0))[verdict] = number
    return Statistics(since, _reviewers(connection, since), dict(sorted(verdicts.items())))


def _reviewers(connection: Connection, since: datetime) -> list[Reviewer]:
    # The question that a decision was on: put in a thread, or, before its turn came there, open since it was asked for.
    put = (
        sa.select(sa.func.min(questions.c.asked_ms))
        .where(
            questions.c.request_id == decisions.c.request_id,
            questions.c.revision <= decisions.c.revision,
        )
        .scalar_subquery()
    )
    query = (
        sa.select(decisions.c.decided_by, decisions.c.decision, decisions.c.decided_at, requests.c.opened_at, put)
        .join(requests, requests.c.request_id == decisions.c.request_id)
        .where(decisions.c.decided_at >= since)
    )
    words: dict[str, Counter[str]] = {}
    took: dict[str, list[float]] = {}
    hasty: Counter[str] = Counter()
    for person, word, decided_at, opened_at, put_ms in connection.execute(query):
        seconds = (decided_at - opened_at).total_seconds()
        if put_ms is not None:
            # Rounded to the millisecond, so that it may lie a little after the decision.
            seconds = min(seconds, max(decided_at.timestamp() - put_ms / 1000, 0))
        words.setdefault(person, Counter())[word] += 1
        took.setdefault(person, []).append(seconds)
        hasty[person] += word == "approve" and seconds <= HASTY.total_seconds()
    found = [
        Reviewer(
            person=person,
            decisions=counted.total(),
            approved=counted["approve"],
            edited=counted["edit"],
            rejected=counted["reject"],
            median=timedelta(seconds=statistics.median(took[person])),
            hasty=hasty[person],
        )
        for person, counted in words.items()
    ]
    return sorted(found, key=lambda one: (-one.decisions, one.person))
