"""`clearance migrate` and `seed`: make a database to work with."""

from enum import StrEnum
from typing import Annotated

import typer

from agent.cli.database import current_settings, opened_database
from agent.cli.terminal import Failed, say


class Size(StrEnum):
    """How much of a bank."""

    SMALL = "small"
    FULL = "full"


def migrate() -> None:
    """Make the database, or bring it to the schema of this version. Safe to run twice."""
    from agent.db.migrate import migrate as bring_up_to_date

    with opened_database(current_settings()) as database:
        bring_up_to_date(database)
    say("The database has the schema of this version.")


def seed(
    size: Annotated[Size, typer.Option(help="full: a year of business. small: enough to try things.")] = Size.FULL,
    if_empty: Annotated[bool, typer.Option("--if-empty", help="leave a bank that has customers as it is")] = False,
) -> None:
    """Fill an empty bank with made-up business, always the same. Migrates first; refuses a bank that has customers."""
    from agent.bank.seed import SIZES, BankNotEmpty
    from agent.bank.seed import seed as fill
    from agent.db.migrate import migrate as bring_up_to_date

    with opened_database(current_settings()) as database:
        bring_up_to_date(database)
        try:
            planted = database.write_now(lambda connection: fill(connection, size.value), is_long=True)
        except BankNotEmpty as exc:
            if if_empty:
                say("The bank has customers already; it stays as it is.")
                return
            raise Failed(str(exc)) from exc
    made = SIZES[size.value]
    say(
        f"Seeded {made.customers:,} customers, {made.accounts:,} accounts and {made.transfers:,} transfers,"
        f" {len(planted)} oddities among them for analyze_transactions to find."
    )
