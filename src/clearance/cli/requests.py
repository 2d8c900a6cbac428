"""`clearance pending`, `show`, `approve`, `reject`, `edit`: what is held, and a decision on it, by the approvals API.

A decision is about exactly what was fetched: its digest and revision go with it.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from clearance.cli.cards import SHORT, card, in_flight_table, moment, roles, table
from clearance.cli.terminal import Code, Failed, line, out, say, say_json, warn

if TYPE_CHECKING:
    from clearance.cli.approvals import Approvals
    from clearance.contract import Detail, Entry, Standing, Tab

#: Longer lists end here: more is no list that somebody reads.
_MOST = 1_000
_PAGE = 200
#: Seconds that a decision waits for the rest of its turn to be carried out, once it is carried out itself.
_REST_S = 20
_BETWEEN_S = 0.3

_Request = Annotated[
    str, typer.Argument(metavar="REQUEST", help="Id of the request, or as much of its beginning as is unique.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON, in the shapes of the approvals API.")]


def pending(
    context: typer.Context,
    mine: Annotated[bool, typer.Option("--mine", help="Only what waits for you.")] = False,
    in_flight: Annotated[
        bool, typer.Option("--in-flight", help="Only what was started elsewhere, and nobody knows what became of it.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """List what is open, first to expire first, and what was started elsewhere and is not known to be done."""
    if mine and in_flight:
        raise typer.BadParameter("is another list than --mine", param_hint="--in-flight")
    tab: Tab = "mine" if mine else "in_flight" if in_flight else "open"

    async def work(client: "Approvals") -> tuple[list["Entry"], datetime, bool, list["Entry"]]:
        found, now, is_all = await _list(client, tab)
        flying = (await _list(client, "in_flight"))[0] if tab == "open" and not as_json else []
        return found, now, is_all, flying

    requests, now, is_all, flying = _with(context, work)
    if as_json:
        say_json([one.model_dump(mode="json") for one in requests])
    elif requests:
        out.print(in_flight_table(requests) if in_flight else table(requests, now))
    else:
        say(_NOTHING[tab])
    if flying:
        say("In flight elsewhere, and what became of it is not known:", "dim")
        out.print(in_flight_table(flying))
    if not is_all:
        warn(f"There are more than these: the first {_MOST:,} to expire are listed.")


_NOTHING = {
    "mine": "Nothing waits for you.",
    "open": "Nothing waits for an answer.",
    "in_flight": "Nothing is in flight elsewhere.",
}


async def _list(client: "Approvals", tab: "Tab") -> tuple[list["Entry"], datetime, bool]:
    """Read a list: its requests, the server's time, and whether these are all."""
    found: list[Entry] = []
    after: str | None = None
    while True:
        page = await client.page(tab, after=after, limit=_PAGE)
        found += page.requests
        after = page.next
        if after is None or len(found) >= _MOST:
            return found, client.now(), after is None


def show(context: typer.Context, request: _Request, as_json: _Json = False) -> None:
    """Show all that there is to know about one request: before it is decided, or after, with its receipt."""

    async def work(client: "Approvals") -> tuple["Detail", datetime]:
        return await client.detail((await _find(client, request)).id), client.now()

    shown, now = _with(context, work)
    if as_json:
        say_json(shown.model_dump(mode="json"))
        return
    out.print(card(shown.payload, shown.request.thread_id, now, shown=shown))
    if shown.answers.why_not:
        say(f"{shown.answers.why_not} {shown.answers.hint}".strip(), "yellow")
    if shown.answers.may_settle:
        command = f"clearance settle {shown.request.id[:SHORT]} --happened|--not --reason …"
        early = shown.answers.not_happened_from
        say(f"You may say what became of it: {command}", "yellow")
        if early is not None:
            say(f"That it did not happen can be said from {moment(early, seconds=True)} on.", "yellow")


def approve(
    context: typer.Context,
    request: _Request,
    digest: Annotated[
        str | None,
        typer.Option(
            help="Refuse it unless its arguments are those that were shown: `request.digest` of `show --json`."
        ),
    ] = None,
    revision: Annotated[
        int | None,
        typer.Option(
            help="Refuse it where it was asked again since it was shown: `request.revision` of `show --json`."
        ),
    ] = None,
) -> None:
    """Approve a request exactly as it stands now, and wait for what comes of it.

    With --digest and --revision: exactly as it was shown before; otherwise it is refused (4) and stays open.
    """
    was = {name: value for name, value in (("digest", digest), ("revision", revision)) if value is not None}

    async def work(client: "Approvals") -> Code:
        shown = await _asked(client, request)
        return await _decide(client, shown, shown.request.model_copy(update=was), "approve", "Approving")

    raise typer.Exit(_with(context, work))


