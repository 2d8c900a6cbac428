"""`clearance audit`: read and check the log. Of these only `settle-clock` and `rotate-key` write to the database."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from clearance.cli.database import audit_keys, existing_database
from clearance.cli.project import current_clearance, current_settings
from clearance.cli.terminal import Code, Failed, line, out, say, say_json, warn

if TYPE_CHECKING:
    from clearance.db.engine import Database
    from clearance.journal.audit import Head

app = typer.Typer(help="Read and check the audit log.", no_args_is_help=True)

#: Rows read in one transaction of an export.
_CHUNK = 5_000

_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(epilog="Exit codes: 0 the log is whole, 6 it is not.")
def verify(
    head: Annotated[
        str | None, typer.Option(metavar="SEQ:MAC", help="A head noted before, as `audit head` prints it.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="SEQ:MAC", help="A head up to which all was verified before: only what follows is read."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Check every row of the log, and name the first bad one; then the head, and the journal against the log.

    What people are shown as asked, answered and done is compared with what the log tells: the row and the column that
    differ are named.

    A log that was cut at its end, head and journal with it, shows only against a head noted elsewhere.

    With --since what stands before that head is not read again: whether it was changed since, and whether the journal
    holds rows that the log tells nothing of, only the whole check tells.
    """
    from clearance.journal import audit
    from clearance.journal.verification import verify
    from clearance.key_files import left_by_change

    settings = current_settings()
    noted = _read_head(head, "--head") if head is not None else None
    known = _read_head(since, "--since") if since is not None else None
    with existing_database(settings) as database:
        keys, actions = audit_keys(settings), current_clearance().actions
        found = database.read_now(lambda connection: verify(connection, keys, noted, actions=actions, since=known))
        left = "" if found.is_whole else left_by_change(settings, database.read_now(audit.read_key_id))
    text = _head_text(found.head)
    after = f" after row {found.since:,}" if found.since else ""
    if as_json:
        say_json(
            {
                "whole": found.is_whole,
                "rows": found.rows,
                "since": found.since,
                "head": text,
                "broken_at": found.broken_at,
                "reason": found.reason,
                "bound_from": found.bound_from,
                "ahead_s": int(found.ahead.total_seconds()) if found.ahead else None,
            }
        )
    elif found.is_whole:
        say(f"Whole: {found.rows - found.since:,} rows{after}.", "green")
        if found.since:
            say("What stands before was not read again.")
        say(f"Head {text}")
        if found.bound_from is None and found.rows:
            say("The journal is not bound yet: it will be from the next row on.", "yellow")
        elif found.bound_from and found.bound_from > 1:
            say(f"The journal is bound from row {found.bound_from} on; older rows of it are not.", "yellow")
    elif found.broken_at is None:
        say(f"Broken: {found.reason}.", "bold red")
        say(f"All {found.rows - found.since:,} rows{after} are whole; what is beside them was changed.")
    else:
        say(f"Broken at row {found.broken_at}: {found.reason}.", "bold red")
        say(f"{max(found.rows - found.since, 0):,} rows before it{after} are whole.")
    if left and not as_json:
        warn(left)
    if found.ahead and not as_json:
        warn(audit.stopped_by_clock(found.ahead))
    raise typer.Exit(Code.DONE if found.is_whole else Code.LOG_BROKEN)


@app.command()
def head() -> None:
    """Print where the log ends, as SEQ:MAC. Noted somewhere else, it proves later that nothing was cut off."""
    from clearance.journal.audit import read_head

    with existing_database(current_settings()) as database:
        typer.echo(_head_text(database.read_now(read_head)))


