"""`clearance seed`: a bank to work with. `clearance --help` loads this and nothing else of the agent."""

from enum import StrEnum
from typing import Annotated

import typer

app = typer.Typer()


class Size(StrEnum):
    """How much of a bank."""

    SMALL = "small"
    FULL = "full"


@app.command(rich_help_panel="The bank")
def seed(
    size: Annotated[Size, typer.Option(help="full: a year of business. small: enough to try things.")] = Size.FULL,
    if_empty: Annotated[bool, typer.Option("--if-empty", help="leave a bank that has customers as it is")] = False,
) -> None:
    """Fill an empty bank with made-up business, always the same. Migrates first; refuses a bank that has customers."""
    from agent.app import clearance
    from agent.bank.seed import SIZES, BankNotEmpty
    from agent.bank.seed import seed as fill

    with clearance.opened_database() as database:
        try:
            planted = database.write_now(lambda connection: fill(connection, size.value), is_long=True)
        except BankNotEmpty as exc:
            if if_empty:
                typer.echo("The bank has customers already; it stays as it is.")
                return
            typer.echo(str(exc), err=True)
            raise typer.Exit(1) from exc
    made = SIZES[size.value]
    typer.echo(
        f"Seeded {made.customers:,} customers, {made.accounts:,} accounts and {made.transfers:,} transfers,"
        f" {len(planted)} oddities among them for analyze_transactions to find."
    )
