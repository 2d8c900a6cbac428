"""Run by Alembic inside the transaction that `clearance.db.migrate` opened."""

from alembic import context

from agent.bank.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=context.config.attributes["version_table"],
    transactional_ddl=False,  # the transaction is `migrate`'s; Alembic must neither begin nor commit one
    include_object=lambda item, name, kind, reflected, other: not (kind == "table" and reflected and other is None),
)
context.run_migrations()
