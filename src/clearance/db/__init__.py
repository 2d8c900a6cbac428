"""The database; the only place that knows two dialects.

engine         transactions: one function of the caller's each
tables         the tables, with their invariants
compiled       statements compiled once, and run by the driver
lent           an open transaction that an action reads or writes in, and may not end
orm_sessions   what a session of the ORM takes for the transaction there
kept           which statements are refused there
shadowed       what would be taken for one of the tables after it
postgres       a connection to PostgreSQL whose statements share round trips
driver_errors  what an error of a driver means: lost, busy, too late, no use
fair_lock      a lock that is given to whoever has waited for it longest
partial        indexes of some of the rows
among          rows by many ids at once
types          columns that behave the same on both
opening        the database of the settings
streaming      large tables in constant memory
chain          a chain of migrations, as a project names its own
migrate        brings a database to the schema of this version
migrations/    Alembic's chain for these tables
files          files for whoever runs this, and nobody else
"""
