"""`clearance migrate`: make a database to work with."""

from clearance.cli.database import opened_database
from clearance.cli.project import current_clearance, current_settings
from clearance.cli.terminal import say


def migrate() -> None:
    """Make the database, or bring it to the schema of this version. Safe to run twice."""
    from clearance.db.migrate import migrate as bring_up_to_date

    project = current_clearance()
    with opened_database(current_settings()) as database:
        bring_up_to_date(database, project.migrations)
    say("The database has the schema of this version.")
