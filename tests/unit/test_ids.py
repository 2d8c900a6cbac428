"""Ids in a path are read as the platform reads them, whatever their spelling."""

from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pytest
from starlette.types import Receive, Scope, Send

from clearance.server.entry.closed_routes import refusal
from clearance.server.entry.ids import ReadIds, canonical_id
from clearance.server.entry.paths import parts_of
from clearance.settings import Settings

ID = "0199b0c4-9f6e-7abc-8def-0123456789ab"
SPELLINGS = [
    ID.upper(),
    ID.replace("-", ""),
    "{" + ID + "}",
    f"urn:uuid:{ID}",
    ID.replace("-", "").upper(),
    ID[:8] + ID[8:].replace("-", ""),
    unquote("%30199b0c4-9f6e-7abc-8def-0123456789ab"),
]


async def seen(path: str, root: str = "/noauth") -> str:
    """Give the path that what is behind the middleware sees."""
    found: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert unquote(scope.get("raw_path", b"").decode()) in ("", scope["path"])
        found.append(scope["path"])

    async def nothing(*_: Any) -> Any:
        raise AssertionError

    # Inside: no run is looked for, since there is no server here.
    await ReadIds(app)({"type": "http", "method": "GET", "path": path, "root_path": root}, nothing, nothing)
    return found[0]


@pytest.mark.parametrize("spelled", SPELLINGS)
async def test_every_spelling_of_an_id_is_one(spelled: str) -> None:
    assert UUID(spelled) == UUID(ID)

    assert canonical_id(spelled) == ID
    assert await seen(f"/threads/{spelled}") == f"/threads/{ID}"
    assert await seen(f"/threads/{spelled}/") == f"/threads/{ID}/"
    assert await seen(f"//threads/{spelled}") == f"//threads/{ID}"
    assert await seen(f"/prefix/threads/{spelled}/state") == f"/prefix/threads/{ID}/state"
    assert await seen(f"/threads/{ID}/runs/{spelled}/join") == f"/threads/{ID}/runs/{ID}/join"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/ok",
        "/threads",
        "/threads/",
        "/threads/search",
        "/threads/x/runs/wait",
        f"/approvals/requests/{UUID(ID).hex}",
    ],
)
async def test_what_is_no_id_stays_as_it_is(path: str) -> None:
    assert await seen(path) == path


@pytest.mark.parametrize(
    ("path", "root"),
    [("/internal/truncate", ""), ("//internal/truncate", ""), ("/prefix/internal/truncate", "/prefix")],
)
def test_a_closed_route_is_closed_wherever_the_server_is_mounted(path: str, root: str) -> None:
    scope = {"type": "http", "path": path, "root_path": root, "headers": [], "client": ("127.0.0.1", 1)}

    assert parts_of(scope) == ["internal", "truncate"]
    assert refusal(scope, Settings(auth="on")) == (404, "Not Found")
