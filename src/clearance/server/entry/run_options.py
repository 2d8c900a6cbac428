"""What a client orders when it creates a run: read from what the server hands to the handler, and refused when more.

Written for both shapes: LangGraph's server nests it in `kwargs`, Aegra gives it flat, and on its v2 route as a command.
"""

import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

from clearance.graph.identity import CALLER
from clearance.graph.messages import is_overwrite
from clearance.server.entry.sizes import MEDIA


class ForbiddenError(Exception):
    """A client orders what no client may; `cause` is a word or two for the log, the text is for the client."""

    def __init__(self, cause: str, sentence: str) -> None:
        super().__init__(sentence)
        self.cause = cause


@dataclass(frozen=True)
class Order:
    """A run that may be created, as far as its content goes."""

    thread_id: str
    run_id: str | None
    #: Whether it brings messages, which count as the caller's words.
    has_words: bool
    #: (interrupt id or None, answer); none or one for a bare answer, else one for each id.
    answers: list[tuple[str | None, Any]]
    #: The checkpoint it is pinned to; None for the latest.
    checkpoint_id: str | None
    #: Where stamps go; written to in place. None where the server would not take them.
    configurable: dict[str, Any] | None = field(repr=False)
    #: Whether the server reads filters from what the handler returns; Aegra would take them for the run's config.
    takes_filters: bool = True


#: What LangGraph's server itself puts beside the client's keys. Source: langgraph_api.models.run.create_valid_run.
_SERVERS_OWN = frozenset(
    [
        "__request_start_time_ms__",
        "__after_seconds__",
        "__context_provided__",
        "__event_streaming_v2",
        "__otel_traceparent__",
        "__otel_tracestate__",
        "__dd_trace_headers__",
        "__encryption_context__",
    ]
)
#: What LangGraph's server makes of `langsmith_tracer`. Source: as above.
_TRACER = frozenset(["__langsmith_project__", "__langsmith_example_id__"])
#: By these a run's checkpoints tell whose words stand in them; and what it is called to name them oneself.
TOLD_BY_SERVER = {"run_id": "run id", CALLER: "caller"}
_INTERRUPT_ID = re.compile(r"[0-9a-f]{32}")
_DEEPEST = 20


def read_order(value: dict[str, Any], *, may_debug: bool = False) -> Order:
    """Read what a client orders; with `may_debug` a run may stop at breakpoints.

    Raises:
        ForbiddenError: it is more than a client may, or nothing that is understood.
    """
    # First of all: this body comes as it was sent, and another shape may stand in it beside the command.
    if "method" in value:
        order, run = _command(value), value["params"]
    elif "kwargs" in value:
        order, run = _nested(value), {**value["kwargs"], "after_seconds": value.get("after_seconds")}
    else:
        order, run = _flat(value), value
    if not may_debug:
        _check_breakpoints(run)
    return order


def _nested(value: dict[str, Any]) -> Order:
    kwargs = value["kwargs"]
    if not isinstance(kwargs, dict):
        _forbid("shape", "This run is not understood.")
    config = kwargs.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("configurable"), dict):
        _forbid("shape", "The config of this run is not understood.")
    if value.get("thread_id") is None or kwargs.get("temporary"):
        _forbid("stateless", "Runs without a thread are off here: nothing could be held or asked in one.")
    _check_common({**kwargs, "after_seconds": value.get("after_seconds")})
    if any(config["configurable"].get(name) is not None for name in _TRACER):
        _forbid_tracer()
    _check_told_by_server(config, value.get("metadata"))
    _check_keys(config, own=_SERVERS_OWN | _TRACER)
    # Without a context of the client's own this is a copy of what the config began with.
    _check_keys(kwargs.get("context"), own=_SERVERS_OWN | _TRACER)
    _check_keys(value.get("metadata"))
    return _order(
        thread_id=value["thread_id"],
        run_id=value.get("run_id"),
        given=kwargs.get("input"),
        command=kwargs.get("command"),
        configurable=config["configurable"],
    )


