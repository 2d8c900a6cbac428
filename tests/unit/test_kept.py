"""What is read of a statement for PostgreSQL before it is sent in a transaction that is somebody else's to end."""

import pytest

from clearance.db.kept import Kept

KEPT = Kept("ours")


@pytest.mark.parametrize(
    "sql",
    [
        "COMMIT",
        " \n\tcommit;",
        "-- a comment\nCOMMIT",
        "-- a comment\rCOMMIT",
        "/* one /* in another */ */ COMMIT",
        "/* COMMIT */ ; /* */ ROLLBACK",
        "SELECT 'it''s; fine'; COMMIT",
        "SELECT E'it\\'s; fine'; COMMIT",
        'SELECT ";" FROM "a""b"; COMMIT',
        "SELECT $$ ; $$; COMMIT",
        "SELECT $a$ $$ ; $b$ $a$; COMMIT",
        "DO $$ BEGIN NULL; END $$; COMMIT",
        "SELECT 1 -- ';\n; COMMIT",
        "ROLLBACK WORK TO SAVEPOINT ours",
        "ROLLBACK TO OURS",
        'ROLLBACK TRANSACTION TO "ours"',
        "RELEASE ours",
        "SAVEPOINT ours",
        "ROLLBACK AND CHAIN",
        "prepare transaction 'a'",
        "SET search_path = elsewhere",
        "SET LOCAL lock_timeout = 0",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "RESET ALL",
    ],
)
def test_what_ends_it_or_holds_for_others_is_refused_wherever_it_stands(sql: str) -> None:
    assert KEPT.refusal(sql) is not None


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "-- COMMIT",
        "/* ; COMMIT */",
        "/* never closed; COMMIT",
        "SELECT 'never closed; COMMIT",
        "SELECT '; COMMIT'",
        "SELECT $$; COMMIT; $$",
        'SELECT "; COMMIT" FROM a',
        "SELECT CASE WHEN a THEN 1 END FROM b",
        "UPDATE a SET b = 1; UPDATE c SET commit = 2",
        "DO $$ BEGIN COMMIT; END $$",
        "PREPARE a AS SELECT 1",
        "SAVEPOINT theirs",
        "ROLLBACK TO SAVEPOINT theirs",
        'ROLLBACK TO "OURS"',
        "RELEASE SAVEPOINT theirs",
        "SET CONSTRAINTS ALL DEFERRED",
        "SET LOCAL my.setting = 'a'",
    ],
)
def test_what_does_not_is_sent(sql: str) -> None:
    assert KEPT.refusal(sql) is None
