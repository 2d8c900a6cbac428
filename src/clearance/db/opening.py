"""The database that the settings name."""

import sqlalchemy as sa

from clearance.db.engine import Database
from clearance.settings import Settings, SettingsError


def open_database(settings: Settings) -> Database:
    """Open the database these settings name.

    Raises:
        SettingsError: DATABASE_URL is neither SQLite nor PostgreSQL.
    """
    try:
        return Database(settings.database_url)
    except (ValueError, sa.exc.ArgumentError) as exc:
        raise SettingsError(f"DATABASE_URL: {exc}") from exc
