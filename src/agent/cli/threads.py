"""`clearance pending`, `show`, `approve`, `reject`, `edit`: what is held, and an answer to it."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from agent.cli.cards import SHORT, card, table
from agent.cli.server import GRAPH, Held, all_held, connected, find, held_in
from agent.cli.terminal import Code, out, say, say_json, warn

_Request = Annotated[
    str, typer.Argument(metavar="REQUEST", help="Id of the request, or as much of its beginning as is unique.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def pending(context: typer.Context, as_json: _Json = False) -> None:
    """List what waits for an answer, the longest waiting first."""
    with connected(context) as client:
        held = all_held(client)
    if as_json:
        say_json([_as_json(one) for one in held])
    elif held:
        out.print(table([(one.payload, one.thread_id) for one in held], datetime.now(UTC)))
    else:
        say("Nothing waits for an answer.")


def show(context: typer.Context, request: _Request, as_json: _Json = False) -> None:
    """Show all that there is to know about one request before it is answered."""
    with connected(context) as client:
        held = find(client, request)
    if as_json:
        say_json(_as_json(held))
    else:
        out.print(card(held.payload, held.thread_id, datetime.now(UTC)))


def approve(context: typer.Context, request: _Request) -> None:
    """Approve a request exactly as it stands now, and wait for what comes of it."""
    _answer(context, request, {"approved": True}, "Approving")


def reject(
    context: typer.Context,
    request: _Request,
    reason: Annotated[str, typer.Option(help="Why not; the agent and whoever asked read it.")],
) -> None:
    """Reject a request: nothing of it happens, and the agent is told why."""
    from agent.clearance.canonical import clean

    if not reason.strip():
        raise typer.BadParameter("needs a sentence", param_hint="--reason")
    _answer(context, request, {"approved": False, "reason": clean(reason.strip())}, "Rejecting")


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
    """
    from agent.clearance.canonical import clean

    edited: dict[str, str] = {}
    for change in changes:
        name, separator, value = change.partition("=")
        if not separator or not name or name in edited:
            raise typer.BadParameter(f"{change!r} must be NAME=VALUE, each name once", param_hint="--set")
        edited[name] = clean(value)
    _answer(context, request, {"approved": True, "edited_args": edited}, "Changing")


def _answer(context: typer.Context, reference: str, answer: dict[str, Any], doing: str) -> None:
    """Send an answer to the question as it is now, wait for the run, and exit with what came of it."""
    with connected(context) as client:
        held = find(client, reference)
        say(f"{doing} {held.request_id[:SHORT]}: {held.sentence}", "dim")
        about = {"id": held.request_id, "digest": held.payload["digest"]}
        ended = client.runs.wait(
            held.thread_id,
            GRAPH,
            command={"resume": {held.interrupt_id: {**answer, **about}}},
            multitask_strategy="enqueue",
            raise_error=False,
        )
        waiting, messages = held_in(client, held.thread_id)
    code = _tell(held, answer, waiting, messages)
    for other in waiting:
        if other.request_id != held.request_id:
            say(f"Now held: {other.request_id[:SHORT]} {other.sentence}", "yellow")
    if isinstance(ended, dict) and (error := ended.get("__error__")):
        # What came of the answer stands, whatever became of the agent's next words.
        warn(f"The agent's run failed: {error.get('message', error)}")
    raise typer.Exit(code)


def _tell(held: Held, answer: dict[str, Any], waiting: list[Held], messages: list[dict[str, Any]]) -> Code:
    """Say what became of the request and of the others of its turn, as the thread now has it."""
    results = {str(message.get("id")): message for message in messages if message.get("type") == "tool"}
    mine = results.get(f"result-{held.request_id}")
    code = _ended(held, answer, mine) if mine else _still_open(held, answer, waiting)
    for other in held.requests:
        result = results.get(f"result-{other['id']}")
        if result and not other["this"] and other["state"] in ("asked", "approved", "allowed"):
            say(f"Also: {result['content']}", "green" if result.get("status") == "success" else "red")
    return code


def _ended(held: Held, answer: dict[str, Any], result: dict[str, Any]) -> Code:
    """Say what the receipt says, and whether that is what was asked for."""
    artifact = result.get("artifact") or {}
    outcome, revision = artifact.get("outcome"), artifact.get("revision")
    say(str(result["content"]), "bold green" if outcome == "executed" else "bold red")
    # Where somebody else was first the receipt is theirs: the outcome or the revision is not what this answer asks for.
    expected = held.payload["revision"] + ("edited_args" in answer)
    if outcome == ("executed" if answer["approved"] else "rejected"):
        if outcome == "rejected" or revision == expected:
            return Code.DONE
        say("It was decided before your answer came.")
        return Code.NOT_OPEN
    if outcome in ("failed", "refused", "expired"):
        return Code.NOT_CARRIED_OUT
    say("It was decided before your answer came.")
    return Code.NOT_OPEN


def _still_open(held: Held, answer: dict[str, Any], waiting: list[Held]) -> Code:
    again = next((one for one in waiting if one.request_id == held.request_id), None)
    if again is None:
        return _elsewhere(held, waiting)
    before, after = held.payload, again.payload
    given, needed = len(after["approvals_given"]), after["approvals_needed"]
    if after["refused_answers"] > before.get("refused_answers", 0):
        say(str(after["notice"]), "bold red")
        return Code.ANSWER_REFUSED
    if after["revision"] == before["revision"] + 1 and "edited_args" in answer:
        say(f"Changed: {again.sentence}", "bold yellow")
        say(f"It waits for somebody else with the role {' and '.join(after['approvers'])}. {after['notice'] or ''}")
        return Code.DONE
    if after["revision"] > before["revision"]:
        say(f"Not done, and asked again. {after['notice'] or ''}", "bold red")
        return Code.NOT_CARRIED_OUT
    if given > len(before["approvals_given"]):
        say(f"Recorded: {given} of {needed} approvals. It waits for {needed - given} more.", "bold yellow")
        return Code.DONE
    say("Your answer did not arrive: the question was put anew meanwhile. Look at it again.", "bold red")
    return Code.ANSWER_REFUSED


def _elsewhere(held: Held, waiting: list[Held]) -> Code:
    """Tell of a request that is neither done nor asked: the rest of its turn is decided first."""
    states = {str(one["id"]): one["state"] for other in waiting for one in other.requests}
    match states.get(held.request_id):
        case "approved" | "allowed":
            left = sum(state == "asked" for state in states.values())
            say(f"Recorded. It is carried out when the rest of its turn is decided, {left} to go.", "bold yellow")
            return Code.DONE
        case "asked":
            say("Not done, and asked again after another request of its turn.", "bold red")
            return Code.NOT_CARRIED_OUT
        case _:
            say("The thread does not tell what became of it; the audit log does.", "bold red")
            return Code.ERROR


def _as_json(held: Held) -> dict[str, Any]:
    return {"thread_id": held.thread_id, "interrupt_id": held.interrupt_id, **held.payload}
