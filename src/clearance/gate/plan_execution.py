"""Carry out a decided plan: each of its cleared requests in order, and none of them tried for ever."""

from clearance.db.engine import Database
from clearance.gate.execution import InFlight, carry_out
from clearance.gate.judging import Judge
from clearance.gate.losses import fail
from clearance.gate.policy import Policy
from clearance.gate.standing import next_of
from clearance.gate.transitions import expire_due
from clearance.journal.audit import Log
from clearance.journal.requests import requests_of_plan
from clearance.journal.tries import MOST_TRIES, count_try


def carry_out_next(log: Log, judge: Judge, database: Database, plan_id: str) -> bool | InFlight:
    """Bring the next cleared request of a plan to its receipt; tell whether there may be another.

    One whose effect is elsewhere is given, to be started outside this transaction or waited for.
    """
    plan = requests_of_plan(log.connection, plan_id)
    if expire_due(log, plan):
        plan = requests_of_plan(log.connection, plan_id)
    following = next_of(plan)
    if following is None or following.state == "asked":
        return False
    done = carry_out(log, judge, database, plan_id, following.request_id)
    if isinstance(done, InFlight):
        return done
    return done is not None and any(other.is_open and other is not following for other in plan)


def may_try(log: Log, policy: Policy, plan_id: str) -> bool:
    """Count a try of what of a plan is carried out next, before it begins; tell whether anything is left to try.

    After too many it ends as failed: all of them broke off before they committed, by an error that leaves no
    receipt or with the process.
    """
    following = next_of(requests_of_plan(log.connection, plan_id))
    if following is None or not following.is_open or following.state == "asked":
        return False
    if count_try(log.connection, following.request_id, str(following.revision)) > MOST_TRIES:
        sentence = f"Not done: it was tried {MOST_TRIES} times and broke off each time; nothing of it was done."
        fail(log, policy, following, "failed", sentence, cause="tries")
    return True
