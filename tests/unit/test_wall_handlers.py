"""Every resource and action that the platform asks about has a handler here that somebody wrote on purpose."""

import ast
import asyncio
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from langgraph_sdk import Auth

from clearance.server.auth import auth
from clearance.server.entry.received import NoteReceived, received_ms

#: What the platform asks about: `own` has a handler that lets in what is one's own, `others` one that lets in what is
#: of graphs that are not gated; all else is refused.
TABLE = {
    ("threads", "create"): "own",
    ("threads", "read"): "own",
    ("threads", "search"): "own",
    ("threads", "update"): "own",
    ("threads", "delete"): "own",
    ("threads", "create_run"): "own",
    ("assistants", "read"): "own",
    ("assistants", "search"): "own",
    ("assistants", "create"): "others",
    ("assistants", "update"): "others",
    ("assistants", "delete"): "others",
    ("crons", "create"): "others",
    ("crons", "read"): "others",
    ("crons", "update"): "others",
    ("crons", "delete"): "others",
    ("crons", "search"): "others",
    ("store", "put"): "others",
    ("store", "get"): "others",
    ("store", "search"): "others",
    ("store", "delete"): "others",
    ("store", "list_namespaces"): "others",
}


def _package(name: str) -> Path:
    spec = find_spec(name)
    assert spec
    assert spec.origin
    return Path(spec.origin).parent


def _known_to_the_sdk() -> set[tuple[str, str]]:
    """Read what handlers can be registered for. Source: langgraph_api.auth.custom._derive_known_resource_actions."""
    on = Auth().on
    found = set()
    for resource in type(on).__slots__:
        namespace = getattr(on, resource, None)
        for name in dir(namespace) if not resource.startswith("_") else ():
            action = getattr(getattr(namespace, name), "action", None) if not name.startswith("_") else None
            if isinstance(action, str):
                found.add((resource, action))
    return found


def _asked_by_the_server() -> set[tuple[str, str]]:
    """Read every call of the server that asks a handler, from its source."""
    found: set[tuple[str, str]] = set()
    operations = ast.parse((_package("langgraph_runtime_inmem") / "ops.py").read_text())
    resources = {}
    for node in ast.walk(operations):
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "resource":
                    resources[node.name] = ast.literal_eval(line.value)
    for node in ast.walk(operations):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if node.func.attr == "handle_event":
            owner = ast.unparse(node.func.value).rsplit(".", 1)[-1]
            found.add((resources[owner], ast.literal_eval(node.args[1])))
    for node in ast.walk(ast.parse((_package("langgraph_api") / "api" / "store.py").read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "handle_event":
            found.add(("store", ast.literal_eval(node.args[0])))
    return found


def test_the_table_has_all_that_the_platform_asks_about() -> None:
    sdk, server = _known_to_the_sdk(), _asked_by_the_server()

    assert len(sdk) > 15
    assert len(server) > 15
    assert sdk | server == set(TABLE)


def test_the_handlers_are_those_of_the_table_and_all_else_is_refused() -> None:
    handlers = {pair for pair, registered in auth._handlers.items() if registered}

    assert handlers == set(TABLE)
    assert [handler.__name__ for handler in auth._global_handlers] == ["refuse_what_is_not_known"]


def test_the_platform_asks_from_no_other_file() -> None:
    """A new module of the platform that asks handlers has to be read before it is trusted."""
    known = {"ops.py", "store.py", "custom.py"}
    asking = {
        file.name
        for package in ("langgraph_api", "langgraph_runtime_inmem")
        for file in _package(package).rglob("*.py")
        if "handle_event(" in file.read_text() and "grpc" not in file.parts
    }

    assert asking == known


async def test_an_answer_is_as_old_as_its_request_however_long_that_waited() -> None:
    seen: list[tuple[float, int]] = []

    async def slow(_scope: Any, _receive: Any, _send: Any) -> None:
        await asyncio.sleep(0.2)
        seen.append((time.time() * 1000, received_ms()))

    async def nothing(*_: Any) -> Any:
        return None

    await NoteReceived(slow)({"type": "http"}, nothing, nothing)

    ((now, received),) = seen
    assert now - received >= 190
    assert received_ms() > received