@app.command()
def tail(
    count: Annotated[int, typer.Option("-n", min=1, max=10_000, help="How many rows.")] = 20,
    as_json: _Json = False,
) -> None:
    """Print the newest rows, oldest of them first."""
    from clearance.journal.audit import read_head, rows

    with existing_database(current_settings()) as database:
        newest = database.read_now(lambda c: list(rows(c, after=max(0, read_head(c).seq - count))))
    if as_json:
        say_json(newest)
        return
    for row in newest:
        of = f" {row['request_id'][:8]}" if row["request_id"] else ""
        details = " ".join(f"{name}={_short(value)}" for name, value in json.loads(row["details"]).items())
        text = Text(f"{row['seq']:>6}  {row['at'][:19].replace('T', ' ')}  ")
        text.append(line(row["event"]), "bold").append(f"{of}  {line(row['actor'])}  ").append(line(details), "dim")
        out.print(text, soft_wrap=True)


@app.command()
def export(
    file: Annotated[Path | None, typer.Argument(help="File to write; standard output if not given.")] = None,
) -> None:
    """Write the whole log as JSON Lines: one row a line, exactly as it was signed (docs/audit.md)."""
    from clearance.db.files import open_private

    with existing_database(current_settings()) as database:
        if file is None:
            for row in _all_rows(database):
                typer.echo(json.dumps(row))
            return
        try:
            with open_private(file) as stream:
                count = sum(1 for row in _all_rows(database) if stream.write(f"{json.dumps(row)}\n"))
        except OSError as exc:
            raise Failed(f"{file} cannot be written: {exc.strerror}.") from exc
    say(f"Wrote {count:,} rows to {file}.")


