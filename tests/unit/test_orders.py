"""What a client may order when it creates a run, as tables for each shape that a server hands to the handler."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clearance.server.entry.run_options import ForbiddenError, Order, read_order

HELLO = {"messages": [{"role": "user", "content": "hello"}]}
ID, OTHER_ID = "a" * 32, "0123456789abcdef" * 2
CHECKPOINT = "1ef4f797-8335-6428-8001-8a1503f9b875"


def nested(configurable: dict[str, Any] | None = None, **kwargs: Any) -> dict[str, Any]:
    """What LangGraph's server gives: `kwargs` with its own stamps beside the client's keys."""
    own = {
        "__request_start_time_ms__": 1_700_000_000_000,
        "__after_seconds__": 0,
        "langgraph_auth_user": {"identity": "olga", "__odd__": 1},
        "langgraph_request_id": "r",
        "user-agent": "test",
    }
    config = kwargs.pop("config", None) or {}
    outer: dict[str, Any] = {
        name: kwargs.pop(name) for name in ("metadata", "if_not_exists", "thread_id", "after_seconds") if name in kwargs
    }
    return {
        "thread_id": "t",
        "run_id": "r",
        "assistant_id": "a",
        "metadata": {},
        "multitask_strategy": "enqueue",
        **outer,
        "kwargs": {
            "input": None,
            "command": None,
            "config": {**config, "configurable": {**own, **(configurable or {})}},
            "context": {},
            "webhook": None,
            "temporary": False,
            "durability": "async",
            "checkpoint_during": True,
            **kwargs,
        },
    }


def flat(configurable: dict[str, Any] | None = None, **body: Any) -> dict[str, Any]:
    """What Aegra gives: the body of the request, and the thread."""
    config = {**(body.pop("config", None) or {}), **({"configurable": configurable} if configurable else {})}
    return {"thread_id": "t", "assistant_id": "a", "config": config or None, "metadata": None, **body}


def command(method: str = "run.start", /, **params: Any) -> dict[str, Any]:
    """What Aegra gives for its v2 route: the body as it came, and the thread."""
    return {"id": 1, "thread_id": "t", "method": method, "params": {"assistant_id": "a", **params}}


def saying(block: dict[str, Any]) -> dict[str, Any]:
    """Give the input of somebody who sends a content block."""
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, block]}]}


BOTH = pytest.mark.parametrize("shape", [nested, flat])


@BOTH
@pytest.mark.parametrize(
    ("body", "words", "answers"),
    [
        ({"input": HELLO}, True, []),
        ({"input": {"messages": []}}, False, []),
        # Pictures that come along, and addresses that nobody fetches.
        ({"input": saying({"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}})}, True, []),
        ({"input": saying({"type": "image", "source_type": "base64", "data": "aGk=", "url": ""})}, True, []),
        ({"input": saying({"type": "text", "text": "see http://example.com/x.png"})}, True, []),
        ({"input": None}, False, []),
        ({}, False, []),
        ({"input": {}}, False, []),
        # Everything that langgraph makes a message of counts as words.
        ({"input": {"messages": ""}}, True, []),
        ({"input": {"messages": {}}}, True, []),
        ({"input": {"messages": "hello"}}, True, []),
        ({"input": {"messages": 0}}, True, []),
        ({"command": {"resume": True}}, False, [(None, True)]),
        ({"command": {"resume": False}}, False, [(None, False)]),
        ({"command": {"resume": 0}}, False, [(None, 0)]),
        ({"command": {"resume": {"approved": True}}}, False, [(None, {"approved": True})]),
        ({"command": {"resume": {ID: {"approved": True}}}}, False, [(ID, {"approved": True})]),
        ({"command": {"resume": {ID: 1, OTHER_ID: 2}}}, False, [(ID, 1), (OTHER_ID, 2)]),
        # One key that is no id: the whole is one answer, as langgraph takes it.
        ({"command": {"resume": {ID: 1, "x": 2}}}, False, [(None, {ID: 1, "x": 2})]),
        ({"command": {"resume": {ID.upper(): 1}}}, False, [(None, {ID.upper(): 1})]),
        ({"command": {"resume": {}}}, False, []),
        ({"command": {"resume": None}}, False, []),
        ({"command": {"resume": None, "goto": None, "update": None}}, False, []),
        ({"command": {"goto": []}}, False, []),
        ({"command": {}}, False, []),
        ({"command": {"goto": "__end__"}}, False, []),
        ({"command": {"goto": ["__end__"]}}, False, []),
        # As RemoteGraph of JavaScript sends it.
        ({"command": {"lg_name": "Command", "resume": True, "goto": []}}, False, [(None, True)]),
        # Beside a command no server reads an input, of any shape; beside an empty one LangGraph's does.
        ({"command": {"resume": True}, "input": HELLO}, False, [(None, True)]),
        ({"command": {"resume": {ID: 1}}, "input": {**HELLO, "tools": []}}, False, [(ID, 1)]),
        ({"command": {"resume": True}, "input": [HELLO]}, False, [(None, True)]),
        ({"command": {"resume": None}, "input": HELLO}, False, []),
        ({"command": {"goto": "__end__"}, "input": HELLO}, False, []),
        ({"command": {}, "input": HELLO}, True, []),
    ],
)
def test_words_and_answers_are_read(shape: Any, body: dict[str, Any], words: bool, answers: list[Any]) -> None:
    order = read_order(shape(**copy.deepcopy(body)))

    assert (order.has_words, order.answers) == (words, answers)
    assert order.thread_id == "t"


@BOTH
@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ({"command": {"update": {}}}, "update"),
        ({"command": {"update": []}}, "update"),
        ({"command": {"update": {"messages": []}}}, "update"),
        ({"command": {"resume": True, "update": {"turn_id": "x"}}}, "update"),
        ({"command": {"goto": "tools"}}, "goto"),
        ({"command": {"goto": "dispatch"}}, "goto"),
        ({"command": {"goto": ["__end__", "tools"]}}, "goto"),
        ({"command": {"goto": {"node": "tools", "input": {}}}}, "goto"),
        ({"command": {"goto": [{"node": "tools", "input": {}}]}}, "goto"),
        ({"command": {"goto": ""}}, "goto"),
        ({"command": {"goto": 0}}, "goto"),
        ({"command": {"goto": "__end__", "resume": True}}, "goto"),
        ({"command": {"goto": "__end__", "resume": False}}, "goto"),
        ({"command": {"goto": "tools"}, "input": HELLO}, "goto"),
        ({"command": {}, "input": [HELLO]}, "input"),
        ({"command": {"resume": True, "graph": "parent"}}, "command"),
        ({"command": {"resume": True, "lg_name": "Send"}}, "command"),
        ({"command": {"lg_name": "Command", "goto": "tools"}}, "goto"),
        ({"command": {"__pregel_resume_map": {}}}, "command"),
        ({"command": "resume"}, "command"),
        ({"command": [True]}, "command"),
        ({"command": 0}, "command"),
        ({"input": [HELLO]}, "input"),
        ({"input": "hello"}, "input"),
        ({"input": 0}, "input"),
        ({"input": False}, "input"),
        ({"input": {"messages": {"__overwrite__": 5}}}, "overwrite"),
        ({"input": {"messages": {"__overwrite__": HELLO["messages"]}}}, "overwrite"),
        ({"input": {"messages": {"type": "__overwrite__", "value": []}}}, "overwrite"),
        ({"input": {"messages": [{"type": "remove", "id": "__remove_all__", "content": ""}]}}, "overwrite"),
        ({"input": {"messages": {"role": "remove", "id": "m", "content": ""}}}, "overwrite"),
        (
            {"input": {"messages": [{"type": "constructor", "id": ["langchain", "RemoveMessage"], "kwargs": {}}]}},
            "overwrite",
        ),
        ({"input": HELLO, "durability": "exit"}, "durability"),
        ({"input": HELLO, "durability": ["exit"]}, "durability"),
        ({"input": HELLO, "durability": ""}, "durability"),
        ({"input": HELLO, "checkpoint_during": False}, "durability"),
        ({"input": HELLO, "webhook": "http://127.0.0.1/x"}, "webhook"),
        ({"input": HELLO, "thread_id": None}, "stateless"),
        ({"input": HELLO, "interrupt_before": ["receive"]}, "breakpoint"),
        ({"input": HELLO, "interrupt_after": "*"}, "breakpoint"),
        ({"input": HELLO, "interrupt_before": "receive"}, "breakpoint"),
        # Aegra takes them from the config, too.
        ({"input": HELLO, "config": {"interrupt_before": ["receive"]}}, "breakpoint"),
        ({"command": {"resume": True}, "interrupt_after": ["tools"]}, "breakpoint"),
        ({"input": HELLO, "after_seconds": 8}, "future"),
        ({"input": HELLO, "after_seconds": 0.5}, "future"),
        ({"input": HELLO, "after_seconds": -1}, "future"),
        ({"command": {"resume": True}, "after_seconds": 8}, "future"),
        ({"input": HELLO, "feedback_keys": ["up"]}, "feedback"),
        ({"input": HELLO, "langsmith_tracer": {"project_name": "x"}}, "tracer"),
        ({"input": HELLO, "metadata": {"run_id": "r"}}, "run id"),
        ({"input": HELLO, "metadata": {"clearance_caller": "r"}}, "caller"),
        ({"input": HELLO, "config": {"metadata": {"clearance_caller": "r"}}}, "caller"),
        ({"input": HELLO, "config": {"metadata": {"run_id": "r"}}}, "run id"),
        ({"input": HELLO, "config": {"run_id": "r"}}, "run id"),
        # Clients of some models fetch these themselves, from where the server is.
        ({"input": saying({"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/x"}})}, "address"),
        ({"input": saying({"type": "image_url", "image_url": "HTTPS://example.com/x.png"})}, "address"),
        ({"input": saying({"type": "image", "url": "//example.com/x.png"})}, "address"),
        ({"input": saying({"type": "image", "source": {"type": "url", "url": "http://[::1]/"}})}, "address"),
        ({"input": saying({"type": "file", "file": {"file_url": "file:///etc/passwd"}})}, "address"),
        ({"input": saying({"type": "media", "file_uri": "gs://bucket/x"})}, "address"),
        ({"input": saying({"type": "image_url", "image_url": {"url": "/etc/passwd"}})}, "address"),
        ({"command": {"resume": saying({"type": "image", "url": "http://127.0.0.1:1/x"})}}, "address"),
    ],
)
def test_more_than_a_client_may_is_refused_by_name(shape: Any, body: dict[str, Any], cause: str) -> None:
    with pytest.raises(ForbiddenError) as refused:
        read_order(shape(**copy.deepcopy(body)))

    assert refused.value.cause == cause


def test_a_tracer_is_refused_where_the_server_has_put_it_into_the_config() -> None:
    with pytest.raises(ForbiddenError) as refused:
        read_order(nested({"__langsmith_project__": "x"}))

    assert refused.value.cause == "tracer"


@pytest.mark.parametrize(
    ("params", "cause"),
    [
        ({"interrupt_before": ["receive"]}, "breakpoint"),
        ({"config": {"interrupt_after": "*"}}, "breakpoint"),
        ({"after_seconds": 8}, "future"),
        ({"feedback_keys": ["up"]}, "feedback"),
        ({"langsmith_tracer": {"project_name": "x"}}, "tracer"),
        ({"metadata": {"run_id": "r"}}, "run id"),
        ({"metadata": {"clearance_caller": "r"}}, "caller"),
        ({"config": {"metadata": {"clearance_caller": "r"}}}, "caller"),
        ({"config": {"metadata": {"run_id": "r"}}}, "run id"),
    ],
)
@pytest.mark.parametrize("method", ["run.start", "input.respond"])
def test_the_second_protocol_orders_no_more(method: str, params: dict[str, Any], cause: str) -> None:
    brought = {"input": HELLO} if method == "run.start" else {"interrupt_id": ID, "response": True}
    with pytest.raises(ForbiddenError) as refused:
        read_order(command(method, **brought, **params))

    assert refused.value.cause == cause


@BOTH
@pytest.mark.parametrize(
    "body",
    [
        {"interrupt_before": [], "interrupt_after": None},
        {"after_seconds": 0},
        {"after_seconds": None},
        {"feedback_keys": [], "langsmith_tracer": None},
    ],
)
def test_what_orders_nothing_passes(shape: Any, body: dict[str, Any]) -> None:
    assert read_order(shape(input=HELLO, **body)).has_words


@BOTH
def test_breakpoints_pass_where_studio_debugs(shape: Any) -> None:
    assert read_order(shape(input=HELLO, interrupt_before=["receive"], interrupt_after="*"), may_debug=True).has_words


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        (nested(temporary=True), "stateless"),
        ({"thread_id": "t", "kwargs": None}, "shape"),
        ({"thread_id": "t", "kwargs": {}}, "shape"),
        ({"thread_id": "t", "kwargs": {"config": []}}, "shape"),
        ({"thread_id": "t", "kwargs": {"config": {"configurable": []}}}, "shape"),
        (flat(config={"configurable": []}), "shape"),
        ({"thread_id": "t", "config": []}, "shape"),
        (flat(checkpoint={"__pregel_resume_map": {}}), "private key"),
        (flat(checkpoint={"clearance_taken": True}), "private key"),
        (flat(checkpoint=[1]), "private key"),
        (command("run.cancel"), "shape"),
        (command("input.inject"), "shape"),
        ({"thread_id": "t", "method": "run.start", "params": None}, "shape"),
        ({"thread_id": "t", "method": None, "params": {}}, "shape"),
        (command(config=[1]), "shape"),
        (command(config={"configurable": [1]}), "shape"),
        (command("input.respond", interrupt_id=1), "shape"),
        (command("input.respond", responses=[1]), "shape"),
        (command("input.respond", responses=[{"response": True}]), "shape"),
        (command("input.respond", interrupt_id=ID, response=True, update={"messages": []}), "update"),
        (command("input.respond", interrupt_id=ID, response=True, goto="tools"), "goto"),
        (command("input.respond", interrupt_id=ID, response=True, goto="__end__"), "goto"),
        (command(config={"configurable": {"__pregel_resume_map": {}}}), "private key"),
        (command(context={"__pregel_resume_map": {}}), "private key"),
        (command(metadata={"__pregel_resume_map": {}}), "private key"),
        (command(input={ID: {"approved": True}}), "input"),
        (command(input={**HELLO, "approved": True}), "input"),
        (command(input={}), "input"),
        # A body that comes as it was sent can claim to be of any shape.
        ({**nested(input=HELLO), **command("input.respond", interrupt_id=ID, response=True, goto="tools")}, "goto"),
        (command(durability="exit"), "durability"),
        (command(input=["hello"]), "input"),
    ],
)
def test_what_is_not_understood_is_refused(value: dict[str, Any], cause: str) -> None:
    with pytest.raises(ForbiddenError) as refused:
        read_order(value)

    assert refused.value.cause == cause


@pytest.mark.parametrize(
    ("value", "words", "answers"),
    [
        (command(input=HELLO), True, []),
        (command("input.respond", interrupt_id=ID, response={"approved": True}), False, [(ID, {"approved": True})]),
        (command("input.respond", responses=[{"interrupt_id": ID, "response": 1}]), False, [(ID, 1)]),
        (command("input.respond", interrupt_id="short", response=1), False, [(None, {"short": 1})]),
    ],
)
def test_commands_of_the_second_protocol_are_read(value: dict[str, Any], words: bool, answers: list[Any]) -> None:
    order = read_order(value)

    assert (order.has_words, order.answers, order.configurable) == (words, answers, None)
    assert not order.takes_filters


@BOTH
@pytest.mark.parametrize("key", ["checkpoint_ns", "checkpoint_map"])
def test_a_run_does_not_start_inside_a_step(shape: Any, key: str) -> None:
    with pytest.raises(ForbiddenError) as refused:
        read_order(shape({key: {"tools:1": "x"}}, input=HELLO))

    assert refused.value.cause == "checkpoint"


@pytest.mark.parametrize(
    "value",
    [
        nested({"checkpoint_id": CHECKPOINT}, command={"resume": True}),
        flat({"checkpoint_id": CHECKPOINT}, command={"resume": True}),
        flat(checkpoint={"checkpoint_id": CHECKPOINT}, command={"resume": True}),
        flat(checkpoint_id=CHECKPOINT, command={"resume": True}),
    ],
)
def test_a_run_tells_which_checkpoint_it_is_pinned_to(value: dict[str, Any]) -> None:
    assert read_order(value).checkpoint_id == CHECKPOINT


def test_the_order_writes_its_stamps_where_the_server_reads_them() -> None:
    for value in (nested(input=HELLO), flat(input=HELLO), flat({"model": "x"}, input=HELLO)):
        order = read_order(value)
        assert order.configurable is not None
        order.configurable["stamp"] = 1
        config = value["kwargs"]["config"] if "kwargs" in value else value["config"]
        assert config["configurable"]["stamp"] == 1


# Generated

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
#: What stands around the key, outermost first: a name for an object, a number for a list.
PATHS = st.lists(st.sampled_from(["a", "configurable", "metadata", "messages", 0, 1]), max_size=6)
PRIVATE = st.text(max_size=12).map(lambda rest: f"__{rest}") | st.sampled_from(
    ["__pregel_resume_map", "__pregel_checkpointer", "__pregel_send", "__clearance_is_resume", "__", "__end__"]
)
OWN = {
    "__request_start_time_ms__", "__after_seconds__", "__context_provided__", "__event_streaming_v2",
    "__langsmith_project__", "__langsmith_example_id__", "__otel_traceparent__", "__otel_tracestate__",
    "__dd_trace_headers__", "__encryption_context__",
}  # fmt: skip


def buried(key: str, path: list[Any], value: Any) -> Any:
    made: Any = {key: value}
    for step in reversed(path):
        made = [made] if isinstance(step, int) else {step: made}
    return made


@given(key=PRIVATE.filter(lambda key: key not in OWN), path=PATHS, value=JSON, where=st.sampled_from(range(6)))
def test_a_key_that_langgraph_keeps_for_itself_is_refused_wherever_it_stands(
    key: str, path: list[Any], value: Any, where: int
) -> None:
    inner = buried(key, path, value)
    values = [
        nested({"x": inner}, input=HELLO),
        nested({"metadata": inner} if path else {key: value}, input=HELLO),
        nested(config={"metadata": inner}, input=HELLO),
        nested(context={"x": inner}, input=HELLO),
        nested(metadata={"x": inner}, input=HELLO),
        flat({"x": inner}, input=HELLO),
    ]

    with pytest.raises(ForbiddenError) as refused:
        read_order(values[where])

    assert refused.value.cause == "private key"


@given(
    config=JSON, context=JSON, metadata=JSON, given=JSON, command=JSON, checkpoint=JSON, shape=st.sampled_from("nfc")
)
def test_arbitrary_json_is_an_order_or_forbidden_and_nothing_else(
    config: Any, context: Any, metadata: Any, given: Any, command: Any, checkpoint: Any, shape: str
) -> None:
    body = {"config": config, "context": context, "input": given, "command": command, "checkpoint": checkpoint}
    match shape:
        case "n":
            value = {"thread_id": "t", "metadata": metadata, "kwargs": body}
        case "f":
            value = {"thread_id": "t", "metadata": metadata, **body}
        case _:
            value = {"thread_id": "t", "method": "run.start", "params": {**body, "responses": command}}

    try:
        read: Order | str = read_order(value)
    except ForbiddenError as exc:
        read = str(exc)

    assert read


@given(
    command=st.fixed_dictionaries(
        {}, optional={"resume": JSON, "goto": JSON | st.just("__end__"), "update": JSON, "graph": JSON}
    )
)
def test_a_command_that_passes_holds_an_answer_or_leaves_and_never_both(command: dict[str, Any]) -> None:
    try:
        order = read_order(nested(command=command))
    except ForbiddenError:
        return
    goes = command.get("goto") not in (None, [])
    assert command.get("update") is None
    assert "graph" not in command
    assert not (goes and order.answers)
    assert not goes or command["goto"] in ("__end__", ["__end__"])


def test_a_config_as_deep_as_json_goes_is_refused_and_does_not_overflow() -> None:
    deep: Any = {}
    for _ in range(5_000):
        deep = {"a": deep}

    for value in (nested({"x": deep}), nested(metadata=deep), nested(context=deep), flat({"x": deep})):
        with pytest.raises(ForbiddenError) as refused:
            read_order(value)
        assert refused.value.cause == "shape"
