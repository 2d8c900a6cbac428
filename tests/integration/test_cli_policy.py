"""`clearance policy`: the table of rules compiles, or the first error is named with its line."""

import json
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
    assert "valid, 8 rules" in ran.out


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
        ("send_payment", "ask"),
        ("send_payment", "ask"),
        ("delete_user", "ask"),
        ("*", "ask"),
    ]
    assert (rules[1]["approvals"], rules[1]["approvers"], rules[1]["expires_s"]) == (2, "treasurer", 86_400)


def test_explain_shows_a_table_for_people() -> None:
    shown = run("policy", "explain").out

    assert "2 × treasurer" in shown
    assert "anything else" in shown


PAID = {
    "from_owner": "Kai", "from_customer": "C-1", "from_status": "open", "to_owner": "Mara", "to_customer": "C-2",
    "to_status": "open", "from_balance": 900_000, "from_balance_after": 0, "to_balance": 0, "to_balance_after": 0,
    "moving": 50_000, "is_new_payee": False, "sent_24h": 0, "requester_sent_24h": 0, "waiting": 0,
}  # fmt: skip
PAY = json.dumps({"from_account": "A-2001", "to_account": "A-2002", "amount": "500.00"})


def test_a_call_that_nobody_made_is_judged_and_every_rule_that_was_tried_is_shown() -> None:
    allowed = run("policy", "try", "transfer_funds", PAY, "--facts", json.dumps(PAID))
    asked = run("policy", "try", "transfer_funds", PAY, "--facts", json.dumps(PAID | {"is_new_payee": True}), "--json")

    assert (allowed.code, asked.code) == (0, 0)
    assert allowed.out.splitlines()[-1].startswith("allow, low risk: small transfer")
    assert [one["outcome"] for one in asked.json["tried"]] == ["does not", "does not", "matches"]
    assert (asked.json["verdict"], asked.json["approvers"]) == ("ask", "approver")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pay_everybody", "{}"), "there is no action pay_everybody; known are delete_user"),
        (("transfer_funds", "{"), "the arguments are no JSON"),
        (("transfer_funds", "[]"), "the arguments are written as a JSON object"),
        (("transfer_funds", "{}"), "from_account: field required"),
        (("transfer_funds", PAY), "--facts: from_owner: field required"),
    ],
)
def test_a_call_that_cannot_be_one_is_2_and_says_why(arguments: tuple[str, ...], message: str) -> None:
    ran = run("policy", "try", *arguments)

    assert ran.code == 2
    assert message in ran.err


def test_neither_needs_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:////nowhere/at/all.db")

    assert run("policy", "check").code == 0
