"""Policy: a table from action, facts and requester to a verdict; what is wrong with the file is said with its line."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest

from clearance.actions.action import Action, Actions, Effect, Facts, Material, Reading, Volatile
from clearance.errors import PolicyError
from clearance.gate.policy import Policy, load_policy, parse_policy
from clearance.principal import Principal

HEAD = """\
[roles]
clerk = "decides little things"
chief = "decides the rest"

[defaults]
expires = "2h"
approvers = "clerk"
risk = "medium"

"""


class BoilFacts(Facts):
    """What is true about a kettle."""

    litres: Volatile[int]
    owner: Material[str]
    since: Material[datetime]
    tags: Volatile[list[str]]
    is_new: Material[bool]
    hint: Volatile[bytes | None] = None


class Boil(Action[BoilFacts]):
    """Boil water."""

    degrees: int = 100
    kind: Literal["tea", "coffee"] = "tea"
    hurry: bool = False

    def facts(self, reading: Reading) -> BoilFacts:
        raise NotImplementedError

    def perform(self, effect: Effect) -> str:
        raise NotImplementedError


ACTIONS = Actions([Boil])
FACTS = BoilFacts(litres=2, owner="Ann", since=datetime(2026, 1, 1, tzinfo=UTC), tags=["a", "b"], is_new=False)
OLGA = Principal("olga", roles=frozenset({"night"}))


def read(rules: str, head: str = HEAD) -> Policy:
    return parse_policy(head + rules, "policy.toml", ACTIONS, {"hundred": lambda n: n * 100})


def rule(**values: Any) -> str:
    lines = "".join(f"{name} = {_toml(value)}\n" for name, value in values.items())
    return f"[[rule]]\n{lines}\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int) else f"'''{value}'''"


@pytest.mark.parametrize(
    ("condition", "matches"),
    [
        ("true", True),
        ("false", False),
        ("args.degrees == 100", True),
        ("args.degrees > hundred(1)", False),
        ("args.degrees >= hundred(facts.litres)", False),
        ("args.kind == 'tea' && !args.hurry", True),
        ("facts.owner.startsWith('A')", True),
        ("facts.owner in ['Bob', 'Ann']", True),
        ("'a' in facts.tags && size(facts.tags) == 2", True),
        ("facts.since < timestamp('2026-06-01T00:00:00Z')", True),
        ("facts.is_new || requested_by == 'olga'", True),
        ("'night' in roles", True),
        ("'day' in roles", False),
    ],
)
def test_a_rule_matches_when_its_condition_does(condition: str, matches: bool) -> None:
    policy = read(rule(action="boil", when=condition, verdict="allow"))

    verdict = policy.judge(Boil(), FACTS, OLGA)

    assert verdict.word == ("allow" if matches else "ask")


def test_the_first_rule_that_matches_decides() -> None:
    policy = read(
        rule(name="hot", action="boil", when="args.degrees > 99", verdict="deny")
        + rule(name="any", action="boil", verdict="allow")
    )

    assert policy.judge(Boil(degrees=100), FACTS, OLGA).word == "deny"
    assert policy.judge(Boil(degrees=99), FACTS, OLGA).word == "allow"
    assert policy.judge(Boil(degrees=99), FACTS, OLGA).rule == "any (policy.toml:16)"


def test_what_no_rule_matches_is_asked_with_the_defaults() -> None:
    verdict = read("").judge(Boil(), FACTS, OLGA)

    assert (verdict.word, verdict.approvers, verdict.approvals, verdict.risk) == ("ask", "clerk", 1, "medium")
    assert verdict.expires == timedelta(hours=2)
    assert verdict.rule == "default: no rule matched"


def test_a_rule_says_who_and_how_many_and_how_long() -> None:
    policy = read(rule(action="boil", verdict="ask", approvers="chief", approvals=3, risk="critical", expires="30m"))

    verdict = policy.judge(Boil(), FACTS, OLGA)

    assert (verdict.approvers, verdict.approvals, verdict.risk) == ("chief", 3, "critical")
    assert verdict.expires == timedelta(minutes=30)


@pytest.mark.parametrize(
    "condition", ["1 / (args.degrees - 100) > 0", "facts.tags[7] == 'a'", "hundred(9223372036854775807) > 0"]
)
def test_a_condition_that_fails_denies_and_later_rules_do_not_count(condition: str) -> None:
    policy = read(rule(action="boil", when=condition, verdict="allow") + rule(action="boil", verdict="allow"))

    verdict = policy.judge(Boil(), FACTS, OLGA)

    assert verdict.word == "deny"
    assert "the condition failed" in verdict.rule


def test_a_rule_says_why_in_place_of_its_file_and_line() -> None:
    why = "Boiling it dry ruins the kettle."
    rule = f'[[rule]]\nname = "empty"\naction = "boil"\nverdict = "ask"\nwhy = "{why}"\n'

    assert read(rule).judge(Boil(), FACTS, OLGA).rule == f"empty: {why}"
    with pytest.raises(PolicyError, match=r"policy\.toml:14: why must be one sentence"):
        read(rule.replace(why, "x" * 201))


@pytest.mark.parametrize(
    ("rules", "line", "message"),
    [
        (rule(action="boil", verdict="maybe"), 12, "verdict must be allow, ask or deny"),
        (rule(action="boil"), 10, "verdict must be allow, ask or deny"),
        (rule(action="fry", verdict="allow"), 11, "unknown action 'fry'; known are boil"),
        (rule(verdict="allow"), 10, "unknown action None"),
        (rule(action="boil", verdict="ask", approvers="king"), 13, "unknown role 'king'"),
        (rule(action="boil", verdict="ask", approvals=0), 13, "approvals must be 1 to 5 people, not 0"),
        (rule(action="boil", verdict="ask", approvals=6), 13, "approvals must be 1 to 5"),
        (rule(action="boil", verdict="ask", approvals=True), 13, "approvals must be 1 to 5"),
        (rule(action="boil", verdict="allow", approvals=2), 13, "approvals belongs to verdict ask"),
        (rule(action="boil", verdict="deny", approvers="clerk"), 13, "approvers belongs to verdict ask"),
        (rule(action="boil", verdict="ask", risk="awful"), 13, "unknown risk 'awful'"),
        (rule(action="boil", verdict="ask", expires="soon"), 13, "expires must be a number and s, m, h or d"),
        (rule(action="boil", verdict="ask", expires="0h"), 13, "expires must be"),
        (rule(action="boil", verdict="ask", expires=24), 13, "expires must be"),
        (rule(action="boil", verdict="ask", colour="red"), 13, "unknown key 'colour'"),
        (
            rule(action="boil", when="args.grams > 5", verdict="allow"),
            12,
            "args.grams is not known; known are args.degrees",
        ),
        (rule(action="boil", when="true || args.grams > 5", verdict="allow"), 12, "args.grams is not known"),
        (
            rule(action="boil", when="facts.hint == 'x'", verdict="allow"),
            12,
            "facts.hint is bytes | None, which no condition",
        ),
        (rule(action="boil", when="args.degrees > '5'", verdict="allow"), 12, "> is not for int and string"),
        (rule(action="boil", when="args.degrees > 5.0", verdict="allow"), 12, "> is not for int and double"),
        (rule(action="boil", when="args.degrees", verdict="allow"), 12, "not a yes or no"),
        (rule(action="boil", when="thousand(1) > 5", verdict="allow"), 12, "thousand is not known; known are"),
        (rule(action="boil", when="args.degrees >", verdict="allow"), 12, "'<EOF>'; write == for equal, && for and"),
        (rule(action="boil", when="true\n&& args.grams > 5", verdict="allow"), 13, "args.grams is not known"),
        (rule(action="boil", when="", verdict="allow"), 12, "must be a condition, or left out"),
        (rule(action="boil", when=5, verdict="allow"), 12, "must be a condition, or left out"),
        (rule(action="boil", name=5, verdict="allow"), 12, "name must be text"),
        (rule(action="boil", verdict="allow") + rule(action="fry", verdict="allow"), 15, "unknown action 'fry'"),
        ("[rules]\naction = 'boil'\n", 10, "unknown key 'rules'"),
        ("rule = 5\n", None, "rule"),
        ("[[rule]\n", 10, "Expected"),
        ("[[rule]]\naction = 'boil'\naction = 'boil'\n", 12, "overwrite"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(rules: str, line: int | None, message: str) -> None:
    with pytest.raises(PolicyError, match=r"^policy\.toml") as raised:
        read(rules)

    assert message in str(raised.value)
    if line:
        assert raised.value.line == line
        assert str(raised.value).startswith(f"policy.toml:{line}: ")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("", r"\[roles\]"),
        ("[roles]\n", r"\[roles\]"),
        ("[roles]\nclerk = 5\n", r"\[roles\]"),
        ("[roles]\nclerk = 'x'\n", r"\[defaults\]"),
        ("[roles]\nclerk = 'x'\n[defaults]\n", "unknown role None"),
        ("[roles]\nclerk = 'x'\n[defaults]\napprovers = 'king'\n", "unknown role 'king'"),
        ("[roles]\nclerk = 'x'\n[defaults]\napprovers = 'clerk'\nverdict = 'allow'\n", "unknown key 'verdict'"),
    ],
)
def test_a_policy_without_roles_or_defaults_is_refused(head: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        read("", head)


def test_a_policy_that_is_missing_is_refused_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="there is no policy here") as raised:
        load_policy(tmp_path / "policy.toml", ACTIONS, {})

    assert raised.value.path == str(tmp_path / "policy.toml")


def test_a_policy_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_bytes(b"\xff\xfe")

    with pytest.raises(PolicyError, match="cannot be read"):
        load_policy(tmp_path / "policy.toml", ACTIONS, {})


def test_facts_must_be_declared_material_or_volatile() -> None:
    with pytest.raises(TypeError, match=r"Careless.weight must be declared"):

        class Careless(Facts):
            weight: int


def test_an_action_must_name_its_facts() -> None:
    with pytest.raises(TypeError, match="must be written as Action"):

        class Vague(Action):  # type: ignore[type-arg]  # that it has no facts is what is tested
            """No facts."""

            def facts(self, reading: Reading) -> Facts:
                raise NotImplementedError

            def perform(self, effect: Effect) -> str:
                raise NotImplementedError


def test_rules_stand_in_their_order_and_the_default_beside_them() -> None:
    policy = read(rule(name="a", action="boil", when="true", verdict="allow") + rule(action="boil", verdict="deny"))

    assert [(one.action, one.when, one.verdict.word) for one in policy.rules] == [
        ("boil", "true", "allow"),
        ("boil", "", "deny"),
    ]
    assert policy.default.word == "ask"


def test_a_call_that_nobody_made_can_be_checked() -> None:
    policy = read(rule(action="boil", when="'night' in roles && requested_by == 'olga'", verdict="allow"))

    assert policy.check(Boil(), FACTS, requested_by="olga", roles=["night"]).word == "allow"
    assert policy.check(Boil(), FACTS).word == "ask"
