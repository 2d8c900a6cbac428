"""The database: engine, tables and migrations; the only place that knows two dialects."""
