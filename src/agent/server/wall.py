"""The server's wall: who may do what, before anything runs. The gate holds without it; see `clearance`.

What is refused here is counted, kept in a table of few rows a minute, and its totals are chained.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

from langgraph_sdk import Auth
from sqlalchemy.engine import Connection

from agent import wiring
from agent.clearance import journal
from agent.clearance.answers import Unclear, parse
from agent.clearance.approval import IS_RESUME, IS_TAKEN
from agent.clearance.arrival import Arriving
from agent.clearance.principal import Principal
from agent.clearance.refusals import NOBODY, Floods, note_refused
from agent.db.engine import DatabaseUnavailable
from agent.identity import RECEIVED_MS, principal_of
from agent.loglines import logger_of
from agent.server.failures import unavailable
from agent.server.lifetimes import opened_with
from agent.server.orders import ForbiddenError, Order, read_order
from agent.server.received import received_ms
from agent.server.sizes import TooMuchError, check_run, check_thread
from agent.server.tokens import NotSignedInError, SignedIn, TokenReader
from agent.server.unfinished import Unfinished
from agent.settings import Settings
from agent.wiring import Wiring

logger = logger_of(__name__)

GRAPH = "clearance"
Filter = dict[str, Any]


@dataclass(frozen=True)
class Wall:
    """The wall of one process."""

    parts: Wiring
    tokens: TokenReader
    floods: Floods
    unfinished: Unfinished

    # Who you are

    async def sign_in(self, headers: Any) -> SignedIn:
        """Give who sends these headers.

        Raises:
            Auth.exceptions.HTTPException: 401, without a reason that helps to forge a token.
        """
        token = _token(headers)
        try:
            known = await self.tokens.read(token)
        except NotSignedInError as exc:
            logger.info("not signed in: %s", exc)
            await self._count(NOBODY, "not signed in")
            raise Auth.exceptions.HTTPException(status_code=401, detail=exc.told or SIGN_IN) from None
        opened_with(self.tokens, token, known.until)
        return known

    def person(self, user: Any) -> Principal:
        """Give the principal that a user of the server's authentication is."""
        return principal_of(user, self.parts.settings)

    def is_approver(self, person: Principal) -> bool:
        """Tell whether somebody holds a role of the policy: they read all threads of this graph and may answer."""
        return person.kind == "system" or self.parts.gate.judge.policy.has_part(person)

    # What you may

    def threads_of(self, person: Principal) -> Filter:
        """Filter for the threads that somebody may read."""
        return {"graph_id": GRAPH} if self.is_approver(person) else self.own_threads(person)

    @staticmethod
    def own_threads(person: Principal) -> Filter:
        """Filter for somebody's own threads."""
        return {"owner": person.id}

    async def refuse(self, person: Principal, cause: str, sentence: str, **about: Any) -> NoReturn:
        """Count a refusal.

        Raises:
            Auth.exceptions.HTTPException: always; 403 unless `status` says otherwise.
        """
        status = about.pop("status", 403)
        await self._count(person.id, cause, **about)
        raise Auth.exceptions.HTTPException(status_code=status, detail=sentence)

    async def let_run(self, person: Principal, value: dict[str, Any]) -> Filter | None:
        """Let a run in, with its answers taken, or refuse it; give the filter that its thread must match.

        Raises:
            Auth.exceptions.HTTPException: 403, 409 or 422 with what is wrong, 429 too often, 503 no database.
        """
        if self.floods.is_flood(person.id):
            # Nothing is looked at and nothing written: a flood must not hold the log's lock.
            self.floods.count(person.id, "flood")
            raise Auth.exceptions.HTTPException(status_code=429, detail="Too many refused calls; wait a minute.")
        if person.kind != "system":
            await self.check_size(person, check_run, value, thread_id=_thread_id(value))
        try:
            order = read_order(value, may_debug=self.may_debug)
        except ForbiddenError as exc:
            await self.refuse(person, exc.cause, str(exc), thread_id=_thread_id(value), attempt=_attempt(value))
        # Always: on LangGraph's server a run inherits what its thread's last run was stamped with.
        stamps = {IS_TAKEN: False, IS_RESUME: any(name is None for name, _ in order.answers)}
        if order.configurable is not None:
            order.configurable.update(stamps)
        if person.kind == "system":
            return None
        take_back = await self._count_run(person, order)
        try:
            return await self._let_in(person, value, order)
        except BaseException:
            take_back()
            raise

    async def _let_in(self, person: Principal, value: dict[str, Any], order: Order) -> Filter | None:
        if order.configurable is not None:
            order.configurable[RECEIVED_MS] = received_ms()
        try:
            # On Aegra a thread is its maker's alone, and for the id of a deleted one a run would make another.
            if not order.takes_filters and not await self.may_speak(person, order.thread_id):
                await self.refuse(person, "thread", _NOT_ANYBODYS, thread_id=order.thread_id)
            is_answer = await self._take_answers(person, order)
            # What brings neither words nor an answer decides nothing, and could take a question out of sight.
            is_theirs = is_answer or (self.may_debug and not order.has_words and not order.answers)
            if not is_theirs and not await self.may_speak(person, order.thread_id):
                await self.refuse(person, "thread", _NOT_YOURS, thread_id=order.thread_id)
            if order.has_words or (order.answers and not is_answer):
                kept = await self.parts.database.read(lambda c: journal.size_of_words(c, order.thread_id))
                await self.check_size(person, check_thread, kept, thread_id=order.thread_id)
        except DatabaseUnavailable as exc:
            raise Auth.exceptions.HTTPException(status_code=503, detail=unavailable()) from exc
        if not order.takes_filters:
            return None
        if value.get("if_not_exists") == "create":
            # For a thread that this run makes; where there is one these are the run's own metadata, and say nothing.
            value["metadata"].update(owner=person.id, graph_id=GRAPH)
        return self.threads_of(person) if is_theirs else self.own_threads(person)

    @property
    def may_debug(self) -> bool:
        """Tell whether Studio's tools work here: where nobody signs in, or one person plays both parts."""
        return self.parts.settings.auth == "off" or self.parts.settings.auth_both_parts

    async def check_size(
        self, person: Principal, check: Callable[[Any, Settings], None], given: Any, **about: Any
    ) -> None:
        """Refuse what is larger than may be sent.

        Raises:
            Auth.exceptions.HTTPException: 413 or 422.
        """
        try:
            check(given, self.parts.settings)
        except TooMuchError as exc:
            await self.refuse(person, "size", str(exc), status=exc.status, **about)

    async def _count_run(self, person: Principal, order: Order) -> Callable[[], None]:
        """Count a run as one of somebody's; give what takes it back."""
        # Where nobody signs in all are one: a bound of one person would be everybody's.
        if person.kind == "local":
            return lambda: None
        take_back = await self.unfinished.take(person.id, order.thread_id, order.run_id)
        if take_back is None:
            said = f"You have {self.unfinished.most} runs that have not ended; wait for one of them, or cancel it."
            await self.refuse(person, "runs", said, status=429, thread_id=order.thread_id)
        return take_back

    async def _take_answers(self, person: Principal, order: Order) -> bool:
        """Take the answers of a run, or refuse them; False where it brings none, or words to the agent in their place.

        What is refused is recorded as that, and nothing else of the run is: no run decides on it again, later.
        """
        if not order.answers:
            return False
        words = [value for _, value in order.answers if _is_words(value)]
        if words:
            unclear = next((one for value in words if isinstance(one := parse(value), Unclear)), None)
            if len(words) < len(order.answers) or unclear:
                why = unclear.why if unclear else "A run brings either words or answers."
                await self.refuse(person, "unclear", why, thread_id=order.thread_id, status=422)
            return False
        if not self.is_approver(person):
            await self.refuse(person, "role", "Who may decide holds a role of the policy; your token has none.",
                              thread_id=order.thread_id)  # fmt: skip
        started_ms = received_ms()
        arriving = [
            Arriving(order.thread_id, value, interrupt_id, order.checkpoint_id, order.run_id, started_ms)
            for interrupt_id, value in order.answers
        ]
        became = await self.parts.gate.arrive(arriving, person)
        if became.outcome != "taken":
            self.floods.count(person.id, became.outcome)
            raise Auth.exceptions.HTTPException(status_code=became.status, detail=became.sentence)
        if order.configurable is not None:
            order.configurable[IS_TAKEN] = True
        return True

    async def may_speak(self, person: Principal, thread_id: str) -> bool:
        """Tell whether a thread is nobody else's in the journal, which outlives the server's row of it."""
        try:
            owner = await self.parts.database.read(lambda connection: _owner(connection, thread_id))
        except DatabaseUnavailable as exc:
            raise Auth.exceptions.HTTPException(status_code=503, detail=unavailable()) from exc
        return owner in (None, person.id)

    async def _count(
        self, person: str, cause: str, *, thread_id: str | None = None, attempt: str | None = None
    ) -> None:
        is_written = self.floods.count(person, cause)
        if not is_written:
            return

        def work(connection: Connection) -> None:
            now = datetime.now(UTC)
            note_refused(connection, now, person, cause, thread_id=thread_id, attempt=attempt)

        try:
            await self.parts.database.write(work)
        except DatabaseUnavailable:
            logger.warning("a refusal of %r was not written: the database does not answer", person)

    async def keep_counts(self) -> None:
        """Write what was only counted, twice a minute and at the end, until cancelled. Each process has its own."""
        try:
            while True:
                await asyncio.sleep(_WRITE_EVERY_S)
                await self.write_counts()
        finally:
            await self.write_counts()

    async def write_counts(self) -> None:
        """Write what was only counted in a flood."""
        counted = self.floods.take()
        if not counted:
            return

        def work(connection: Connection) -> None:
            for (person, cause), times in counted.items():
                note_refused(connection, datetime.now(UTC), person, cause, times=times)

        try:
            await self.parts.database.write(work)
        except (DatabaseUnavailable, RuntimeError) as exc:  # its threads may have ended before us
            logger.warning("refusals were not written: %s", exc)