def reject(
    context: typer.Context,
    request: _Request,
    reason: Annotated[str, typer.Option(help="Why not; the agent and whoever asked read it.")],
) -> None:
    """Reject a request: nothing of it happens, and the agent is told why."""
    from clearance.canonical import clean

    said = str(clean(reason.strip()))
    if not said:
        raise typer.BadParameter("needs a sentence", param_hint="--reason")

    async def work(client: "Approvals") -> Code:
        shown = await _asked(client, request)
        return await _decide(client, shown, shown.request, "reject", "Rejecting", reason=said)

    raise typer.Exit(_with(context, work))


def settle(
    context: typer.Context,
    request: _Request,
    happened: Annotated[
        bool, typer.Option("--happened/--not", help="Whether it happened, as you found out where it would have.")
    ],
    reason: Annotated[str, typer.Option(help="How you know; it stands in the receipt for ever, with your name.")],
) -> None:
    """Say what became of a request of which nobody knows: started elsewhere, and no answer came.

    It takes the roles of its approvers, and somebody else than who asked for it or changed it.
    Nothing is done by it: it is a record.
    """
    from clearance.canonical import clean

    said = str(clean(reason.strip()))
    if not said:
        raise typer.BadParameter("needs a sentence", param_hint="--reason")

    async def work(client: "Approvals") -> Code:
        from clearance.cli.approvals import Refused

        found = await _find(client, request)
        try:
            standing = await client.settle(found.id, happened=happened, reason=said)
        except Refused as exc:
            say(str(exc), "bold red")
            now = (await client.detail(found.id)).request
            return exc.code if now.state in _IN_FLIGHT else Code.NOT_OPEN
        say(standing.sentence, "bold green" if happened else "bold red")
        return Code.DONE

    raise typer.Exit(_with(context, work))


def edit(
    context: typer.Context,
    request: _Request,
    changes: Annotated[
        list[str], typer.Option("--set", metavar="NAME=VALUE", help="An argument and its new value; repeat for more.")
    ],
) -> None:
    """Approve a request with some arguments changed, such as --set amount=4500.

    Less of the same is cleared by you alone where one approval is enough.
    Whatever else you change waits for somebody else.
    A change that cannot be made is refused (4), and nothing is recorded.
    """
    from clearance.canonical import clean

    edited: dict[str, str] = {}
    for change in changes:
        name, separator, value = change.partition("=")
        if not separator or not name or name in edited:
            raise typer.BadParameter(f"{change!r} must be NAME=VALUE, each name once", param_hint="--set")
        edited[name] = clean(value)

    async def work(client: "Approvals") -> Code:
        from clearance.cli.approvals import Refused

        shown = await _asked(client, request)
        try:
            checked = await client.check(shown.request, edited)
        except Refused as exc:
            return await _refused(client, shown.request, exc)
        say(f"It becomes: {checked.sentence}", "bold")
        if checked.is_enough:
            say("Your change is enough: it counts as your approval.", "dim")
        else:
            say(f"Your change is not enough: it needs {roles(checked.approvers, checked.approvals_needed)}.", "yellow")
        return await _decide(client, shown, shown.request, "edit", "Changing", arguments=edited)

    raise typer.Exit(_with(context, work))


Result = TypeVar("Result")


def _with(context: typer.Context, work: Callable[["Approvals"], Awaitable[Result]]) -> Result:
    """Do this with a client of the server of --url."""
    from clearance.cli.approvals import approvals

    async def connected() -> Result:
        async with approvals(str(context.obj)) as client:
            return await work(client)

    return asyncio.run(connected())


async def _find(client: "Approvals", reference: str) -> "Entry":
    """Find the request whose id begins with `reference`, open or not.

    Raises:
        Failed: none does, or several do.
    """
    wanted = reference.strip().lower()
    if not wanted:
        raise Failed("A request is named by its id, or by a unique beginning of it.", Code.USAGE)
    found = await client.beginning(wanted) if re.fullmatch("[0-9a-f]{1,100}", wanted) else []
    if not found:
        raise Failed(f"There is no request that you may see whose id begins with {line(reference)!r}.", Code.NOT_OPEN)
    if len(found) > 1:
        listed = "".join(f"\n  {line(one.id)}  {line(one.state)}: {line(_sentence(one))}" for one in found)
        raise Failed(f"Several requests begin with {wanted!r}; give more of the id:{listed}", Code.USAGE)
    return found[0]


async def _asked(client: "Approvals", reference: str) -> "Detail":
    """Read a request that is to be decided.

    Raises:
        Failed: there is none, or it is decided.
    """
    shown = await client.detail((await _find(client, reference)).id)
    if shown.request.state == "asked":
        return shown
    ended = shown.receipt.sentence if shown.receipt else None
    how = ended or (shown.request.flight.sentence if shown.request.flight else f"It is {shown.request.state}.")
    raise Failed(f"{shown.request.id[:SHORT]} no longer waits for an answer. {how}", Code.NOT_OPEN)


