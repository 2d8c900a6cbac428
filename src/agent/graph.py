"""The graph: receive → model ⇄ dispatch → tools → dispatch. Importing it does nothing; the parts are wired at first use.

State and `Send` payloads point into the journal. Nothing in them is believed: a client's `command.update` can write them.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict, cast

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES, add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Send

from agent.clearance.canonical import clean, key
from agent.clearance.errors import NotOursError
from agent.clearance.gate import Call, Caller
from agent.clearance.journal import Plan
from agent.identity import caller_of, is_durable, thread_of
from agent.model import ModelUnavailable, speak, unparsed_call
from agent.tools.actions import Site, site
from agent.transcript import (
    ai_ids,
    from_json,
    message_digest,
    receipt_message,
    result,
    result_id,
    to_json,
    true_transcript,
    unanswered,
)
from agent.wiring import Wiring, wired

Assemble = Callable[[], Awaitable[Wiring]]


class Input(TypedDict):
    """What a client sends."""

    messages: Annotated[list[AnyMessage], add_messages]


class State(Input):
    """What a thread keeps."""

    #: Points to the turn in the journal.
    turn_id: str


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
    return builder.compile(name="clearance")


class _Nodes:
    def __init__(self, assemble: Assemble) -> None:
        self._assemble = assemble

    async def receive(self, state: State, config: RunnableConfig) -> Command[str]:
        """Open the turn, withdraw what was left open, and put the transcript right."""
        parts = await self._assemble()
        caller = caller_of(config, parts.settings)
        thread_id = thread_of(config)
        messages, said = await _heard(parts, thread_id, state.get("messages", []))
        if not said:
            # Nothing to answer. What was open goes on where it was.
            turn = await parts.gate.open_turn_of(thread_id)
            return Command(
                update={"turn_id": turn.turn_id if turn else state.get("turn_id", ""), **_rewrite(messages)},
                goto="dispatch" if turn else END,
            )
        if caller.principal.kind == "system":
            refusal = AIMessage("Nobody signed in wrote this message, so it is not answered.")
            return Command(update=_rewrite([*messages, refusal]), goto=END)
        turn = await parts.gate.open_turn(
            thread_id=thread_id,
            run_id=caller.run_id,
            messages=[{"id": message.id, "content": clean(message.content)} for message in said],
            requester=caller.principal,
            is_durable=is_durable(config),
        )
        # Again, now that what was open is withdrawn: every call has a result before the model reads.
        true = true_transcript(messages, await parts.gate.truth(thread_id, ai_ids(messages)))
        return Command(update={"turn_id": turn.turn_id, **_rewrite(true, state.get("messages", []))}, goto="model")

    async def model(self, state: State, config: RunnableConfig) -> Command[str]:
        """Let the model speak, and store what it said before anything follows from it; run again, give what is stored."""
        parts = await self._assemble()
        thread_id = thread_of(config)
        messages = state["messages"]
        turn, plans = await parts.gate.turn(thread_id, state.get("turn_id", ""))
        if turn is None:
            return Command(goto=END)
        position = _position(plans, messages)
        if position < len(plans):
            return _spoken(plans[position])
        if turn.state != "open":
            over = AIMessage("A later message took the place of this part of the conversation, so it ends here.")
            return Command(update={"messages": [over]}, goto=END)
        truth = await parts.gate.truth(thread_id, ai_ids(messages))
        if plans and unanswered(plans[-1], messages, truth):
            return Command(goto="dispatch")  # a client's goto: the model speaks when every call has its result
        try:
            answer = await speak(
                parts.model,
                parts.toolbox.all,
                true_transcript(messages, truth),
                context_tokens=parts.settings.model_context_tokens,
                timeout_s=parts.settings.model_timeout_s,
            )
        except ModelUnavailable as exc:
            answer = AIMessage(str(exc))
        message_id = answer.id or key("message", turn.turn_id, str(position))
        answer = answer.model_copy(update={"id": message_id})
        plan = await parts.gate.store_message(
            turn,
            position=position,
            message_id=message_id,
            message=to_json(answer),
            digest=message_digest(answer),
            has_calls=bool(answer.tool_calls),
        )
        return _spoken(plan) if plan else Command(goto=END)

    async def dispatch(self, state: State, config: RunnableConfig) -> Command[str]:
        """Open a request for every action of the stored message, then send what comes next."""
        parts = await self._assemble()
        gate, toolbox = parts.gate, parts.toolbox
        thread_id = thread_of(config)
        caller = caller_of(config, parts.settings)
        messages = state["messages"]
        turn, plans = await gate.turn(thread_id, state.get("turn_id", ""))
        position = _position(plans, messages)
        if turn is None:
            await gate.note_forged(thread_id, state.get("turn_id", ""), caller)
            return Command(goto=END)
        if position == 0:
            return Command(goto="model")
        plan = plans[position - 1]
        if plan.message is None:
            return Command(goto=END)
        await _note_forged_calls(parts, thread_id, messages, plan, caller)
        present = {message.id for message in messages if isinstance(message, ToolMessage)}
        calls = from_json(plan.message).tool_calls
        settled: list[AnyMessage] = []
        lookups: list[Send] = []
        actions: list[tuple[int, dict[str, Any]]] = []
        for index, call in enumerate(calls):
            asked = cast("dict[str, Any]", call)
            if result_id(plan, asked["id"]) in present:
                continue
            if call["name"] in toolbox.actions:
                actions.append((index, asked))
            elif (wrong := _unusable(parts, asked)) is not None:
                settled.append(result(plan, asked, wrong, is_error=True))
            else:
                lookups.append(_send(plan, asked["id"], 0))
        if actions and not is_durable(config):
            await gate.note_undurable(thread_id, turn.turn_id, caller, [call["name"] for _, call in actions])
            settled += [result(plan, call, _UNDURABLE, is_error=True) for _, call in actions]
            actions = []
        if not actions:
            return Command(update={"messages": settled}, goto=lookups or "model")
        standing = await gate.advance(thread_id, plan.message_id, may_ask=not lookups)
        settled += [
            receipt_message(plan, call, standing.receipts[call["id"]])
            for _, call in actions
            if call["id"] in standing.receipts
        ]
        if lookups:
            return Command(update={"messages": settled}, goto=lookups)
        if standing.next is None:
            return Command(update={"messages": settled}, goto="model")
        following = _send(plan, standing.next.tool_call_id, standing.next.revision)
        return Command(update={"messages": settled}, goto=[following])

    async def tools(self, state: CallState, config: RunnableConfig) -> Command[str]:
        """Run one call of the journal. Runs again from the top on every resume, so nothing here may write before the gate."""
        parts = await self._assemble()
        thread_id = thread_of(config)
        caller = caller_of(config, parts.settings)
        try:
            call = Call(thread_id, str(state["message_id"]), str(state["tool_call_id"]), int(state["revision"]))
            plan, stored = await parts.gate.call(call)
        except (NotOursError, KeyError, TypeError, ValueError):
            await parts.gate.note_forged(thread_id, str(state)[:200], caller)
            return Command(goto="dispatch")
        tool = parts.toolbox.lookups.get(stored["name"]) or parts.toolbox.actions.get(stored["name"])
        if tool is None or (not is_durable(config) and stored["name"] in parts.toolbox.actions):
            return Command(goto="dispatch")
        token = site.set(Site(call, caller))
        try:
            outcome = await tool.ainvoke({**stored, "type": "tool_call"}, config)
        finally:
            site.reset(token)
        if isinstance(outcome, Command):
            return outcome
        answered = result(
            plan,
            stored,
            outcome.content,
            is_error=outcome.status == "error",
            artifact=getattr(outcome, "artifact", None),
        )
        return Command(update={"messages": [answered]}, goto="dispatch")


_UNDURABLE = "Not done: this run keeps no thread, so nothing with an effect can be cleared or done in it."


async def _heard(
    parts: Wiring, thread_id: str, messages: list[AnyMessage]
) -> tuple[list[AnyMessage], list[HumanMessage]]:
    """Give the true messages, and what a person says in them that the journal has not heard yet.

    A message that takes over the id of an earlier one does not change the past: it is heard as a new one, and the
    earlier one stands again.
    """
    known = await parts.gate.heard(thread_id)
    truth = await parts.gate.truth(thread_id, ai_ids(messages))
    true: list[AnyMessage] = []
    said: list[HumanMessage] = []
    for message in messages:
        if not isinstance(message, HumanMessage):
            true.append(message)
            continue
        old = known.get(message.id or "")
        if message.id in known and (old is None or old == clean(message.content)):
            true.append(message)
            continue
        new = HumanMessage(message.content, id=message.id)
        if message.id in known:
            true.append(HumanMessage(old or "", id=message.id))
            new.id = key("heard", thread_id, message.id or "", str(len(known) + len(said)))
        elif message.id in truth.plans:
            true.append(message)  # the model's own message is put back in its place by its id
            new.id = key("heard", thread_id, message.id or "", str(len(known) + len(said)))
        elif not _is_plain_id(message.id):
            new.id = key("heard", thread_id, str(message.id), str(len(known) + len(said)))
        said.append(new)
    return [*true_transcript(true, truth), *said], said


def _is_plain_id(text: str | None) -> bool:
    return bool(text) and len(text or "") <= 100 and (text or "").isprintable() and (text or "").isascii()


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


def _spoken(plan: Plan) -> Command[str]:
    if plan.message is None:
        return Command(goto=END)
    said = from_json(plan.message)
    return Command(update={"messages": [said]}, goto="dispatch" if said.tool_calls else END)


def _send(plan: Plan, tool_call_id: str, revision: int) -> Send:
    return Send("tools", CallState(message_id=plan.message_id, tool_call_id=tool_call_id, revision=revision))


def _unusable(parts: Wiring, call: dict[str, Any]) -> str | None:
    """Say why a call that is no action cannot be run as a look-up, or None when it can."""
    if call["name"] not in parts.toolbox.lookups:
        return f"There is no tool {call['name']!r}. There are: {parts.toolbox.names()}."
    return unparsed_call(cast("Any", call))


async def _note_forged_calls(
    parts: Wiring, thread_id: str, messages: list[AnyMessage], plan: Plan, caller: Caller
) -> None:
    """Note calls behind the model's last message that the model never made; they lead nowhere."""
    at = next(index for index, message in enumerate(messages) if message.id == plan.message_id)
    for message in messages[at + 1 :]:
        if isinstance(message, AIMessage) and message.tool_calls:
            await parts.gate.note_forged(thread_id, message.id or "", caller)


graph = build_graph()
