"""`clearance freeze`, `unfreeze`, `status`: the one switch that stops every effect."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clearance.cli.cards import SHORT, moment
from clearance.cli.database import audit_keys, existing_database
from clearance.cli.project import current_settings
from clearance.cli.terminal import Failed, say, say_json, warn

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from clearance.db.engine import Database
    from clearance.gate.gate import Gate
    from clearance.journal.audit import Log
    from clearance.journal.signing import Keys
    from clearance.journal.switch import Switch


def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Tell whether effects may run, how many requests are open, and what is in flight elsewhere."""
    from datetime import UTC, datetime

    from clearance.journal.audit import stopped_by_clock
    from clearance.journal.requests import count_open
    from clearance.journal.switch import read_switch

    with existing_database(current_settings()) as database:
        switch, counts, flying = database.read_now(lambda c: (read_switch(c), count_open(c), _in_flight(c)))
    ahead = switch.ahead(datetime.now(UTC))
    if as_json:
        frozen = None
        if switch.frozen_at:
            frozen = {"by": switch.frozen_by, "reason": switch.frozen_reason, "at": switch.frozen_at.isoformat()}
        say_json({"frozen": frozen, "ahead_s": int(ahead.total_seconds()) if ahead else None, "open": counts,
                  "in_flight": [one for one, _ in flying]})  # fmt: skip
    else:
        if switch.frozen_at:
            say(_since(switch), "bold red")
        if ahead:
            say(stopped_by_clock(ahead), "bold red")
        if not switch.frozen_at and not ahead:
            say("Effects may run.", "green")
        say(_open(counts))
        _say_in_flight(flying)


def freeze(
    reason: Annotated[str, typer.Option(help="Why; everybody who is refused meanwhile reads it.")],
) -> None:
    """Stop every effect, approved ones included. When this returns none is in flight here, and none starts.

    What was started elsewhere before cannot be called back, and is named.
    Look-ups go on and requests can be rejected.
    You are recorded as the operating system's user.
    """
    from clearance.db.engine import DatabaseBusy
    from clearance.desk.desk import WrongInputError, not_frozen, read_freeze_reason
    from clearance.gate.freeze import freeze_effects
    from clearance.journal.requests import count_open
    from clearance.journal.switch import read_switch

    try:
        said = read_freeze_reason(reason)
    except WrongInputError as exc:
        raise typer.BadParameter(str(exc).removeprefix("reason: "), param_hint="--reason") from exc
    settings = current_settings()
    with existing_database(settings) as database:
        gate = gate_that_switches(database, audit_keys(settings))

        def work(log: "Log") -> "tuple[bool, Switch, dict[str, int], list[tuple[dict[str, Any], str]]]":
            freeze_effects(log, by=os_person(), reason=said, via=_VIA)
            return log.frozen, read_switch(log.connection), count_open(log.connection), _in_flight(log.connection)

        with _saying_that_it_waits():
            try:
                was_frozen, switch, counts, flying = gate.write_now(work)
            except DatabaseBusy as exc:
                raise Failed(not_frozen(exc)) from exc
    say(f"{_since(switch)}{' Nothing changed.' if was_frozen else ''}", "bold red")
    what = "No effect of ours" if flying else "No effect"
    say(f"{what} is in flight, and none starts before `clearance unfreeze`.")
    _say_in_flight(flying)
    say(f"{_open(counts)} Approvals are refused meanwhile; rejections count.")


def unfreeze() -> None:
    """Let effects run again. Nothing runs by itself: what was refused meanwhile has to be asked for again."""
    from clearance.gate.freeze import unfreeze_effects
    from clearance.journal.requests import count_open

    settings = current_settings()
    with existing_database(settings) as database:
        gate = gate_that_switches(database, audit_keys(settings))

        def work(log: "Log") -> tuple[bool, dict[str, int]]:
            unfreeze_effects(log, by=os_person(), via=_VIA)
            return log.frozen, count_open(log.connection)

        was_frozen, counts = gate.write_now(work)
    say("Effects may run again; nothing runs by itself." if was_frozen else "Nothing was frozen.", "green")
    say(_open(counts))


_VIA = "command line"
#: Seconds of silence after which a freeze says that it waits.
_SILENT_S = 1


@contextmanager
def _saying_that_it_waits() -> Iterator[None]:
    timer = threading.Timer(_SILENT_S, warn, ["Waiting for what is in flight; not frozen yet."])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def gate_that_switches(database: "Database", keys: "Keys") -> "Gate":
    """Make a gate that can only switch: it has to work also while the policy does not load."""
    from datetime import timedelta

    from clearance.actions.action import Actions
    from clearance.gate.gate import Gate
    from clearance.gate.judging import Judge
    from clearance.gate.policy import Policy, Verdict

    deny = Verdict("deny", "no policy was loaded", "critical", None, 0, timedelta(0))
    return Gate(database, Judge(Actions([]), Policy("", {}, [], deny)), keys)


def os_person() -> str:
    """Name who runs this command."""
    # By user id: LOGNAME and USER are whatever the caller says.
    import pwd

    try:
        return f"os:{pwd.getpwuid(os.getuid()).pw_name}"
    except KeyError:
        return f"os:{os.getuid()}"


def _since(switch: "Switch") -> str:
    assert switch.frozen_at is not None
    return f"Frozen by {switch.frozen_by} since {moment(switch.frozen_at)}: {switch.frozen_reason}"


def _in_flight(connection: "Connection") -> "list[tuple[dict[str, Any], str]]":
    """Read what was started elsewhere and has no outcome, oldest first: for programs, and in words."""
    from clearance.desk.flights import in_words
    from clearance.desk.lists import read_some
    from clearance.journal.attempts import all_in_flight

    starts = all_in_flight(connection)
    requests = {one.request_id: one for one in read_some(connection, [one.request_id for one in starts])}
    found = []
    for start in starts:
        request = requests[start.request_id]
        shown = {
            "id": request.request_id,
            "sentence": request.sentence,
            "state": request.state,
            "requested_by": request.requested_by,
            "started_at": start.started_at.isoformat(),
            "next_look_at": start.next_look_at.isoformat() if start.next_look_at else None,
        }
        found.append((shown, f"{request.request_id[:SHORT]} {request.sentence or request.action}: {in_words(start)}"))
    return found


def _say_in_flight(flying: "list[tuple[dict[str, Any], str]]") -> None:
    if flying:
        say(f"In flight elsewhere, and not called back by a freeze: {len(flying)}", "yellow")
    for _, said in flying:
        say(f"  {said}")


def _open(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    if not total:
        return "No request is open."
    cleared = counts["approved"] + counts["allowed"]
    is_are = "1 request is" if total == 1 else f"{total} requests are"
    return f"{is_are} open: {counts['asked']} to decide, {cleared} cleared and not carried out yet."
