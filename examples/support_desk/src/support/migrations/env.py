"""Run by Alembic inside the transaction that the library opened."""

from alembic import context

from support.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
    transactional_ddl=False,  # the transaction is the library's; Alembic must neither begin nor commit one
)
context.run_migrations()