@app.command(epilog="Exit codes: 0 nothing is wrong, 6 something is.")
def check(
    file: Annotated[Path, typer.Argument(help="An export, as `audit export` writes it.")],
    key_file: Annotated[
        list[Path] | None,
        typer.Option(help="File with the key, or several after a change of key: the one that signs now first."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """Check an export without a database: that it is in order, and that what was approved is what ran.

    With --key-file each row's signature is checked as well. Without it whoever made the file can have made it up.
    """
    from clearance.journal.exported import check as check_export
    from clearance.journal.signing import Keys

    try:
        given = [one.read_text().strip().encode() for one in key_file or []]
        with file.open(encoding="utf-8") as lines:
            found = check_export(lines, Keys(given[0], tuple(given[1:])) if given else None)
    except (OSError, UnicodeDecodeError) as exc:
        raise Failed(f"It cannot be read: {exc}") from exc
    if as_json:
        findings = [{"row": one.seq, "text": one.text} for one in found.findings]
        say_json({"rows": found.rows, "signed": found.is_signed, "executed": found.executed, "proven": found.proven,
                  "findings": findings})  # fmt: skip
    else:
        for one in found.findings:
            say(f"Row {one.seq}: {one.text}.", "bold red")
        of = f"{found.proven:,} of {found.executed:,} effects are proven to be what was cleared"
        say(f"{found.rows:,} rows in order; {of}.", "red" if found.findings else "green")
        if not found.is_signed:
            say("No key was given: signatures were not checked, so the file may be made up.", "yellow")
    raise typer.Exit(Code.LOG_BROKEN if found.findings else Code.DONE)


@app.command()
def settle_clock() -> None:
    """Say on the record that this machine's clock is right, and the log ahead of it; effects may run again.

    Open requests that were asked, changed or approved in rows later than the clock expire.
    """
    from datetime import UTC, datetime

    from clearance.cli.effects import gate_that_switches, os_person
    from clearance.gate.deadlines import settle_clock as settle

    settings = current_settings()
    with existing_database(settings) as database:
        gate = gate_that_switches(database, audit_keys(settings))
        settled = gate.write_now(lambda log: settle(log, os_person()))
    if settled is None:
        say("The log is not ahead of the clock. Nothing changed.", "green")
        return
    from clearance.text.rendering import span

    say(f"The clock says {datetime.now(UTC):%Y-%m-%d %H:%M} UTC; the log was {span(settled.ahead)} ahead.", "green")
    say(f"{settled.expired} open requests expired with it. Effects may run again.")


@app.command()
def rotate_key(
    new_key_file: Annotated[
        Path | None,
        typer.Option(help="File with the new key; needed where AUDIT_KEY holds the old one. Made here if not there."),
    ] = None,
) -> None:
    """Change the key on the record. Stop the servers before, and give them the new key.

    A key file is replaced by itself, and the old key noted beside it; otherwise set AUDIT_KEY and AUDIT_OLD_KEYS.
    """
    from clearance.cli.effects import gate_that_switches, os_person
    from clearance.db.files import open_private, sync
    from clearance.journal.signing import fingerprint
    from clearance.key_files import audit_key_file, left_by_change, old_keys_file
    from clearance.key_files import new_key_file as beside

    settings = current_settings()
    is_in_file = not settings.audit_key.get_secret_value()
    if not is_in_file and new_key_file is None:
        raise typer.BadParameter("needed, since AUDIT_KEY holds the key that signs now", param_hint="--new-key-file")
    with existing_database(settings) as database:
        keys = audit_keys(settings)
        gate = gate_that_switches(database, keys)
        gate.check_log()
        file = audit_key_file(settings) if is_in_file else None
        new_file = new_key_file or (beside(file) if file else Path())
        try:
            new = read_or_make_key(new_file)
            if new == keys.now or len(new) < 32:
                raise Failed(f"{new_file} holds no other key of at least 32 characters. Nothing was changed.")
            if file:  # before the log is under the new key, so that no crash loses the old one
                with old_keys_file(file).open("a") as noted:
                    noted.write(f"{keys.now.decode()}\n")
                old_keys_file(file).chmod(0o600)
                if new_file != beside(file):  # a rename within one folder is all that is left after the log
                    with open_private(beside(file)) as stream:
                        stream.write(new.decode())
                sync(old_keys_file(file))
                sync(beside(file))
        except OSError as exc:
            raise Failed(f"The key file cannot be written, and nothing was changed: {exc}") from exc
        gate.write_now(lambda log: log.rotate_key(os_person(), new, via="command line"))
        if file:
            try:
                beside(file).replace(file)
                sync(file)
            except OSError as exc:
                where = left_by_change(settings, fingerprint(new))
                raise Failed(f"The log is under the key {fingerprint(new)} now, but {file}: {exc}. {where}") from exc
            if new_key_file:
                with suppress(OSError):
                    new_key_file.unlink()
    say(f"The log is under the key {fingerprint(new)} now; {fingerprint(keys.now)} signed before.", "green")
    if file:
        say(f"{file} holds it, {old_keys_file(file).name} beside it the old ones. Start the servers again.")
    else:
        say(f"Set AUDIT_KEY to what {new_file} holds, and add the old key to AUDIT_OLD_KEYS. Then start the servers.")


def read_or_make_key(file: Path) -> bytes:
    """Read a key file, or make one that only its owner reads."""
    import secrets

    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_hex(32))
    return file.read_text().strip().encode()


def _all_rows(database: "Database") -> Iterator[dict[str, Any]]:
    """Yield what the log holds now. A transaction for each chunk: rows never change, and no reader holds one open."""
    from itertools import islice

    from clearance.journal.audit import read_head, rows

    seq, until = 0, database.read_now(read_head).seq
    while seq < until:
        after = seq
        chunk = database.read_now(lambda c: list(islice(rows(c, after), min(_CHUNK, until - after))))  # noqa: B023  runs at once
        if not chunk:
            raise Failed(f"The log ends at row {seq}, its head says {until}; `clearance audit verify` tells more.")
        yield from chunk
        seq = chunk[-1]["seq"]


def _read_head(text: str, option: str) -> "Head":
    from clearance.journal.audit import Head

    found = re.fullmatch(r"(0):()|([1-9]\d{0,17}):([0-9a-f]{64})", text.strip())
    if found is None:
        raise typer.BadParameter("must be SEQ:MAC, as `clearance audit head` prints it", param_hint=option)
    return Head(int(found[1] or found[3]), found[4] or "")


def _head_text(head: "Head") -> str:
    return f"{head.seq}:{head.mac}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return f"{text[:8]}…" if re.fullmatch(r"[0-9a-f]{32,}", text) else text