async def _decide(client: "Approvals", shown: "Detail", seen: "Entry", decision: str, doing: str, **more: Any) -> Code:
    """Send a decision on what was seen, and tell what came of it and of the rest of its turn."""
    from clearance.cli.approvals import Refused, Unreachable

    say(f"{doing} {seen.id[:SHORT]}: {_sentence(seen)}", "dim")
    try:
        standing = await client.decide(seen, decision, **more)
    except Refused as exc:
        return await _refused(client, seen, exc)
    except Unreachable as exc:
        tells = f"`clearance show {seen.id[:SHORT]}` tells"
        raise Failed(f"{exc} Whether your answer was recorded is not known; {tells}.") from exc
    code = _tell(shown.request, decision, standing)
    try:
        await _tell_of_others(client, shown, standing)
    except Failed as exc:
        # What came of the answer stands, whatever becomes of the others.
        warn(str(exc))
    return code


async def _refused(client: "Approvals", seen: "Entry", refusal: Failed) -> Code:
    """Say why an answer was not taken; it may have come second, or too late."""
    now = await client.detail(seen.id) if refusal.code == Code.ANSWER_REFUSED else None
    if now is None or now.request.state == "asked":
        say(str(refusal), "bold red")
        return refusal.code
    flight = now.request.flight.sentence if now.request.flight else None
    say((now.receipt.sentence if now.receipt else None) or flight or f"It is {now.request.state}.", "bold red")
    match now.request.state:
        case "expired":
            return Code.NOT_CARRIED_OUT
        case "withdrawn":
            say("It was withdrawn before your answer came.")
        case _:
            say("It was decided before your answer came.")
    return Code.NOT_OPEN


def _tell(seen: "Entry", decision: str, standing: "Standing") -> Code:
    """Say what became of a request whose decision was recorded."""
    request, receipt = standing.request, standing.receipt
    is_changed = decision == "edit" and request.digest != seen.digest
    revision = seen.revision + is_changed
    if receipt is not None:
        say(standing.sentence, "bold green" if receipt.outcome == "executed" else "bold red")
        if receipt.outcome != ("rejected" if decision == "reject" else "executed"):
            return Code.NOT_CARRIED_OUT
        if receipt.outcome == "executed" and receipt.revision != revision:
            say("It was changed by somebody else after your answer came.")
            return Code.NOT_OPEN
        return Code.DONE
    if request.state != "asked":
        left = len(standing.waits_for)
        recorded = f"Recorded. It is carried out when the rest of its turn is decided, {left} to go."
        say(recorded if left else standing.sentence, "bold yellow")
        return Code.DONE
    if request.revision > revision:
        say(f"Not done, and asked again. {request.notice or ''}", "bold red")
        return Code.NOT_CARRIED_OUT
    if is_changed:
        say(f"Changed: {_sentence(request)}", "bold yellow")
        say(f"It waits for somebody else: it needs {roles(request.approvers, request.approvals_needed)}.")
        return Code.DONE
    needed, more = request.approvals_needed, standing.approvals_missing
    say(f"Recorded: {needed - more} of {needed} approvals. It waits for {more} more.", "bold yellow")
    return Code.DONE


async def _tell_of_others(client: "Approvals", shown: "Detail", standing: "Standing") -> None:
    """Say what became of the other requests of its turn, and which of them are to be decided now."""
    before = {one["id"] for one in shown.payload["turn"]["requests"] if not one["this"] and one["state"] in _OPEN}
    others = await _others(client, standing, before) if before else []
    for one in others:
        if one["state"] not in _OPEN:
            other = await client.detail(one["id"])
            ended = (other.receipt.sentence if other.receipt else None) or f"{_sentence(other.request)}: {one['state']}"
            say(f"Also: {ended}", "green" if one["state"] == "executed" else "red")
    for one in others:
        if one["state"] == "asked":
            say(f"Now held: {one['id'][:SHORT]} {one['sentence'] or one['action']}", "yellow")


_IN_FLIGHT = ("executing", "unknown")
#: What has no receipt yet.
_OPEN = ("asked", "approved", "allowed", *_IN_FLIGHT)


async def _others(client: "Approvals", standing: "Standing", before: set[str]) -> list[dict[str, Any]]:
    """Read the others as they are when the turn is carried out, or waits; their effects come one after another."""
    until = asyncio.get_running_loop().time() + _REST_S
    while True:
        requests = (await client.detail(standing.request.id)).payload["turn"]["requests"]
        others = [one for one in requests if one["id"] in before]
        states = {one["state"] for one in requests}
        is_over = standing.receipt is None or "asked" in states or states.isdisjoint(_OPEN)
        if is_over or asyncio.get_running_loop().time() >= until:
            return others
        await asyncio.sleep(_BETWEEN_S)


def _sentence(entry: "Entry") -> str:
    return entry.sentence or entry.line
