"""What is true about an action now, and what the policy says to it."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from clearance.actions.action import Action, ActionError, Actions, Earlier, Facts, Reading, kept_arguments, read_action
from clearance.actions.external import ExternalAction, joined
from clearance.actions.soundness import a_sentence, an, some_subjects
from clearance.actions.stored import stored
from clearance.canonical import digest
from clearance.db.driver_errors import is_from_outside, is_lost
from clearance.db.lent import TransactionEndedError, read_only
from clearance.gate.ended import facts_of, has_ended
from clearance.gate.looking import NeedsLookError, ToLook, elsewhere, read_action_once
from clearance.gate.policy import Policy, Verdict
from clearance.journal.plans import read_plan
from clearance.journal.requests import read_earlier, requests_of_plan
from clearance.journal.turns import Turn
from clearance.loglines import logger_of
from clearance.principal import Principal

logger = logger_of(__name__)


@dataclass(frozen=True)
class Judged:
    """An action with its facts and verdict at one moment."""

    action: Action[Any]
    #: JSON form of the arguments, as they are stored, shown and digested.
    arguments: dict[str, Any]
    digest: str
    facts: Facts
    sentence: str
    subjects: list[str]
    verdict: Verdict
    #: What must not be in flight twice; None for a local action.
    business_key: str | None = None


@dataclass(frozen=True)
class Judge:
    """Facts and policy together."""

    actions: Actions
    policy: Policy

    def judge(
        self,
        connection: Connection,
        now: datetime,
        action: Action[Any],
        *,
        requester: Principal,
        number: int,
        plan_id: str,
    ) -> Judged:
        """Read the facts of `action` in the open transaction, which keeps no writes of theirs, and ask the policy.

        `number` and `plan_id` are the request's place in the order: what stands before it counts towards limits.

        Raises:
            ActionError: the action says in a sentence why it cannot be done, or failed to read its facts.
        """

        def earlier(names: Sequence[str]) -> list[Earlier]:
            external = [name for name in names if self._is_external(name)]
            found = read_earlier(connection, names, number, plan_id, external=external)
            return [Earlier(*row) for row in found]

        def beside(names: Sequence[str]) -> list[Earlier]:
            found = self._beside(connection, names, number, plan_id)
            return [Earlier(arguments, requester.id, name) for name, arguments in found]

        if has_ended(facts_of(action.tool_name())):
            raise ActionError("what is true about it cannot be read, for that ends the transaction it is read in.")
        try:
            reading = Reading(connection, now, requester.id, earlier, beside)
            facts = _facts(connection, action, reading)
            arguments = kept_arguments(action)
            return Judged(
                action=action,
                arguments=arguments,
                digest=digest(action.tool_name(), arguments),
                facts=facts,
                sentence=a_sentence(action.sentence(facts), f"{action.tool_name()}.sentence"),
                subjects=some_subjects(action.subjects(facts), f"{action.tool_name()}.subjects"),
                verdict=_raised(self.policy.judge(action, facts, requester), action),
                business_key=_business_key(action),
            )
        except (ActionError, NeedsLookError, TransactionEndedError):
            raise
        except BaseException as exc:  # broken is no effect, and the thread goes on
            if is_from_outside(exc) or (isinstance(exc, DBAPIError) and is_lost(exc)):
                raise  # the transaction is gone: it is tried again as a whole
            error_id = secrets.token_hex(4)
            logger.exception("facts of %s cannot be read, error id %s", action.tool_name(), error_id)
            raise ActionError(f"what is true about it cannot be read (error id {error_id}).") from exc

    def action(self, name: str) -> type[Action[Any]]:
        """Give the action called `name`.

        Raises:
            ActionError: there is none, since the program changed after it was asked for.
        """
        cls = self.actions.get(name)
        if cls is None:
            raise ActionError(f"there is no action {name} any more.")
        return cls

    def _is_external(self, name: str) -> bool:
        kind = self.actions.get(name)
        return kind is not None and issubclass(kind, ExternalAction)

    def _beside(
        self, connection: Connection, names: Sequence[str], number: int, plan_id: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Give name and arguments of the other calls of some actions in a plan, as they are now."""
        plan = read_plan(connection, plan_id)
        opened = {request.tool_call_id: request for request in requests_of_plan(connection, plan_id)}
        calls = [
            call
            for call in ((plan.message if plan else None) or {}).get("tool_calls", [])
            if call["name"] in self.actions
        ]
        # Requests are opened in the order of the calls: without one of its own, this is the first that has none.
        is_new = all(request.number != number for request in opened.values())
        own = next((call["id"] for call in calls if call["id"] not in opened), None) if is_new else None
        for call in calls:
            request = opened.get(call["id"])
            is_own = call["id"] == own or (request is not None and request.number == number)
            if call["name"] not in names or is_own or (request is not None and request.state in _NOT_DONE):
                continue
            cls = self.actions[call["name"]]
            try:
                if request:
                    read = read_action(cls, request.arguments or {})
                else:
                    read = read_action_once(cls, call["args"], plan_id, call["id"])
                yield call["name"], stored(read)
            except ActionError:
                continue  # refused when its turn comes


def _raised(verdict: Verdict, action: Action[Any]) -> Verdict:
    """Give a verdict with a higher risk where the tool's server says that it destroys. Nothing it says lowers one."""
    is_low = verdict.word == "ask" and verdict.risk in ("low", "medium")
    return replace(verdict, risk="high") if is_low and action.tool_origin.destructive else verdict


def _business_key(action: Action[Any]) -> str | None:
    if not isinstance(action, ExternalAction):
        return None
    (made,) = some_subjects([action.business_key()], f"{action.tool_name()}.business_key")
    return made


def _facts(connection: Connection, action: Action[Any], reading: Reading) -> Facts:
    """Read what is true about an action: what is elsewhere was read before, what is ours is read now."""
    name = action.tool_name()
    if not isinstance(action, ExternalAction):
        with read_only(connection, facts_of(name)):
            read = action.facts(reading)
        return an(action.facts_type(), read, f"{name}.facts")
    found = elsewhere(ToLook(action, reading.requested_by, reading.now))
    with read_only(connection, facts_of(name)):
        sums = action.sums(reading)
    return joined(type(action), found, an(action.sums_type(), sums, f"{name}.sums"))


#: States in which an action moved nothing, and never will.
_NOT_DONE = ("rejected", "refused", "failed", "withdrawn", "expired")


def requester_of(turn: Turn) -> Principal:
    """Give who requested a turn, as it was stored when the turn began."""
    return Principal(
        turn.requested_by,
        kind="local" if turn.requester_kind == "local" else "person",
        roles=frozenset(turn.requester_roles),
    )


def changed_material(before: dict[str, Any], after: Facts) -> list[str]:
    """Name the material facts that are not what they were."""
    now = stored(after)
    return sorted(name for name in type(after).material() if before.get(name) != now[name])
