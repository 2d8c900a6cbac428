"""The server's wall: who may do what, before anything runs. The gate holds without it; see `clearance`.

What is refused here is counted, see `refusal_counts`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NoReturn

from langgraph_sdk import Auth

from clearance.application import the_parts
from clearance.errors import DatabaseUnavailable
from clearance.gate.answers import Unclear, parse
from clearance.gate.door import AMBIGUOUS, Arriving
from clearance.gate.question import IS_RESUME, IS_TAKEN
from clearance.graph.identity import CALLER, RECEIVED_MS, caller_seal, principal_of
from clearance.journal.questions import has_question
from clearance.journal.refusals import NOBODY, Floods
from clearance.journal.turns import read_graphs, read_placed, size_of_words
from clearance.key_files import auth_secret
from clearance.loglines import logger_of
from clearance.parts import Parts
from clearance.principal import Principal
from clearance.server import graphs
from clearance.server.entry.homes import Home, Homes, graph_of_run
from clearance.server.entry.received import received_ms
from clearance.server.entry.refusal_counts import RefusalCounts
from clearance.server.entry.run_options import ForbiddenError, Order, read_order
from clearance.server.entry.sizes import TooMuchError, check_run, check_thread
from clearance.server.entry.token_lifetimes import opened_with
from clearance.server.entry.tokens import NotSignedInError, SignedIn, TokenReader
from clearance.server.entry.unfinished_runs import UnfinishedRuns
from clearance.server.failures import unavailable
from clearance.server.interrupts import is_ours, waiting_with
from clearance.server.upkeep.left_turns import withdraw_left
from clearance.settings import Settings

logger = logger_of(__name__)

Filter = dict[str, Any]


@dataclass(frozen=True)
class Wall:
    """The wall of one process."""

    parts: Parts
    tokens: TokenReader
    floods: Floods
    counts: RefusalCounts
    unfinished: UnfinishedRuns
    homes: Homes

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
            await self.counts.note(NOBODY, "not signed in")
            raise Auth.exceptions.HTTPException(status_code=401, detail=exc.told or SIGN_IN) from None
        opened_with(self.tokens, token, known.until)
        return known

    def person(self, user: Any) -> Principal:
        """Give the principal that a user of the server's authentication is."""
        return principal_of(user, self.parts.settings)

    def is_approver(self, person: Principal) -> bool:
        """Tell whether somebody holds a role of the policy: they read all threads of gated graphs and may answer."""
        return person.kind == "system" or self.parts.gate.judge.policy.has_part(person)

    # What you may

    def threads_of(self, person: Principal) -> Filter | None:
        """Filter for the threads that somebody may read: their own of any graph, and who approves all of gated ones."""
        if person.kind == "system":
            return None
        own = self.own_threads(person)
        if not self.is_approver(person):
            return own
        either = [own, *({"graph_id": name} for name in graphs.gated())]
        return {"$or": either} if len(either) > 1 else own  # both servers want two at least

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
        await self.counts.note(person.id, cause, **about)
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
        try:
            graph = await graph_of_run(value)
        except DatabaseUnavailable as exc:
            raise Auth.exceptions.HTTPException(status_code=503, detail=unavailable()) from exc
        if graph is not None and graph in graphs.others():
            return None if person.kind == "system" else await self._let_others_run(person, value, graph)
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
            is_system = person.kind == "system"
            order.configurable[CALLER] = "" if is_system else caller_seal(self.parts.gate.keys, order.thread_id, person)
            if not order.takes_filters:
                order.configurable["graph_id"] = graph  # nobody sets it there: the journal notes it with the turn
        if person.kind == "system":
            return None
        take_back = await self._count_run(person, order.thread_id, order.run_id)
        try:
            return await self._let_in(person, value, order, graph)
        except BaseException:
            take_back()
            raise

    async def _let_in(self, person: Principal, value: dict[str, Any], order: Order, graph: str | None) -> Filter | None:
        if order.configurable is not None:
            order.configurable[RECEIVED_MS] = received_ms()
        await self.check_graph(person, order.thread_id, graph)
        try:
            # On Aegra a thread is its maker's alone, and for the id of a deleted one a run would make another.
            if not order.takes_filters and not await self.may_speak(person, order.thread_id):
                await self.refuse(person, "thread", _NOT_ANYBODYS, thread_id=order.thread_id)
            order = await self._heard_as_words(person, value, order)
            is_answer = await self._take_answers(person, order)
            # What brings neither words nor an answer decides nothing, and could take a question out of sight.
            is_theirs = is_answer or (self.may_debug and not order.has_words and not order.answers)
            if not is_theirs and not await self.may_speak(person, order.thread_id):
                await self.refuse(person, "thread", _NOT_YOURS, thread_id=order.thread_id)
            if order.has_words or (order.answers and not is_answer):
                kept = await self.parts.database.read(lambda c: size_of_words(c, order.thread_id))
                await self.check_size(person, check_thread, kept, thread_id=order.thread_id)
        except DatabaseUnavailable as exc:
            raise Auth.exceptions.HTTPException(status_code=503, detail=unavailable()) from exc
        await self._begin(person, order.thread_id, graph)
        if not order.takes_filters:
            return None
        if value.get("if_not_exists") == "create":
            _say_whose(value, person, graph)
        return self.threads_of(person) if is_theirs else self.own_threads(person)

    # Graphs: a thread belongs to one of them

    async def check_graph(self, person: Principal, thread_id: str, graph: str | None) -> None:
        """Refuse what would run in a thread of another graph, where either is gated.

        Raises:
            Auth.exceptions.HTTPException: 409, 503 no database.
        """
        await self._refuse_unless_at_home(person, thread_id, await self._home(thread_id), graph)

    async def is_others(self, thread_id: str) -> bool:
        """Tell whether a thread is of a graph that is not gated, and none of our business.

        Raises:
            Auth.exceptions.HTTPException: 503 no database.
        """
        if not graphs.others():
            return False
        home = await self._home(thread_id)
        return not home.had_turn and home.graph in graphs.others()

    async def _home(self, thread_id: str) -> Home:
        try:
            return await self.homes.of(thread_id)
        except DatabaseUnavailable as exc:
            raise Auth.exceptions.HTTPException(status_code=503, detail=unavailable()) from exc

    async def _begin(self, person: Principal, thread_id: str, graph: str | None) -> None:
        """Let the first run of a thread say whose it is, for the next that comes before the server's row says it."""
        await self._refuse_unless_at_home(person, thread_id, self.homes.begin(person.id, thread_id, graph), graph)

    async def _refuse_unless_at_home(self, person: Principal, thread_id: str, home: Home, graph: str | None) -> None:
        if not home.takes(graph):
            await self.refuse(person, "graph", home.sentence(graph), thread_id=thread_id, status=409,
                              attempt=f"a run of {graph}"[:200])  # fmt: skip

    async def _let_others_run(self, person: Principal, value: dict[str, Any], graph: str) -> Filter | None:
        """Let in a run of a graph that is not gated, as the server has it, in a thread that is none of ours."""
        thread_id = _thread_id(value)
        if thread_id is not None:
            await self.check_graph(person, thread_id, graph)
            take_back = await self._count_run(person, thread_id, value.get("run_id"))
            try:
                await self._begin(person, thread_id, graph)
            except BaseException:
                take_back()
                raise
        if "kwargs" not in value or "method" in value:
            return None  # Aegra lets nobody but its maker at a thread
        if thread_id is None or value.get("if_not_exists") == "create":
            _say_whose(value, person, graph)
        return self.own_threads(person)

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

    async def _count_run(self, person: Principal, thread_id: str, run_id: object) -> Callable[[], None]:
        """Count a run as one of somebody's; give what takes it back."""
        # Where nobody signs in all are one: a bound of one person would be everybody's.
        if person.kind == "local":
            return lambda: None
        take_back = await self.unfinished.take(person.id, thread_id, str(run_id) if run_id is not None else None)
        if take_back is None:
            said = f"You have {self.unfinished.most} runs that have not ended; wait for one of them, or cancel it."
            await self.refuse(person, "runs", said, status=429, thread_id=thread_id)
        return take_back

    async def _take_answers(self, person: Principal, order: Order) -> bool:
        """Take the answers of a run, or refuse them; False where it brings none, or words to the agent in their place.

        What is refused is recorded as that, and nothing else of the run is: no run decides on it again, later.
        """
        if not order.answers or await self._are_own(person, order):
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
        for turn in await self.parts.gate.records.turns_asking(order.thread_id, [name for name, _ in order.answers]):
            await withdraw_left(self.parts, turn)
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

    async def _heard_as_words(self, person: Principal, value: dict[str, Any], order: Order) -> Order:
        """Give the order with words as a run's input that LangGraph's server made an answer of.

        It does with any words of the second protocol where a thread waits. An agent inside would hear them in place of
        the graph around it; a question of the graph's own would take them for consent, and nobody would hear them; and
        where several ask, the run is refused when it comes to it. Aegra does the same, and takes nothing else from
        here: there such words are refused.
        """
        if order.has_words and order.configurable is None:
            waiting = await waiting_with(order.thread_id, person.id)
            if len(waiting) > 1 or not all(is_ours(value) for value in waiting.values()):
                await self.refuse(person, "ambiguous", _NO_ANSWER, thread_id=order.thread_id, status=409)
        match order.answers:
            case [(None, words)] if _is_words(words) and order.configurable is not None and order.takes_filters:
                is_inside = bool(await self.parts.gate.records.turns_asking(order.thread_id, [None]))
                waiting = {} if is_inside else await waiting_with(order.thread_id, person.id, order.checkpoint_id)
                if is_inside or len(waiting) > 1 or not all(is_ours(value) for value in waiting.values()):
                    value["kwargs"].update(input=words, command=None)
                    order.configurable[IS_RESUME] = False
                    return replace(order, answers=[], has_words=True)
        return order

    async def _are_own(self, person: Principal, order: Order) -> bool:
        """Tell whether the answers of a run are to interrupts that are none of ours: the project's own, in the graph.

        Whoever speaks in the thread answers those. What langgraph would refuse is refused before any is recorded.
        """
        thread_id, names = order.thread_id, [name for name, _ in order.answers]
        known = await self.parts.database.read(
            lambda c: {name for name in names if name and has_question(c, thread_id, name)}
        )
        if known.issuperset(names):
            return False
        waiting = await waiting_with(thread_id, person.id, order.checkpoint_id)
        if None in names:
            if len(waiting) > 1:
                await self.refuse(person, "ambiguous", f"Not recorded: {AMBIGUOUS}", thread_id=thread_id, status=409)
            return len(waiting) == 1 and not any(is_ours(value) for value in waiting.values())
        own = {name for name in names if name not in known and name in waiting and not is_ours(waiting[name])}
        if own and len(own) < len(names):
            said = "Not recorded: one of these answers clears nothing, it is to the graph itself; send it by itself."
            await self.refuse(person, "ambiguous", said, thread_id=thread_id, status=409)
        return bool(own)

    async def may_speak(self, person: Principal, thread_id: str) -> bool:
        """Tell whether a thread is nobody else's in the journal, which outlives the server's row of it."""
        try:
            placed = await self.parts.database.read(lambda connection: read_placed(connection, thread_id))
        except DatabaseUnavailable as exc:
            raise Auth.exceptions.HTTPException(status_code=503, detail=unavailable()) from exc
        return placed is None or placed.requested_by == person.id


