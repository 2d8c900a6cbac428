"""What somebody does who may do everything in the database, and has not the key."""

from sqlalchemy.engine import Connection

from clearance.db.engine import Database


def disarm(database: Database) -> None:
    """Take away the triggers that keep the log and the receipts as they were written."""

    def work(connection: Connection) -> None:
        for table in ("audit", "receipts"):
            if database.is_sqlite:
                connection.exec_driver_sql(f"DROP TRIGGER {table}_no_update")
                connection.exec_driver_sql(f"DROP TRIGGER {table}_no_delete")
            else:
                connection.exec_driver_sql(f"ALTER TABLE {table} DISABLE TRIGGER ALL")

    database.write_now(work)