_WRITE_EVERY_S = 30
SIGN_IN = "Sign in with a valid token, as Authorization: Bearer or x-api-key."
_NOT_ANYBODYS = "This is another person's thread: decide in the inbox or through the approvals API."
_NOT_YOURS = "This is another person's thread: who approves may answer what is open in it, and nothing else."


def _owner(connection: Connection, thread_id: str) -> str | None:
    turns = journal.turns_of(connection, thread_id)
    return turns[0].requested_by if turns else None


def _token(headers: Any) -> str:
    """Read the token: `Authorization: Bearer`, else `x-api-key`. Bytes on LangGraph's server, text on Aegra."""
    found = {_text(name).lower(): _text(value) for name, value in dict(headers).items()}
    scheme, _, token = found.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return found.get("x-api-key", "").strip()


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _is_words(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"messages"}


def _thread_id(value: dict[str, Any]) -> str | None:
    thread_id = value.get("thread_id")
    return str(thread_id)[:64] if thread_id is not None else None


def _attempt(value: dict[str, Any]) -> str:
    inner = value.get("kwargs", value)
    command = inner.get("command") if isinstance(inner, dict) else None
    return f"command with {', '.join(sorted(map(str, command)))}"[:200] if isinstance(command, dict) else "run"


_made: list[Wall] = []


async def wall() -> Wall:
    """Give the wall of this process, made at the first call.

    Raises:
        SettingsError, PolicyError: see `wiring.wire`.
    """
    if not _made:
        parts = await wiring.wired()
        made = await asyncio.to_thread(build_wall, parts)
        if not _made:
            _made.append(made)
    return _made[0]


def build_wall(parts: Wiring) -> Wall:
    """Build the wall of these parts. Blocks: reads or makes the development secret.

    Raises:
        SettingsError: no identity provider is set, and no secret for development.
    """
    settings = parts.settings
    is_signed_here = settings.auth == "on" and not settings.auth_jwks_url
    secret = wiring.auth_secret(settings) if is_signed_here else None
    return Wall(
        parts,
        TokenReader(settings, secret),
        Floods(lambda: datetime.now(UTC)),
        Unfinished(settings.max_unfinished_runs),
    )
