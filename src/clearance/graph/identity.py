"""Who runs this: read from what the server authenticated, in one place."""

import json
import sys
from collections.abc import Mapping
from hmac import compare_digest
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.runtime import get_runtime

from clearance.canonical import clean
from clearance.gate.caller import Caller
from clearance.gate.question import checkpoint_id, interrupt_id, is_addressed
from clearance.journal.signing import Keys, seal
from clearance.principal import LOCAL, STUDIO_ID, SYSTEM, Principal
from clearance.settings import Settings

# Set by the server for each run, and refused in a client's config by it. Source: langgraph_api.models.run.
_STARTED = "__request_start_time_ms__"
#: In a run's config: when our handler let it in, ms since 1970. Aegra stamps nothing of its own.
RECEIVED_MS = "clearance_received_ms"
#: In a run's config, and so with its checkpoints: whose it is, sealed by our handler; empty where it is the server's.
CALLER = "clearance_caller"
#: A field of the user on Aegra, where recovery acts as a thread's owner: that it is the server itself.
OF_SYSTEM = "clearance_system"
# Where langgraph keeps its checkpointer. Source: langgraph._internal._constants.
CHECKPOINTER = "__pregel_checkpointer"
# Where langgraph keeps the steps of a run. Source: the same, and langgraph._internal._scratchpad.
_SCRATCHPAD = "__pregel_scratchpad"


def caller_of(config: RunnableConfig, settings: Settings) -> Caller:
    """Give who asked for this run and when; on a resume that is the one who answers. Call it inside a node."""
    configurable = config.get("configurable", {})
    # The earlier one: where only one of them is the server's own, a client gains nothing by sending the other.
    stamps = [configurable.get(name) for name in (_STARTED, RECEIVED_MS)]
    started = [int(stamp) for stamp in stamps if isinstance(stamp, int | float) and not isinstance(stamp, bool)]
    return Caller(
        principal=_principal(settings),
        run_id=run_id_of(config),
        started_ms=min(started, default=None),
        is_addressed=is_addressed(configurable),
        interrupt_id=interrupt_id(configurable),
        checkpoint_id=checkpoint_id(configurable),
    )


def caller_seal(keys: Keys, thread_id: str, person: Principal) -> str:
    """Give what a run in a thread is stamped with: whose it is, as nobody else can write it."""
    return _seals(keys, thread_id, person)[0]


def is_callers(keys: Keys, thread_id: str, person: Principal, metadata: Mapping[str, Any]) -> bool:
    """Tell by a checkpoint's metadata whether it is of a run of this person; where nobody signs in all are one."""
    if person.kind == "local":
        return True
    given = metadata.get(CALLER)
    return isinstance(given, str) and any(
        compare_digest(given.encode(), one.encode()) for one in _seals(keys, thread_id, person)
    )


def _seals(keys: Keys, thread_id: str, person: Principal) -> list[str]:
    text = json.dumps(["caller", thread_id, person.kind, person.id])
    return [seal(one, text) for one in (keys.now, *keys.before)]


def run_id_of(config: RunnableConfig) -> str | None:
    """Give the id of this run, the same when the server tries it again; None where nobody gives it one.

    Both servers set the one in `configurable`, over whatever a client sent; the other one is new with each attempt.
    """
    given = config.get("configurable", {}).get("run_id")
    if given:
        return str(given)
    info = get_runtime().execution_info
    return info.run_id if info else None


def thread_of(config: RunnableConfig) -> str:
    """Give the id of this run's thread; a run that keeps none still has one of its own on the server."""
    info = get_runtime().execution_info
    return (info.thread_id if info else None) or str(config.get("configurable", {}).get("thread_id", ""))


def graph_of(config: RunnableConfig) -> str | None:
    """Give the name of the server's graph that this run is of, the outermost; None outside a server.

    LangGraph's server sets it over whatever a client sent; Aegra does not, see `clearance.server.aegra`.
    """
    named = config.get("configurable", {}).get("graph_id")
    return str(clean(named)) if isinstance(named, str) and named else None


def is_durable(config: RunnableConfig) -> bool:
    """Tell whether this run keeps its thread; one that does not can neither hold a call nor be asked again."""
    return isinstance(config.get("configurable", {}).get(CHECKPOINTER), BaseCheckpointSaver)


def steps_left(config: RunnableConfig) -> int:
    """Give how many steps of the graph this run may still make after this one, by the recursion limit it was given."""
    scratchpad = config.get("configurable", {}).get(_SCRATCHPAD)
    return sys.maxsize if scratchpad is None else int(scratchpad.stop - scratchpad.step)


def is_in_run(config: RunnableConfig) -> bool:
    """Tell whether a run is going on; not so where somebody writes a thread's state in the name of a node."""
    return _SCRATCHPAD in config.get("configurable", {})


def principal_of(user: Any, settings: Settings) -> Principal:
    """Give the principal that a user of the server's authentication is; `SYSTEM` for none, `LOCAL` where it is off."""
    if settings.auth == "off":
        return LOCAL
    identity = _field(user, "identity") if user is not None else None
    if not isinstance(identity, str) or not identity or _field(user, OF_SYSTEM) is True:
        # A run without a user on a server that authenticates was started by the server itself.
        return SYSTEM
    is_studio = identity == STUDIO_ID
    roles = _field(user, "roles")
    return Principal(
        identity,
        kind="person",
        roles=frozenset() if is_studio or not isinstance(roles, list | tuple | set | frozenset)
        else frozenset(role for role in roles if isinstance(role, str)),
        has_all_roles=is_studio and settings.auth_both_parts,
        may_approve_own=settings.auth_both_parts,
    )  # fmt: skip


def _principal(settings: Settings) -> Principal:
    info = get_runtime().server_info
    return principal_of(info.user if info else None, settings)


def _field(user: Any, name: str) -> Any:
    """Read a field of a user: a mapping on LangGraph's server, an object on Aegra."""
    try:
        return user[name]
    except (KeyError, TypeError):
        return getattr(user, name, None)
