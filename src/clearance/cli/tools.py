"""`clearance tools`: what MCP servers say their tools are; what is new or changed is looked at, and accepted, here."""

import json
from difflib import unified_diff
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clearance.cli.cards import SHORT, moment
from clearance.cli.database import audit_keys, existing_database
from clearance.cli.effects import gate_that_switches, os_person
from clearance.cli.project import current_settings
from clearance.cli.terminal import Failed, line, out, say, say_json

if TYPE_CHECKING:
    from clearance.journal.tools import SeenTool

app = typer.Typer(help="See the tools of MCP servers, and accept what is new or changed.", no_args_is_help=True)

#: In what order they are listed: what an operator has to look at comes first.
_ORDER = ("waiting", "accepted", "replaced")


@app.command("list")
def list_tools(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Definitions that were replaced, too.")] = False,
) -> None:
    """List the tools of MCP servers, what waits first. A tool that waits is not called as it is now."""
    found = [one for one in _read() if every or one.state != "replaced"]
    found.sort(key=lambda one: (_ORDER.index(one.state), one.server, one.name, one.number))
    if as_json:
        say_json([_shown(one) for one in found])
        return
    if not found:
        say("No MCP server has been asked for its tools yet; a server of this project does so when it starts.")
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("Digest", "Server", "Tool", "State", "Seen", "By"):
        table.add_column(heading, header_style="dim", overflow="fold")
    was = {(one.server, one.name) for one in found if one.state == "accepted"}
    for one in found:
        state = (
            f"waits, {'changed' if (one.server, one.name) in was else 'new'}" if one.state == "waiting" else one.state
        )
        style = "bold yellow" if one.state == "waiting" else ""
        table.add_row(
            one.digest[:SHORT], line(one.server), line(one.name), Text(state, style=style), moment(one.seen_at),
            line(one.decided_by or ""),
        )  # fmt: skip
    out.print(table)
    if any(one.state == "waiting" for one in found):
        say("`clearance tools show DIGEST` shows what differs in it, `clearance tools accept DIGEST` takes it.")


@app.command()
def show(
    digest: Annotated[str, typer.Argument(help="A unique beginning of the digest that `list` prints.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a definition: of one that waits, what differs from the one that is called now."""
    seen = _read()
    one = _found(seen, digest)
    before = next(
        (old for old in seen if (old.server, old.name, old.state) == (one.server, one.name, "accepted")), None
    )
    if as_json:
        say_json({**_shown(one), "before": _shown(before) if before is not None and before is not one else None})
        return
    say(f"{line(one.name)} of the MCP server {line(one.server)}, {one.state}; digest {one.digest}")
    text = _lines(one)
    if before is None or before is one:
        for part in text:
            say(part)
        return
    say(f"Against the one that is called now, {before.digest[:SHORT]}, seen {moment(before.seen_at)}:")
    for part in unified_diff(_lines(before), text, "called now", "waits", n=10_000, lineterm=""):
        say(part, "green" if part.startswith("+") else "red" if part.startswith("-") else "")


@app.command()
def accept(
    digest: Annotated[str, typer.Argument(help="A unique beginning of the digest that `list` prints.")],
) -> None:
    """Take the definition that waits. A server of this project calls the tool so from its next start on.

    What was approved for the definition before is asked again. You are recorded as the operating system's user.
    """
    from clearance.gate.listing import NotWaitingError
    from clearance.gate.listing import accept as take

    settings = current_settings()
    with existing_database(settings) as database:
        gate = gate_that_switches(database, audit_keys(settings))
        by = os_person()
        try:
            one = gate.write_now(lambda log: take(log, digest, by=by, via="command line"))
        except NotWaitingError as exc:
            raise Failed(f"{str(exc)[:1].upper()}{str(exc)[1:]}.") from exc
    say(f"{line(one.name)} of the MCP server {line(one.server)} is accepted as {one.digest[:SHORT]}.", "green")
    say("A server of this project calls it so from its next start on.")


def _read() -> "list[SeenTool]":
    import sqlalchemy as sa

    from clearance.journal.tools import all_tools

    with existing_database(current_settings()) as database:
        return database.read_now(
            lambda connection: all_tools(connection) if sa.inspect(connection).has_table("tool_definitions") else []
        )


def _found(seen: "list[SeenTool]", digest: str) -> "SeenTool":
    found = [one for one in seen if one.digest.startswith(digest.lower())]
    # One that was replaced and came back has the same digest twice.
    found = [one for one in found if one.state != "replaced"] or found[-1:]
    if len(found) != 1:
        many = f"{len(found)} definitions begin" if found else "No definition begins"
        raise Failed(f"{many} with {digest!r}; `clearance tools list` lists them.")
    return found[0]


def _lines(one: "SeenTool") -> list[str]:
    """Write a definition line by line."""
    stored = one.definition
    # Whole, however long: `say` makes it visible.
    said = ["description:", *(f"  {part}" for part in str(stored["description"]).splitlines())]
    said += ["hints:", *(f"  {name}: {json.dumps(value)}" for name, value in sorted(stored["hints"].items()))]
    schema = json.dumps(stored["schema"], indent=2, sort_keys=True, ensure_ascii=True)
    return [*said, "arguments:", *(f"  {part}" for part in schema.splitlines())]


def _shown(one: "SeenTool") -> dict[str, Any]:
    return {
        "server": one.server,
        "tool": one.name,
        "digest": one.digest,
        "state": one.state,
        "seen_at": one.seen_at.isoformat(),
        "decided_at": one.decided_at.isoformat() if one.decided_at else None,
        "decided_by": one.decided_by,
        "definition": one.definition,
    }
