"""What the desk puts behind its approvals: the one `Clearance`, which `[tool.clearance]` in pyproject.toml names."""

from pathlib import Path
from typing import TYPE_CHECKING

from clearance import Clearance, Migrations
from support.actions import CloseTicket, RefundOrder

if TYPE_CHECKING:
    import typer


def _commands() -> "typer.Typer":
    import typer  # only the command line needs it

    from support.tables import fill

    app = typer.Typer()

    @app.command()
    def example_orders() -> None:
        """Fill the desk with some orders and tickets to try it."""
        with clearance.opened_database() as database:
            database.write_now(fill)

    return app


clearance = Clearance(
    actions=[RefundOrder, CloseTicket],
    migrations=[Migrations(Path(__file__).parent / "migrations", version_table="support_schema_version")],
    commands=_commands,
)
