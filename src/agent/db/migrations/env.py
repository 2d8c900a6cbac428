"""Run by Alembic inside the transaction that `db.migrate` opened."""

from alembic import context

from agent.db import bank_tables  # noqa: F401  registers the tables that the migrations are compared with
from agent.db.migrate import VERSION_TABLE
from agent.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=False,  # the transaction is `migrate`'s; Alembic must neither begin nor commit one
    include_object=lambda item, name, kind, reflected, other: not (kind == "table" and reflected and other is None),
)
context.run_migrations()
