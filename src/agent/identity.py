"""Who runs this: read from what the server authenticated, in one place."""

from collections.abc import Iterable
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.runtime import get_runtime

from agent.clearance.approval import is_addressed
from agent.clearance.gate import Caller
from agent.clearance.principal import LOCAL, SYSTEM, Principal
from agent.settings import Settings

# Set by the server for each run, and refused in a client's config by it. Source: langgraph_api.models.run.
_STARTED = "__request_start_time_ms__"
# Where langgraph keeps its checkpointer. Source: langgraph._internal._constants.
_CHECKPOINTER = "__pregel_checkpointer"


def caller_of(config: RunnableConfig, settings: Settings) -> Caller:
    """Give who asked for this run and when; on a resume that is the one who answers. Call it inside a node."""
    configurable = config.get("configurable", {})
    info = get_runtime().execution_info
    started = configurable.get(_STARTED)
    return Caller(
        principal=_principal(settings),
        run_id=info.run_id if info else None,
        started_ms=int(started) if isinstance(started, int | float) else None,
        is_addressed=is_addressed(configurable),
    )


def thread_of(config: RunnableConfig) -> str:
    """Give the id of this run's thread; a run that keeps none still has one of its own on the server."""
    info = get_runtime().execution_info
    return (info.thread_id if info else None) or str(config.get("configurable", {}).get("thread_id", ""))


def is_durable(config: RunnableConfig) -> bool:
    """Tell whether this run keeps its thread; one that does not can neither hold a call nor be asked again."""
    return isinstance(config.get("configurable", {}).get(_CHECKPOINTER), BaseCheckpointSaver)


def _principal(settings: Settings) -> Principal:
    if settings.auth == "off":
        return LOCAL
    info = get_runtime().server_info
    user = info.user if info else None
    if user is None or not user.identity:
        # A run without a user on a server that authenticates was started by the server itself.
        return SYSTEM
    return Principal(user.identity, kind="person", roles=frozenset(_roles(user)))


def _roles(user: Any) -> Iterable[str]:
    try:
        roles = user["roles"]
    except (KeyError, TypeError):
        return ()
    return (
        (role for role in roles if isinstance(role, str)) if isinstance(roles, list | tuple | set | frozenset) else ()
    )