SIGN_IN = "Sign in with a valid token, as Authorization: Bearer or x-api-key."
_NOT_ANYBODYS = "This is another person's thread: decide in the inbox or through the approvals API."
_NO_ANSWER = (
    "The server would take these words for an answer to a question that is open in this thread, and nobody would hear"
    " them: send them as the input of a run, to /threads/{thread_id}/runs."
)
_NOT_YOURS = "This is another person's thread: who approves may answer what is open in it, and nothing else."


def _say_whose(value: dict[str, Any], person: Principal, graph: str | None) -> None:
    """Say whose a thread is that a run makes, and of which graph, over what the client wrote into its metadata.

    Where there is one these are the run's own metadata, and say nothing.
    """
    value["metadata"].update(owner=person.id, assistant_id=str(value.get("assistant_id")))
    if graph is not None:
        value["metadata"]["graph_id"] = graph


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
        SettingsError, PolicyError: see `Clearance.parts`.
    """
    if not _made:
        parts = await the_parts()
        made = await asyncio.to_thread(build_wall, parts)
        if not _made:
            _made.append(made)
    return _made[0]


#: Whether the app of ours was started in this process, and whether somebody was told that it was not.
_state = {"is_served": False, "is_told": False}


def note_served() -> None:
    """Note that the app runs in this process, which serves what the wall does not: recovery, time, the inbox."""
    _state["is_served"] = True


def tell_unless_served() -> None:
    """Tell, once, that this server was set up without the app: nothing else would."""
    if not any(_state.values()):
        _state["is_told"] = True
        logger.error(
            "NOT SERVED: this server runs without Clearance's app, so there is no inbox and no approvals API, no"
            " deadline ends, and nothing goes on after a crash; write"
            ' "http": {"app": "clearance.server.app:app"} into langgraph.json'
        )


def build_wall(parts: Parts) -> Wall:
    """Build the wall of these parts. Blocks: reads or makes the development secret.

    Raises:
        SettingsError: no identity provider is set, and no secret for development.
    """
    settings = parts.settings
    graphs.note_gated(parts.database.read_now(read_graphs))
    is_signed_here = settings.auth == "on" and not settings.auth_jwks_url
    secret = auth_secret(settings) if is_signed_here else None
    floods = Floods(lambda: datetime.now(UTC))
    return Wall(
        parts,
        TokenReader(settings, secret),
        floods,
        RefusalCounts(parts.database, floods),
        UnfinishedRuns(settings.max_unfinished_runs),
        Homes(parts.database),
    )
