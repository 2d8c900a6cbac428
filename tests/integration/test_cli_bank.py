"""`clearance migrate` and `seed`, on both databases."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from agent.bank.tables import customers
from clearance.db import engine
from clearance.db.engine import Database
from tests.support.command import run


@pytest.fixture(autouse=True)
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("AUDIT_KEY", "a key for tests, not a secret at all")


def test_seed_fills_an_empty_bank_and_refuses_a_second_time(database: Database) -> None:
    first = run("seed", "--size", "small")
    second = run("seed", "--size", "small")

    assert first.code == 0
    assert "20 customers, 40 accounts and 300 transfers" in first.out
    assert second.code == 1
    assert "has customers already" in second.err
    assert database.read_now(lambda c: c.scalar(sa.select(sa.func.count()).select_from(customers))) == 20


def test_seed_takes_the_time_it_needs_on_a_slow_machine(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_STATEMENT_S", 0.001)
    monkeypatch.setattr(engine, "_STEPS", 100)

    assert run("seed", "--size", "small").code == 0


def test_migrate_can_run_on_a_database_that_is_up_to_date() -> None:
    assert run("migrate").code == 0
    assert run("status").code == 0


def test_migrate_makes_a_database_and_seed_makes_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, command in (("a", ["migrate"]), ("b", ["seed", "--size", "small"])):
        monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'new' / name}.db")

        assert run(*command).code == 0
        assert run("status", "--json").json["open"] == {"asked": 0, "approved": 0, "allowed": 0}


def test_a_database_without_a_journal_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    other = Database(url)
    other.write_now(lambda c: c.exec_driver_sql("CREATE TABLE something (a INTEGER)"))
    other.close()
    monkeypatch.setenv("DATABASE_URL", url)

    ran = run("audit", "verify")

    assert ran.code == 1
    assert "has no journal" in ran.err


def test_a_journal_of_another_version_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    old = Database(url)
    old.write_now(lambda c: c.exec_driver_sql("CREATE TABLE audit_head (id INTEGER)"))
    old.close()
    monkeypatch.setenv("DATABASE_URL", url)

    ran = run("status")

    assert ran.code == 1
    assert "The database refused it: no such column" in ran.err
    assert ran.err.count("\n") == 1
