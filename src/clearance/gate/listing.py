"""What an MCP server lists, against what was taken of it: what is new or changed waits until an operator has looked."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.engine import Connection

from clearance.actions.definition import ToolDefinition
from clearance.gate.transitions import SYSTEM_ACTOR
from clearance.journal.audit import Log
from clearance.journal.tools import SeenTool, add_tool, all_tools, change_tool, tool_id, tools_of
from clearance.loglines import logger_of

logger = logger_of(__name__)

#: Tools of one server that wait, at most: a server that lists others each time must not grow the journal.
_MOST_WAITING = 500


@dataclass
class Listing:
    """What of a server may be called, and what waits, by tool."""

    server: str
    taken: dict[str, ToolDefinition] = field(default_factory=dict)
    #: True for one of which another definition is taken; False for one that is new.
    waiting: dict[str, bool] = field(default_factory=dict)
    is_first: bool = False


def read_listing(connection: Connection, server: str) -> Listing | None:
    """Read what was taken of a server, and what waits; None where it was never listed."""
    return _listing(server, tools_of(connection, [server]))


def _listing(server: str, seen: Sequence[SeenTool]) -> Listing | None:
    if not seen:
        return None
    found = Listing(server)
    for one in seen:
        if one.state == "accepted":
            found.taken[one.name] = one.read()
    for one in seen:
        if one.state == "waiting":
            found.waiting[one.name] = one.name in found.taken
    return found


def note_listing(log: Log, server: str, listed: Sequence[ToolDefinition]) -> Listing:
    """Write down what a server lists: the first time it is taken, later what is new or changed waits."""
    seen = tools_of(log.connection, [server])
    if not seen:
        for one in listed:
            _add(log, one, 1, is_taken=True)
        if listed:
            log.append("tools_taken", SYSTEM_ACTOR, server=server, tools={one.name: one.digest for one in listed})
        return Listing(server, taken={one.name: one for one in listed}, is_first=True)
    accepted = {one.name: one for one in seen if one.state == "accepted"}
    waiting = {one.name: one for one in seen if one.state == "waiting"}
    last = {one.name: one.number for one in seen}
    for one in listed:
        now, held = accepted.get(one.name), waiting.get(one.name)
        if (now is not None and now.digest == one.digest) or (held is not None and held.digest == one.digest):
            continue
        if held is None and len(waiting) >= _MOST_WAITING:
            logger.error("MCP server %s: %d of its tools wait; %s is not written down", server, len(waiting), one.name)
            continue
        if held is not None:
            # In the place of the one that waited: nobody had looked at it.
            change_tool(log.connection, held.tool_id, digest=one.digest, definition=one.as_json(), seen_at=log.now)
        else:
            waiting[one.name] = _add(log, one, last.get(one.name, 0) + 1, is_taken=False)
        before = {"before": now.digest} if now is not None else {}
        log.append("tool_waits", SYSTEM_ACTOR, server=server, tool=one.name, digest=one.digest, **before)
    found = _listing(server, tools_of(log.connection, [server]))
    assert found is not None
    return found


def _add(log: Log, one: ToolDefinition, number: int, *, is_taken: bool) -> SeenTool:
    decided = {"decided_at": log.now, "decided_by": SYSTEM_ACTOR} if is_taken else {}
    added = SeenTool(
        tool_id(one.server, one.name, number), one.server, one.name, number, one.digest, one.as_json(),
        "accepted" if is_taken else "waiting", log.now, **decided,  # type: ignore[arg-type]  # each of its own type
    )  # fmt: skip
    add_tool(log.connection, added)
    return added


class NotWaitingError(ValueError):
    """No definition that waits begins with this digest, or several do; the text says so."""


def accept(log: Log, digest: str, *, by: str, via: str) -> SeenTool:
    """Let the definition that waits with this digest, or a unique beginning of it, be called from the next start on.

    Raises:
        NotWaitingError: there is none.
    """
    seen = all_tools(log.connection)
    found = [one for one in seen if one.state == "waiting" and one.digest.startswith(digest.lower())]
    if len(found) != 1 or not digest:
        many = f"{len(found)} definitions" if found else "no definition"
        raise NotWaitingError(f"{many} that waits begins with {digest!r}; `clearance tools` lists what waits")
    (one,) = found
    before = [old for old in seen if (old.server, old.name, old.state) == (one.server, one.name, "accepted")]
    for old in before:
        change_tool(log.connection, old.tool_id, state="replaced")
    change_tool(log.connection, one.tool_id, state="accepted", decided_at=log.now, decided_by=by)
    told = {"before": before[0].digest} if before else {}
    log.append("tool_accepted", by, server=one.server, tool=one.name, digest=one.digest, **told, via=via)
    return one


def why_not(listing: Listing, listed: Sequence[ToolDefinition], used: ToolDefinition) -> str:
    """Say why a tool is not called as its server lists it now, other than it was when this process started."""
    now = next((one for one in listed if one.name == used.name), None)
    at = f"{used.name} at the MCP server {used.server}"
    taken = listing.taken.get(used.name)
    if now is None:
        return f"{at} is not there any more."
    if taken is not None and taken.digest == now.digest:
        return f"the definition of {at} changed, and was accepted; it is called so from the next start of this server."
    return (
        f"the definition of {at} is not the one that was taken, and waits until an operator has looked"
        " (clearance tools)."
    )
