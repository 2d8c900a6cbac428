"""The graph: receive → model ⇄ dispatch → tools → dispatch. Importing it does nothing; parts are wired at first use.

State and `Send` payloads point into the journal. Nothing in them is believed: a client's `command.update` writes them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Annotated, Any, cast

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, RemoveMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Send, StateUpdate
from typing_extensions import TypedDict  # pydantic draws no schema of typing's own before Python 3.12

from agent.brought import brought
from agent.clearance.answers import NewMessage
from agent.clearance.approval import IS_RESUME
from agent.clearance.canonical import clean, key
from agent.clearance.errors import NotOursError
from agent.clearance.finished import with_receipts
from agent.clearance.gate import Caller
from agent.clearance.intake import request_id
from agent.clearance.journal import Plan, Turn
from agent.clearance.records import Call, Truth
from agent.clearance.unread import unparsed_call
from agent.hearing import hear
from agent.identity import caller_of, is_durable, steps_left, thread_of
from agent.model import ModelUnavailable, speak
from agent.tools.actions import Site, site
from agent.transcript import (
    OVERTAKEN,
    Known,
    corrections,
    disbelieved,
    for_model,
    from_json,
    ids_of,
    notice,
    receipt_message,
    result,
    result_id,
    results_in,
    shallow,
    to_json,
    true_transcript,
    unanswered,
    unheard,
)
from agent.wiring import Wiring, wired

Assemble = Callable[[], Awaitable[Wiring]]


class Input(TypedDict):
    """What a client sends."""

    messages: Annotated[list[AnyMessage], add_messages]


def _last(_: Any, new: str) -> str:
    return new


class State(Input):
    """What a thread keeps."""

    #: Points to the turn in the journal. The last value wins: two updates by clients while a question is open are kept
    #: with it, and without a reducer every later run of the thread would fail on them.
    turn_id: Annotated[str, _last]


class CallState(TypedDict):
    """What `dispatch` sends to `tools`: a pointer to one call, and the revision that a question about it shows."""

    message_id: str
    tool_call_id: str
    revision: int


def build_graph(assemble: Assemble = wired) -> CompiledStateGraph[State, None, Input, Input]:
    """Compile the graph over the parts that `assemble` gives; tests give their own."""
    nodes = _Nodes(assemble)
    builder = StateGraph(State, input_schema=Input, output_schema=Input)
    builder.add_node("receive", nodes.receive, destinations=("model", "dispatch", END))
    builder.add_node("model", nodes.model, destinations=("dispatch", END))
    builder.add_node("dispatch", nodes.dispatch, destinations=("tools", "model", END))
    builder.add_node("tools", nodes.tools, destinations=("dispatch", "receive"))
    builder.add_edge(START, "receive")
    compiled = builder.compile(name="clearance")
    return _Graph(**{name: value for name, value in vars(compiled).items() if name != "__orig_class__"})


class _Graph(CompiledStateGraph[State, None, Input, Input]):
    """Tells the gate, where no server's door does, whether a run brought an answer that names no question.

    One that an earlier run left behind is not this person's. Whose words stand in the state is told without it.
    And what somebody who debugs writes in a node's name leads on from there, as it does in graphs with fixed edges.
    """

    def stream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> Iterator[Any]:
        return super().stream(input, _told(input, config), **options)

    def astream(self, input: Any, config: RunnableConfig | None = None, **options: Any) -> AsyncIterator[Any]:
        return super().astream(input, _told(input, config), **options)

    def bulk_update_state(self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]) -> RunnableConfig:
        return super().bulk_update_state(config, _led_on(supersteps))

    async def abulk_update_state(
        self, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]
    ) -> RunnableConfig:
        return await super().abulk_update_state(config, _led_on(supersteps))


#: Where the journal is asked what comes next after each node.
_AFTER = {"receive": "dispatch", "model": "dispatch", "dispatch": "model", "tools": "dispatch"}


def _led_on(supersteps: Sequence[Sequence[StateUpdate]]) -> list[list[StateUpdate]]:
    return [
        [
            update._replace(values=cast("Any", Command(update=update.values, goto=_AFTER[update.as_node])))
            if update.as_node in _AFTER and not isinstance(update.values, Command)
            else update
            for update in superstep
        ]
        for superstep in supersteps
    ]


def _told(given: Any, config: RunnableConfig | None) -> RunnableConfig:
    configurable = (config or {}).get("configurable", {})
    if configurable.get("__pregel_task_id"):  # inside another graph, which hands its own answers down
        return config or {}
    is_resume = isinstance(given, Command) and given.resume is not None
    return {**(config or {}), "configurable": {IS_RESUME: is_resume, **configurable}}


class _Nodes:
    def __init__(self, assemble: Assemble) -> None:
        self._assemble = assemble

    async def receive(self, state: State, config: RunnableConfig) -> Command[str]:
        """Open the turn, withdraw what was left open, and put the transcript right."""
        parts = await self._assemble()
        caller = caller_of(config, parts.settings)
        thread_id = thread_of(config)
        found = state.get("messages", [])
        own = await brought(config, found)
        is_signed = caller.principal.kind != "system"
        notices: list[AnyMessage] = []
        while True:
            truth = await parts.gate.records.truth(thread_id, ids_of(found))
            heard = hear(thread_id, caller.run_id, found, own, truth)
            unsigned = [] if is_signed else ids_of(heard.said)
            if not unsigned and not heard.strays:
                break
            # What nobody wrote who is signed in, or nobody in this run, goes: it would count as the words of whoever
            # writes next.
            told = await parts.gate.tell_unheard(
                thread_id, [*heard.strays, *unsigned], ids_of(found), caller, own=len(unsigned)
            )
            if told is not None:
                notices = [notice(*one) for one in told]
                break
        if heard.changed:
            notices.append(notice(*await parts.gate.tell_put_right(thread_id, heard.changed, caller)))
        if not heard.said or not is_signed:
            return await _go_on(parts, thread_id, state, [*heard.true, *notices])
        opened = await _open_turn(parts, config, caller, heard.said, found)
        if opened is None:
            # Another run at once found these words, and said that they are not heard. So they are not.
            told = await parts.gate.tell_unheard(thread_id, ids_of(heard.said), ids_of(found), caller) or []
            notices += [notice(*one) for one in told]
            return await _go_on(parts, thread_id, state, [*heard.true, *notices])
        turn, truth = opened
        # As they are stored: a run that is retried from nothing finds its words there under their first ids.
        stored = _stored(turn)
        if ids_of(stored) != ids_of(heard.said) and set(ids_of(stored)) <= set(ids_of(heard.true)):
            # After a crash the server ran this run again in a thread that had gone on: what it says is heard. Put at
            # the end it would be answered, and done, a second time.
            return await _go_on(parts, thread_id, state, [*heard.true, *notices])
        present = {message.id for message in stored}
        messages = [*(message for message in heard.true if message.id not in present), *stored]
        # Again, now that what was open is withdrawn: every call has a result before the model reads.
        true = true_transcript(messages, truth)
        at = len(true) - len(stored)
        return Command(
            update={"turn_id": turn.turn_id, **_rewrite([*true[:at], *notices, *true[at:]], found)}, goto="model"
        )

    async def model(self, state: State, config: RunnableConfig) -> Command[str]:
        """Let the model speak and store what it said before anything follows; run again, give what is stored."""
        parts = await self._assemble()
        thread_id = thread_of(config)
        messages = state["messages"]
        turn, plans, truth = await parts.gate.records.look(thread_id, _turn_id(state), ids_of(messages))
        if turn is None:
            return Command(goto=END)
        # Written into the state past `receive`: nobody knows who said it, so it must not pass as the requester's.
        forged, wrong = unheard(messages, truth), disbelieved(messages, Known.of(truth))
        caller, told = caller_of(config, parts.settings), list[BaseMessage]()
        if forged:
            told += [RemoveMessage(id=message.id or "") for message in forged]
            unsaid = await parts.gate.tell_unheard(thread_id, ids_of(forged), ids_of(messages), caller)
            if unsaid is None:  # whose words they are began a turn, and that ended this one
                return Command(update={"messages": [AIMessage(OVERTAKEN)]}, goto=END)
            told += [notice(*one) for one in unsaid]
        if wrong:
            told += await _put_right(parts, thread_id, wrong, Known.of(truth), caller)
        position = _position(plans, messages)
        if position < len(plans):
            return _spoken(plans[position], told)
        if turn.state != "open":
            return Command(update={"messages": [*told, AIMessage(OVERTAKEN)]}, goto=END)
        if plans and _is_undecided(parts, plans[-1], messages, truth, config):
            # A client's goto: the model speaks when every call has its result.
            return Command(update={"messages": told}, goto="dispatch")
        has_made = sum(len((plan.message or {}).get("tool_calls") or []) for plan in plans)
        try:
            if (limit := _limit(parts, len(plans), has_made)) is not None:
                raise _Enough(limit)
            answer = await speak(
                parts.model,
                parts.toolbox.all,
                for_model(true_transcript(messages, truth), truth),
                prompt=parts.prompt,
                context_tokens=parts.settings.model_context_tokens,
                timeout_s=parts.settings.model_timeout_s,
            )
            if answer.tool_calls and steps_left(config) < _CYCLE:
                raise _Enough(_NO_ROOM)
        except (ModelUnavailable, _Enough) as exc:
            answer = AIMessage(with_receipts(str(exc), await parts.gate.records.receipts(turn.turn_id)))
        message_id = answer.id or ""
        if not message_id or any(message.id == message_id for message in messages):
            # An endpoint's own id that is somebody else's here would take the place of what they said.
            message_id = key("message", turn.turn_id, str(position))
        answer = shallow(answer).model_copy(update={"id": message_id})
        plan = await parts.gate.store_message(
            turn,
            position=position,
            message_id=message_id,
            message=to_json(answer),
        )
        if plan is None:
            return Command(update={"messages": told}, goto="dispatch")  # the turn is over, or goes on elsewhere
        return _spoken(plan, told)

    async def dispatch(self, state: State, config: RunnableConfig) -> Command[str]:
        """Open a request for every action of the stored message, then send what comes next."""
        parts = await self._assemble()
        gate, toolbox = parts.gate, parts.toolbox
        thread_id = thread_of(config)
        caller = caller_of(config, parts.settings)
        messages = state["messages"]
        turn, plans, outcomes = await gate.records.turn(thread_id, _turn_id(state))
        position = _position(plans, messages)
        if turn is None:
            await gate.note_forged(thread_id, _turn_id(state), caller)
            return Command(goto=END)
        if position == 0:
            return Command(goto="model")
        plan = plans[position - 1]
        if plan.message is None:
            return Command(goto=END)
        await _note_forged_calls(parts, thread_id, messages, plan, caller)
        settled: list[BaseMessage] = []
        known_here = Known({one.message_id: one for one in plans}, outcomes)
        # Of this turn only, and nothing is taken out: a client's goto lets `model` run beside this, and it does that.
        own = [message for message in messages if message.id in known_here.plans or message.id in known_here.results]
        if wrong := disbelieved(own, known_here):
            settled += await _put_right(parts, thread_id, wrong, known_here, caller)
        present, durable = results_in(messages), is_durable(config)
        calls = from_json(plan.message).tool_calls
        if not calls and position == len(plans):
            return Command(update={"messages": settled}, goto=END)
        lookups: list[Send] = []
        actions: list[dict[str, Any]] = []
        for call in calls:
            asked = cast("dict[str, Any]", call)
            is_present = result_id(plan, asked["id"]) in present
            asked_id = request_id(plan, asked["id"])
            if call["name"] in toolbox.actions or asked_id in outcomes:
                # What the state says of an action is not believed; its receipt is.
                if not is_present or (durable and outcomes.get(asked_id) is None):
                    actions.append(asked)
            elif is_present:
                continue
            elif (unusable := _unusable(parts, asked)) is not None:
                settled.append(result(plan, asked, unusable, is_error=True))
            else:
                lookups.append(_send(plan, asked["id"], 0))
        if actions and not durable:
            await gate.note_undurable(thread_id, turn.turn_id, caller, [call["name"] for call in actions])
            settled += [result(plan, call, _UNDURABLE, is_error=True) for call in actions]
            actions = []
        if not actions:
            return Command(update={"messages": settled}, goto=lookups or "model")
        standing = await gate.advance(thread_id, plan.message_id)
        known = {request.tool_call_id for request in standing.requests}
        settled += [
            receipt_message(plan, call, standing.receipts[call["id"]])
            if call["id"] in standing.receipts
            else result(plan, call, _UNOPENED, is_error=True)
            for call in actions
            if call["id"] in standing.receipts or call["id"] not in known
        ]
        if lookups:
            return Command(update={"messages": settled}, goto=lookups)
        if standing.next is None:
            return Command(update={"messages": settled}, goto="model")
        if standing.next.approvals > 1 and (given := await gate.tell_given(standing.next)):
            # Any answer that is taken is a success to the page that sent it.
            settled.append(notice(*given))
        following = _send(plan, standing.next.tool_call_id, standing.next.revision)
        return Command(update={"messages": settled}, goto=[following])

    async def tools(self, state: CallState, config: RunnableConfig) -> Command[str]:
        """Run one call of the journal. Runs from the top on every resume, so nothing here may write before the gate."""
        parts = await self._assemble()
        thread_id = thread_of(config)
        caller = caller_of(config, parts.settings)
        try:
            pointer = (clean(str(state["message_id"])), clean(str(state["tool_call_id"])), int(state["revision"]))
            call = Call(thread_id, *pointer)
            plan, stored, question = await parts.gate.records.call(call)
        except (NotOursError, KeyError, TypeError, ValueError):
            await parts.gate.note_forged(thread_id, str(state)[:200], caller)
            return Command(goto="dispatch")
        tool = parts.toolbox.lookups.get(stored["name"])
        token = None
        if tool is None:
            tool = parts.toolbox.actions.get(stored["name"])
            if tool is None or question is None or not is_durable(config):
                return Command(goto="dispatch")
            token = site.set(Site(question, call.revision, caller))
        try:
            outcome = await tool.ainvoke({**stored, "type": "tool_call"}, config)
        finally:
            if token:
                site.reset(token)
        if isinstance(outcome, Command):
            return outcome
        if isinstance(outcome.artifact, NewMessage):
            return await _said_instead(parts, config, caller, outcome.artifact)
        answered = result(
            plan,
            stored,
            outcome.content,
            is_error=outcome.status == "error",
            artifact=getattr(outcome, "artifact", None),
        )
        return Command(update={"messages": [answered]}, goto="dispatch")


class _Enough(Exception):
    """The model may not go on in this turn; the text is one sentence for the person."""


#: Steps of the graph from calls to the next word: model, dispatch, tools, dispatch, model.
_CYCLE = 5
_NO_ROOM = (
    "I stopped before I called anything more: the recursion_limit that this run was given leaves no room to carry it"
    " out and to tell you. Please ask again with a higher one, or none."
)


def _limit(parts: Wiring, steps: int, calls: int) -> str | None:
    """Say why the model may not speak again in a turn in which it did so many times, or None."""
    settings = parts.settings
    if steps < settings.model_steps and calls < settings.model_calls:
        return None
    which = "MODEL_STEPS" if steps >= settings.model_steps else "MODEL_CALLS"
    return (
        f"I stopped: in this turn I spoke {steps} times and made {calls} calls without coming to an end, and {which}"
        " allows no more. Please ask for less at once."
    )


_UNOPENED = "Not done: it was asked for in a part of the conversation that is over."
_UNDURABLE = "Not done: this run keeps no thread, so nothing with an effect can be cleared or done in it."


async def _go_on(parts: Wiring, thread_id: str, state: State, messages: list[AnyMessage]) -> Command[str]:
    """Answer nothing new: what is open in the thread goes on where it was."""
    turn = await parts.gate.records.open_turn_of(thread_id)
    return Command(
        update={
            "turn_id": turn.turn_id if turn else _turn_id(state),
            **_rewrite(messages, state.get("messages", [])),
        },
        goto="dispatch" if turn else END,
    )


async def _said_instead(parts: Wiring, config: RunnableConfig, caller: Caller, new: NewMessage) -> Command[str]:
    """Hear what came in place of an answer here, where it is certain whose it is; `receive` goes on from there."""
    thread_id = thread_of(config)
    truth = await parts.gate.records.truth(thread_id, ids_of(new.messages))
    heard = hear(thread_id, caller.run_id, [], new.messages, truth)
    if not heard.said or caller.principal.kind == "system":
        return Command(goto="receive")
    opened = await _open_turn(parts, config, caller, heard.said, None)
    assert opened is not None  # they do not stand in the state, so no other run found them there
    turn = opened[0]
    return Command(update={"turn_id": turn.turn_id, "messages": _stored(turn)}, goto="receive")


async def _open_turn(
    parts: Wiring, config: RunnableConfig, caller: Caller, said: list[HumanMessage], found: Sequence[AnyMessage] | None
) -> tuple[Turn, Truth] | None:
    return await parts.gate.open_turn(
        thread_id=thread_of(config),
        run_id=caller.run_id,
        messages=[{"id": message.id, "content": message.content} for message in said],
        requester=caller.principal,
        is_durable=is_durable(config),
        message_ids=ids_of(found or []),
        is_in_state=found is not None,
    )


def _stored(turn: Turn) -> list[HumanMessage]:
    return [HumanMessage(message["content"], id=message["id"]) for message in turn.messages]


def _turn_id(state: State) -> str:
    """Give the pointer to the turn, as text that a database takes: a client may have written anything there."""
    return str(clean(str(state.get("turn_id", ""))))


def _rewrite(true: list[AnyMessage], found: list[AnyMessage] | None = None) -> dict[str, Any]:
    """Update the state to `true`, or not at all when it says the same already."""
    if found is not None and [_face(message) for message in true] == [_face(message) for message in found]:
        return {}
    return {"messages": [RemoveMessage(id=REMOVE_ALL_MESSAGES), *true]}


def _face(message: AnyMessage) -> tuple[Any, ...]:
    calls = message.tool_calls if isinstance(message, AIMessage) else None
    return (message.type, message.id, message.content, calls)


def _position(plans: list[Plan], messages: list[AnyMessage]) -> int:
    """Count the messages of the turn, from its first, that this state has."""
    ids = {message.id for message in messages}
    return next((at for at, plan in enumerate(plans) if plan.message_id not in ids), len(plans))


def _spoken(plan: Plan, before: Sequence[BaseMessage] = ()) -> Command[str]:
    if plan.message is None:
        return Command(goto=END)
    said = from_json(plan.message)
    return Command(update={"messages": [*before, said]}, goto="dispatch" if said.tool_calls else END)


def _is_undecided(parts: Wiring, plan: Plan, messages: list[AnyMessage], truth: Truth, config: RunnableConfig) -> bool:
    """Tell whether a call of a plan waits for something. In a run that keeps no thread, no action does."""
    if unanswered(plan, messages, truth):
        return True
    calls = (plan.message or {}).get("tool_calls", [])
    return not plan.opened and is_durable(config) and any(call["name"] in parts.toolbox.actions for call in calls)


def _send(plan: Plan, tool_call_id: str, revision: int) -> Send:
    return Send("tools", CallState(message_id=plan.message_id, tool_call_id=tool_call_id, revision=revision))


def _unusable(parts: Wiring, call: dict[str, Any]) -> str | None:
    """Say why a call that is no action cannot be run as a look-up, or None when it can."""
    if call["name"] not in parts.toolbox.lookups:
        return f"There is no tool {call['name']!r}. There are: {parts.toolbox.names()}."
    return unparsed_call(call)


async def _put_right(
    parts: Wiring, thread_id: str, wrong: list[AnyMessage], known: Known, caller: Caller
) -> list[BaseMessage]:
    told = await parts.gate.tell_put_right(thread_id, ids_of(wrong), caller)
    return [*corrections(wrong, known), notice(*told)]


async def _note_forged_calls(
    parts: Wiring, thread_id: str, messages: list[AnyMessage], plan: Plan, caller: Caller
) -> None:
    """Note calls behind the model's last message that the model never made; they lead nowhere."""
    at = next(index for index, message in enumerate(messages) if message.id == plan.message_id)
    for message in messages[at + 1 :]:
        if isinstance(message, AIMessage) and message.tool_calls:
            await parts.gate.note_forged(thread_id, message.id or "", caller)


graph = build_graph()
