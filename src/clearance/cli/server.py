"""The server of --url over the SDK: a thread, for `chat`. Foreign errors become one sentence here."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from clearance.cli.terminal import Code, Failed, line

if TYPE_CHECKING:
    from langgraph_sdk.client import SyncLangGraphClient


@dataclass(frozen=True)
class Held:
    """One request that is put in a thread."""

    thread_id: str
    #: As `gate/question.py` writes it.
    payload: dict[str, Any]

    @property
    def request_id(self) -> str:
        """The request's id."""
        return str(self.payload["id"])


@contextmanager
def connected(context: typer.Context) -> "Iterator[SyncLangGraphClient]":
    """Give a client of the server.

    Raises:
        Failed: the server cannot be reached, or refused the request.
    """
    import httpx
    from langgraph_sdk import get_sync_client

    url = str(context.obj)
    token = os.environ.get("CLEARANCE_TOKEN", "")
    # api_key None: otherwise the SDK sends whatever LANGSMITH_API_KEY holds to this server.
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if not (token.isascii() and token.isprintable()):
        raise Failed("CLEARANCE_TOKEN holds characters that no token has.")
    try:
        with get_sync_client(url=url, api_key=None, headers=headers) as client:
            yield client
    except httpx.HTTPStatusError as exc:
        raise Failed(f"The server at {url} answered {exc.response.status_code}: {_reason(exc)}") from exc
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise Failed(f"The server at {url} does not answer: {exc}") from exc
    except json.JSONDecodeError as exc:
        raise Failed(f"What is at {url} does not answer as a LangGraph server does.") from exc


def graph_to_talk_to(client: "SyncLangGraphClient", named: str | None, thread_id: str | None) -> str:
    """Give the graph to talk to: the one `named`, that of the thread, or the one gated graph of the server.

    Raises:
        Failed: there is none, or several; says which there are.
    """
    found: Any = client.http.get("/approvals/me")
    here = [str(name) for name in found.get("graphs") or []] if isinstance(found, dict) else []
    listed = ", ".join(map(line, here))
    if not here:
        raise Failed("This server has no graph that holds anything for approval.")
    if named is not None:
        if named not in here:
            raise Failed(f"This server has no gated graph {line(named)!r}. There are: {listed}.")
        return named
    if len(here) == 1:
        return here[0]
    of_thread = _graph_of_thread(client, thread_id) if thread_id else None
    if of_thread in here:
        return str(of_thread)
    raise Failed(f"This server has several gated graphs: {listed}. Say by --graph which to talk to.")


def _graph_of_thread(client: "SyncLangGraphClient", thread_id: str) -> object:
    import httpx

    try:
        return (client.threads.get(thread_id)["metadata"] or {}).get("graph_id")
    except httpx.HTTPStatusError as exc:
        if exc.response.status_code in (404, 422):
            return None  # what comes next says so
        raise


def held_in(client: "SyncLangGraphClient", thread_id: str) -> tuple[list[Held], list[dict[str, Any]]]:
    """Read a thread: what waits in it, and its messages.

    Raises:
        Failed: there is no such thread.
    """
    import httpx

    try:
        state = client.threads.get_state(thread_id)
    except httpx.HTTPStatusError as exc:
        if exc.response.status_code in (404, 422):  # 422: not even an id
            raise Failed(f"There is no thread {thread_id}.", Code.NOT_OPEN) from exc
        raise
    waiting = [one for task in state["tasks"] for one in task.get("interrupts") or []]
    values = state["values"] if isinstance(state["values"], dict) else {}
    return _ours(thread_id, waiting), list(values.get("messages") or [])


def _ours(thread_id: str, waiting: list[Any]) -> list[Held]:
    """Keep the interrupts that are ours: a server may run other graphs beside this one."""
    return [
        Held(thread_id, one["value"])
        for one in waiting
        if isinstance(one.get("value"), dict) and {"id", "digest", "action", "turn"} <= one["value"].keys()
    ]


def _reason(exc: Any) -> str:
    body = getattr(exc, "body", None)
    detail = body.get("detail") if isinstance(body, dict) else None
    return line(str(detail or getattr(exc, "message", None) or exc.response.reason_phrase))