def _flat(value: dict[str, Any]) -> Order:
    config = value.get("config")
    if config is None:
        config = value["config"] = {}
    if not isinstance(config, dict):
        _forbid("shape", "The config of this run is not understood.")
    configurable = config.setdefault("configurable", {})
    if not isinstance(configurable, dict):
        _forbid("shape", "The config of this run is not understood.")
    checkpoint = value.get("checkpoint") or {}
    if not isinstance(checkpoint, dict) or set(checkpoint) - {*_CHECKPOINT_KEYS, "thread_id"}:
        _forbid("private key", "A checkpoint of a run has keys that no client may set.")
    _check_common(value)
    _check_told_by_server(config, value.get("metadata"))
    for part in (config, checkpoint, value.get("context"), value.get("metadata")):
        _check_keys(part)
    pinned = {"checkpoint_id": value["checkpoint_id"]} if value.get("checkpoint_id") else {}
    order = _order(
        thread_id=value.get("thread_id"),
        run_id=value.get("run_id"),
        given=value.get("input"),
        command=value.get("command"),
        configurable={**configurable, **checkpoint, **pinned},
    )
    return Order(**{**vars(order), "configurable": configurable, "takes_filters": False})


def _command(value: dict[str, Any]) -> Order:
    params = value.get("params")
    if not isinstance(params, dict):
        _forbid("shape", "This command is not understood.")
    config = params.get("config") or {}
    if not isinstance(config, dict) or not isinstance(config.get("configurable") or {}, dict):
        _forbid("shape", "The config of this command is not understood.")
    _check_told_by_server(config, params.get("metadata"))
    if "graph_id" in (config.get("configurable") or {}):
        # Nobody sets it here, and the journal takes it for the graph of the turn.
        _forbid("graph", "The graph of a run is that of its assistant: leave out graph_id in its config.")
    for part in (config, params.get("context"), params.get("metadata")):
        _check_keys(part)
    _check_common(params)
    match value["method"]:
        case "run.start":
            given, command = params.get("input"), None
            # In a thread that waits for an answer the server takes it for the answer.
            if given is not None and (not isinstance(given, dict) or set(given) != {"messages"}):
                _forbid("input", 'The input of a run is {"messages": [...]}, and nothing else here.')
        case "input.respond":
            responses = params.get("responses")
            listed = responses if isinstance(responses, list) else [params]
            if not all(isinstance(one, dict) and isinstance(one.get("interrupt_id"), str) for one in listed):
                _forbid("shape", "This command is not understood.")
            given = None
            command = {
                "resume": {one["interrupt_id"]: one.get("response") for one in listed},
                "update": params.get("update"),
                "goto": params.get("goto"),
            }
        case _:
            _forbid("shape", "This command is not understood.")
    order = _order(
        thread_id=value.get("thread_id"),
        run_id=None,
        given=given,
        command=command,
        configurable=config.get("configurable") or {},
    )
    # The server takes no stamps here.
    return Order(**{**vars(order), "configurable": None, "takes_filters": False})


_CHECKPOINT_KEYS = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")


def _order(thread_id: Any, run_id: Any, given: Any, command: Any, configurable: dict[str, Any]) -> Order:
    if thread_id is None:
        _forbid("stateless", "Runs without a thread are off here: nothing could be held or asked in one.")
    if configurable.get("checkpoint_ns") or configurable.get("checkpoint_map"):
        _forbid("checkpoint", "A run may start from a checkpoint of its thread, not from inside one of its steps.")
    pinned = configurable.get("checkpoint_id")
    if command:
        # Beside a command the server reads no input, and some pages send all they know with each answer. Nor is it
        # read here: it speaks for nobody. An empty command is none.
        given = None
    if given is not None and not isinstance(given, dict):
        _forbid("input", 'The input of a run is {"messages": [...]}.')
    words = (given or {}).get("messages")
    if is_overwrite(words) or any(map(_takes_away, words if isinstance(words, list) else [words])):
        _forbid("overwrite", "A run adds messages to its thread; it takes none away, nor the place of those there.")
    answers = _answers(command)
    _check_addresses(given, [answer for _, answer in answers])
    # Whatever else stands there langgraph makes a message of, an empty text too.
    has_words = words not in (None, [])
    return Order(
        thread_id=str(thread_id),
        run_id=str(run_id) if run_id is not None else None,
        has_words=has_words,
        answers=answers,
        checkpoint_id=str(pinned) if pinned else None,
        configurable=configurable,
    )


def _takes_away(message: Any) -> bool:
    """Tell whether langgraph would take messages away for this one, in whichever form of langchain's it comes."""
    if not isinstance(message, dict):
        return False
    kind = message.get("id") if message.get("type") == "constructor" else None
    of = kind[-1] if isinstance(kind, list) and kind else None
    return of == "RemoveMessage" or "remove" in (message.get("type"), message.get("role"))


