"""`clearance freeze`, `unfreeze`, `status`: the one switch that stops every effect."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.cards import moment
from agent.cli.database import audit_keys, current_settings, existing_database
from agent.cli.terminal import Failed, say, say_json, warn

if TYPE_CHECKING:
    from agent.clearance.audit import Log
    from agent.clearance.gate import Gate
    from agent.clearance.journal import Switch
    from agent.clearance.signing import Keys
    from agent.db.engine import Database


def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Tell whether effects may run, and how many requests are open."""
    from datetime import UTC, datetime

    from agent.clearance import journal
    from agent.clearance.audit import stopped_by_clock

    with existing_database(current_settings()) as database:
        switch, counts = database.read_now(lambda c: (journal.read_switch(c), journal.count_open(c)))
    ahead = switch.ahead(datetime.now(UTC))
    if as_json:
        frozen = None
        if switch.frozen_at:
            frozen = {"by": switch.frozen_by, "reason": switch.frozen_reason, "at": switch.frozen_at.isoformat()}
        say_json({"frozen": frozen, "ahead_s": int(ahead.total_seconds()) if ahead else None, "open": counts})
    else:
        if switch.frozen_at:
            say(_since(switch), "bold red")
        if ahead:
            say(stopped_by_clock(ahead), "bold red")
        if not switch.frozen_at and not ahead:
            say("Effects may run.", "green")
        say(_open(counts))


def freeze(
    reason: Annotated[str, typer.Option(help="Why; everybody who is refused meanwhile reads it.")],
) -> None:
    """Stop every effect, approved ones included. When this returns none is in flight.

    Look-ups go on and requests can be rejected.
    You are recorded as the operating system's user.
    """
    from agent.clearance import journal
    from agent.clearance.desk import WrongInputError, not_frozen, read_freeze_reason
    from agent.db.engine import DatabaseBusy

    try:
        said = read_freeze_reason(reason)
    except WrongInputError as exc:
        raise typer.BadParameter(str(exc).removeprefix("reason: "), param_hint="--reason") from exc
    settings = current_settings()
    with existing_database(settings) as database:
        gate = gate_that_switches(database, audit_keys(settings))

        def work(log: "Log") -> "tuple[bool, Switch, dict[str, int]]":
            gate.freeze(log, by=os_person(), reason=said, via=_VIA)
            return log.frozen, journal.read_switch(log.connection), journal.count_open(log.connection)

        with _saying_that_it_waits():
            try:
                was_frozen, switch, counts = gate.write_now(work)
            except DatabaseBusy as exc:
                raise Failed(not_frozen(exc)) from exc
    say(f"{_since(switch)}{' Nothing changed.' if was_frozen else ''}", "bold red")
    say("No effect is in flight, and none starts before `clearance unfreeze`.")
    say(f"{_open(counts)} Approvals are refused meanwhile; rejections count.")


def unfreeze() -> None:
    """Let effects run again. Nothing runs by itself: what was refused meanwhile has to be asked for again."""
    from agent.clearance import journal

    settings = current_settings()
    with existing_database(settings) as database:
        gate = gate_that_switches(database, audit_keys(settings))

        def work(log: "Log") -> tuple[bool, dict[str, int]]:
            gate.unfreeze(log, by=os_person(), via=_VIA)
            return log.frozen, journal.count_open(log.connection)

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

    from agent.clearance.action import Actions
    from agent.clearance.gate import Gate
    from agent.clearance.judging import Judge
    from agent.clearance.policy import Policy, Verdict

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


def _open(counts: dict[str, int]) -> str:
    total = sum(counts.values())
    if not total:
        return "No request is open."
    cleared = counts["approved"] + counts["allowed"]
    is_are = "1 request is" if total == 1 else f"{total} requests are"
    return f"{is_are} open: {counts['asked']} to decide, {cleared} cleared and not carried out yet."
