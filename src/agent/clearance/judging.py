"""What is true about an action now, and what the policy says to it."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from agent.clearance import journal
from agent.clearance.action import Action, ActionError, Actions, Earlier, Facts, Reading, read_action
from agent.clearance.canonical import digest
from agent.clearance.policy import Policy, Verdict
from agent.clearance.principal import Principal
from agent.clearance.soundness import a_sentence, an, some_subjects
from agent.db.engine import is_lost, read_only
from agent.loglines import logger_of

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
        """Read the facts of `action` in the open transaction, writes refused, and ask the policy.

        `number` and `plan_id` are the request's place in the order: what stands before it counts towards limits.

        Raises:
            ActionError: the action says in a sentence why it cannot be done, or failed to read its facts.
        """

        def earlier(name: str) -> list[Earlier]:
            return [Earlier(*row) for row in journal.earlier(connection, name, number, plan_id)]

        def beside(name: str) -> list[Earlier]:
            return [Earlier(other, requester.id) for other in self._beside(connection, name, number, plan_id)]

        try:
            with read_only(connection):
                read = action.facts(Reading(connection, now, requester.id, earlier, beside))
            facts = an(action.facts_type(), read, f"{action.tool_name()}.facts")
            arguments = action.model_dump(mode="json")
            return Judged(
                action=action,
                arguments=arguments,
                digest=digest(action.tool_name(), arguments),
                facts=facts,
                sentence=a_sentence(action.sentence(facts), f"{action.tool_name()}.sentence"),
                subjects=some_subjects(action.subjects(facts), f"{action.tool_name()}.subjects"),
                verdict=self.policy.judge(action, facts, requester),
            )
        except ActionError:
            raise
        except Exception as exc:  # broken is no effect, and the thread goes on
            if isinstance(exc, DBAPIError) and is_lost(exc):
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

    def _beside(self, connection: Connection, name: str, number: int, plan_id: str) -> Iterator[dict[str, Any]]:
        """Give the arguments of the other calls of an action in a plan, as they are now."""
        plan = journal.plan(connection, plan_id)
        opened = {request.tool_call_id: request for request in journal.requests_of_plan(connection, plan_id)}
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
            if call["name"] != name or is_own or (request is not None and request.state in _NOT_DONE):
                continue
            arguments = request.arguments if request else call["args"]
            try:
                yield read_action(self.actions[name], arguments or {}).model_dump(mode="json")
            except ActionError:
                continue  # refused when its turn comes


#: States in which an action moved nothing, and never will.
_NOT_DONE = ("rejected", "refused", "failed", "withdrawn", "expired")


def requester_of(turn: journal.Turn) -> Principal:
    """Give who requested a turn, as it was stored when the turn began."""
    return Principal(
        turn.requested_by,
        kind="local" if turn.requester_kind == "local" else "person",
        roles=frozenset(turn.requester_roles),
    )


def changed_material(before: dict[str, Any], after: Facts) -> list[str]:
    """Name the material facts that are not what they were."""
    now = after.model_dump(mode="json")
    return sorted(name for name in type(after).material() if before.get(name) != now[name])
