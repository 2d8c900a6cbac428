"""A chain of migrations, as a project names its own: without what it takes to run one."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Migrations:
    """An Alembic folder for the tables of a project.

    Attributes:
        folder: Where its `env.py` is.
        version_table: A name of its own, so that chains in one database do not take one another's.

    Its `env.py` runs in a transaction that is open already: it finds the connection and the name of the version table
    in `context.config.attributes`, under `connection` and `version_table`, and neither begins nor commits.

    Example:
        >>> from clearance import Clearance
        >>> mine = Migrations(Path("src/my_agent/migrations"), version_table="my_schema_version")
        >>> Clearance(actions=[], migrations=[mine]).migrations[0].version_table
        'my_schema_version'
    """

    folder: Path
    version_table: str