def _answers(command: Any) -> list[tuple[str | None, Any]]:
    if command is None:
        return []
    if isinstance(command, dict) and command.get("lg_name") == "Command":
        # RemoteGraph of JavaScript sends its name along; no server reads it.
        command = {name: inner for name, inner in command.items() if name != "lg_name"}
    if not isinstance(command, dict) or set(command) - {"resume", "goto", "update"}:
        _forbid("command", 'A command of a run is {"resume": answer}.')
    if command.get("update") is not None:
        _forbid("update", "No client writes the state of a thread: a run's command may hold an answer only.")
    goto, resume = command.get("goto"), command.get("resume")
    if goto not in (None, []):
        if goto not in ("__end__", ["__end__"]) or resume is not None:
            _forbid("goto", "No client tells the graph where to go; only __end__ alone, to leave what is open.")
        return []
    if resume is None:
        return []
    if isinstance(resume, dict) and all(isinstance(one, str) and _INTERRUPT_ID.fullmatch(one) for one in resume):
        return list(resume.items())
    return [(None, resume)]


def _check_common(run: dict[str, Any]) -> None:
    if run.get("durability") not in (None, "sync", "async") or run.get("checkpoint_during") is False:
        _forbid("durability", "A run must save its steps: durability is sync or async.")
    if run.get("webhook"):
        _forbid("webhook", "Runs call no webhooks of clients; notifications are set up by the operator.")
    if run.get("feedback_keys"):
        _forbid("feedback", "Runs make no feedback links: leave out feedback_keys, for which the server calls out.")
    if run.get("langsmith_tracer"):
        _forbid_tracer()
    if run.get("after_seconds") not in (None, 0):
        _forbid("future", "A run starts when it is sent: leave out after_seconds, or send it as 0, and send it then.")


def _forbid_tracer() -> NoReturn:
    _forbid("tracer", "Where a run is traced is set up by the operator: leave out langsmith_tracer.")


def _check_told_by_server(config: dict[str, Any], metadata: Any) -> None:
    """Refuse an id and a caller of its own: by them the run's checkpoints tell whose words stand in them."""
    parts = [part for part in (config, config.get("metadata"), metadata) if isinstance(part, dict)]
    for name, cause in TOLD_BY_SERVER.items():
        if any(name in part for part in parts):
            _forbid(cause, f"What a run is and whose, the server tells: leave out {name} in its config and metadata.")


def _check_breakpoints(run: dict[str, Any]) -> None:
    """Refuse breakpoints: they leave words unheard, and a question that nobody is asked."""
    config = run.get("config")
    for part in (run, config if isinstance(config, dict) else {}):
        for name in ("interrupt_before", "interrupt_after"):
            if part.get(name):
                _forbid("breakpoint", f"A run goes until it is done or asks: leave out {name}, which is for debugging "
                        "where authentication is off.")  # fmt: skip


def _check_keys(given: Any, own: frozenset[str] = frozenset(), depth: int = 0) -> None:
    """Refuse keys that langgraph keeps for itself, wherever in a config they stand."""
    if depth > _DEEPEST:
        _forbid("shape", "The config of this run is nested too deep.")
    if isinstance(given, dict):
        for name, inner in given.items():
            if isinstance(name, str) and name.startswith("__") and name not in own:
                _forbid("private key", f"A config has the key {name[:60]!r}, which no client may set.")
            if name not in ("langgraph_auth_user", *own):
                _check_keys(inner, own, depth + 1)
    elif isinstance(given, list | tuple):
        for inner in given:
            _check_keys(inner, own, depth + 1)


def _check_addresses(*given: Any) -> None:
    """Refuse pictures and files by address: clients of some models fetch what it names, from where this server is."""
    rest: list[tuple[Any, bool]] = [(one, False) for one in given]
    while rest:
        one, is_media = rest.pop()
        if isinstance(one, dict):
            within = is_media or (isinstance(one.get("type"), str) and one["type"] in MEDIA)
            for name, inner in one.items():
                if within and isinstance(inner, str) and _is_address(str(name), inner):
                    _forbid("address", "Pictures and files come with the message, as base64: this server fetches none.")
                rest.append((inner, within))
        elif isinstance(one, list | tuple):
            rest += [(inner, is_media) for inner in one]


def _is_address(name: str, value: str) -> bool:
    return name.lower().endswith(("url", "uri")) and value != "" and not value.lower().startswith("data:")


def _forbid(cause: str, sentence: str) -> NoReturn:
    raise ForbiddenError(cause, sentence)
