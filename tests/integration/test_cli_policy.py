"""`clearance policy`: the table of rules compiles, or the first error is named with its line."""

from pathlib import Path

import pytest

from tests.support.command import run
from tests.support.server import ROOT
from tests.support.world import POLICY


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLICY_FILE", str(ROOT / "policy.toml"))


def test_the_policy_of_the_settings_is_valid() -> None:
    ran = run("policy", "check")

    assert ran.code == 0
    assert "valid, 6 rules" in ran.out


def test_a_policy_with_an_error_is_7_and_names_path_and_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text(POLICY.replace("args.amount > usd(25000)", "args.amout > usd(25000)"))
    number = next(at for at, text in enumerate(broken.read_text().splitlines(), 1) if "amout" in text)

    ran = run("policy", "check", str(broken))

    assert ran.code == 7
    assert ran.err.startswith(f"{broken}:{number}: ")
    assert ran.out == ""


def test_a_policy_that_is_missing_is_7(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLICY_FILE", str(tmp_path / "none.toml"))

    assert run("policy", "check").code == 7
    assert run("policy", "explain").code == 7
    assert "none.toml" in run("policy", "explain").err


def test_explain_lists_the_rules_in_order_and_the_default_last() -> None:
    rules = run("policy", "explain", "--json").json["rules"]

    assert [(rule["action"], rule["verdict"]) for rule in rules] == [
        ("transfer_funds", "allow"),
        ("transfer_funds", "ask"),
        ("transfer_funds", "ask"),
        ("reverse_transfer", "ask"),
        ("reverse_transfer", "ask"),
        ("delete_user", "ask"),
        ("*", "ask"),
    ]
    assert (rules[1]["approvals"], rules[1]["approvers"], rules[1]["expires_s"]) == (2, "treasurer", 86_400)


def test_explain_shows_a_table_for_people() -> None:
    shown = run("policy", "explain").out

    assert "2 × treasurer" in shown
    assert "anything else" in shown


def test_neither_needs_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:////nowhere/at/all.db")

    assert run("policy", "check").code == 0
