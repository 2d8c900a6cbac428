"""Conditions over what tools really have: optional, broken and decimal numbers, choices, lists, maps, models in models.

Whatever a type cannot hold exactly, and whatever is not given, fails where it is tested; and failed is `deny`.
"""

import math
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Literal, NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from clearance.actions.action import Action, Actions, Effect, Facts, Material, Volatile
from clearance.actions.external import Call, Done, ExternalAction
from clearance.actions.gated import gated
from clearance.actions.origin import ToolOrigin
from clearance.errors import PolicyError
from clearance.gate.policy import Policy, parse_policy
from clearance.principal import Principal

HEAD = '[roles]\nclerk = "decides"\n[defaults]\napprovers = "clerk"\n'
OLGA = Principal("olga")
Cents = NewType("Cents", int)


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Place(BaseModel):
    city: str
    zone: int | None = None


class Customer(BaseModel):
    name: str
    place: Place
    other: Place | None = None


BOB = Customer(name="Bob", place=Place(city="Basel"))


class Line(BaseModel):
    what: str
    pieces: int


class OrderFacts(Facts):
    """What is true about an order."""

    owed: Volatile[Decimal] = Decimal("0")
    rate: Volatile[float | None] = None
    seen: Material[datetime | None] = None


class Order(Action[OrderFacts]):
    """Order something."""

    amount: Decimal = Decimal("1000.00")
    limit: int | None = None
    share: float = 0.5
    weight: int | float = 2
    size: Size = Size.SMALL
    level: Level = Level.LOW
    way: Literal["post", "pigeon", None] = "post"
    cents: Annotated[Cents, Field(ge=0)] = Cents(5)
    tags: list[str] | None = None
    parts: tuple[float, ...] = (0.5, 1.5)
    prices: list[Decimal] = Field(default=[])
    labels: dict[str, str] = Field(default={})
    counts: dict[str, int | None] = Field(default={})
    customer: Customer = Customer(name="Ann", place=Place(city="Bern"))
    payer: Customer | None = None
    lines: list[Line] = Field(default=[])
    anything: list[Any] = Field(default=[])
    either: int | str = 1
    raw: bytes = b""

    def perform(self, effect: Effect) -> str:
        raise NotImplementedError


Order.facts = lambda self, reading: OrderFacts()  # type: ignore[method-assign]  # it has facts, and none is read here


def read(rules: str, *classes: type[Action[Any]]) -> Policy:
    return parse_policy(HEAD + rules, "policy.toml", Actions(list(classes) or [Order]), {"hundred": lambda n: n * 100})


def word(when: str, facts: OrderFacts | None = None, **arguments: Any) -> str:
    """Say what a rule that allows comes to: `ask` where it does not match."""
    policy = read(f"[[rule]]\naction = 'order'\nwhen = '''{when}'''\nverdict = 'allow'\n")
    return policy.judge(Order(**arguments), facts or OrderFacts(), OLGA).word


@pytest.mark.parametrize(
    ("when", "arguments"),
    [
        ("args.amount <= decimal('1000.00') && args.amount > decimal(999)", {}),
        ("args.amount + facts.owed == decimal('1000')", {}),
        ("args.share < 0.75 && args.weight == 2.0", {}),
        ("args.size == 'small' && args.level == 1 && args.way in ['post']", {}),
        ("args.cents == 5", {}),
        ("args.way != 'pigeon' && 'post' == args.way && args.size.startsWith('s') == ('pigeon' != args.way)", {}),
        ("!has(args.limit) && !has(facts.rate) && !has(facts.seen)", {}),
        ("has(args.limit) && args.limit > hundred(2)", {"limit": 300}),
        ("!has(args.limit) || args.limit < 5", {}),
        ("has(args.tags) && 'a' in args.tags && args.tags.all(tag, size(tag) == 1)", {"tags": ["a", "b"]}),
        ("args.parts.exists(part, part > 1.0)", {}),
        ("args.prices.all(price, price < decimal('5.01'))", {"prices": ["5.00", "4"]}),
        ("has(args.labels.team) && args.labels.team == 'red'", {"labels": {"team": "red"}}),
        ("'x' in args.counts && args.counts['x'] > 2", {"counts": {"x": 3}}),
        ("args.customer.name == 'Ann' && args.customer.place.city == 'Bern'", {}),
        ("!has(args.customer.place.zone) && !has(args.customer.other) && !has(args.customer.other.city)", {}),
        ("!has(args.payer) || args.payer.place.city == 'Bern'", {}),
        ("has(args.payer) && args.payer.place.city == 'Basel'", {"payer": BOB}),
        ("size(args.lines) == 1", {"lines": [Line(what="tea", pieces=2)]}),
        ("size(args.anything) == 3 && args.anything[0] != args.anything[2]", {"anything": [1, "a", None]}),
        ("!has (\n args . limit\n) && args.cents == 5", {}),
        ("'has(args.limit)' != 'x' && !has( args.limit )  // has(args.nothing)", {}),
    ],
)  # fmt: skip
def test_what_tools_have_can_be_tested(when: str, arguments: dict[str, Any]) -> None:
    assert word(when, **arguments) == "allow"


@pytest.mark.parametrize(
    ("when", "arguments"),
    [
        ("args.limit > 5", {}),
        ("args.limit != 5", {}),
        ("!(args.limit == 5)", {}),
        ("args.tags != ['a']", {}),
        ("size(args.tags) < 3", {}),
        ("args.way != 'pigeon'", {"way": None}),
        ("args.payer.name != 'Ann'", {}),
        ("args.customer.place.zone < 5", {}),
        ("args.counts['x'] < 5", {"counts": {"x": None}}),
        ("args.counts['y'] < 5", {}),
        ("args.share < 5.0", {"share": math.nan}),
        ("!(args.share >= 5.0)", {"share": math.nan}),
        ("args.share > 5.0", {"share": math.inf}),
        ("args.parts.all(part, !(part > 5.0))", {"parts": [math.nan]}),
        ("args.weight < 5.0 || args.weight > 5.0", {"weight": 2**53 + 1}),
        ("args.cents >= 0", {"cents": 2**63}),
        ("args.amount < decimal(5)", {"amount": "1e-7"}),
        ("args.amount > decimal(5)", {"amount": "1e30"}),
        ("args.amount > decimal(5)", {"amount": "1e999999"}),
        ("args.amount < decimal(5)", {"amount": "-1e999999"}),
        ("args.amount < decimal(5)", {"amount": "1e-999999"}),
        ("args.amount + args.amount > decimal(0)", {"amount": "300000000000"}),
        ("args.amount > decimal(args.cents)", {"cents": 10**18}),
        ("args.amount < decimal(args.customer.name)", {}),
        ("args.prices.exists(price, price > decimal(5))", {"prices": ["1e30"]}),
    ],
)
def test_what_is_not_given_or_not_exact_fails_wherever_it_is_tested(when: str, arguments: dict[str, Any]) -> None:
    """None, NaN and what is too large are neither more nor less than anything: a rule that asks so is broken."""
    assert word(when, **arguments) == "deny"
    assert word(f"!({when})", **arguments) == "deny"


def test_why_a_condition_failed_is_said_in_the_words_of_the_policy() -> None:
    policy = read("[[rule]]\naction = 'order'\nwhen = 'args.limit > 5 && args.share > 0.0'\nverdict = 'allow'\n")

    missing = policy.judge(Order(), OrderFacts(), OLGA)
    broken = policy.judge(Order(limit=7, share=math.nan), OrderFacts(), OLGA)

    assert "args.limit is not given; test has(args.limit) before it" in missing.rule
    assert "args.share is a number that cannot be compared exactly" in broken.rule


MONEY = st.decimals(-(10**11), 10**11, allow_nan=False, places=6) | st.decimals(-1000, 1000, allow_nan=False)
COMPARED = {
    sign: read(
        f"[[rule]]\naction = 'order'\nwhen = 'args.amount {sign} facts.owed'\nverdict = 'allow'\n"
    ) for sign in ("<", "<=", "==", "!=", ">=", ">")
}  # fmt: skip


@given(MONEY, MONEY, st.sampled_from(sorted(COMPARED)))
def test_decimals_compare_as_they_are_or_not_at_all(one: Decimal, other: Decimal, sign: str) -> None:
    is_so = {"<": one < other, "<=": one <= other, "==": one == other,
             "!=": one != other, ">=": one >= other, ">": one > other}[sign]  # fmt: skip

    said = COMPARED[sign].judge(Order(amount=one), OrderFacts(owed=other), OLGA).word

    is_fine = all(number == 0 or number == round(number, 6) for number in (one, other))
    assert said == (("allow" if is_so else "ask") if is_fine else "deny")


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("args.limit == null", "== is not for int and null; ask whether something is given with has(…)"),
        ("args.limit > 5.0", "> is not for int and double; write 2500.0"),
        ("args.share > 5", "> is not for double and int; write 2500.0"),
        ("args.amount > 5", '> is not for decimal and int; write decimal("2500.00")'),
        ("args.amount > 5.0", '> is not for decimal and double; write decimal("2500.00")'),
        ("args.amount > '5'", '> is not for decimal and string; write decimal("2500.00")'),
        ("args.amount * 2 > decimal(5)", "* is not for decimal and int"),
        ("args.amount > decimal('1,000.00')", "'1,000.00' is no decimal number"),
        ("args.amount > decimal('NaN')", "'NaN' is no decimal number"),
        ("args.size == 1", "== is not for string and int"),
        ("args.tags == 'a'", "== is not for list(string) and string"),
        ("args.tags.exists(tag, tag > 1)", "> is not for string and int"),
        ("args.labels.team > 1", "> is not for string and int"),
        ("args.customer == 'Ann'", "args.customer is Customer; test what is in it, for example args.customer.name"),
        ("args.customer.nme == 'Ann'", "args.customer.nme is not known"),
        ("args.customer.place.city > 1", "> is not for string and int"),
        ("args.lines.exists(line, line.pieces > 5)", "has no type that a condition can test; it can be counted"),
        ("args.anything[0] == 5", "== is not for bytes and int"),
        ("args.either == 1", "args.either is int | str, which no condition can test"),
        ("args.raw == b'x'", "args.raw is bytes, which no condition can test"),
        ("has(args.amount)", "args.amount is always given; has(…) is for what may be missing"),
        ("has( args\n.\nlevel )", "args.level is always given"),
        ("has(args.limt)", "args.limt is not known"),
        ("args.size == 'tiny'", "args.size is never 'tiny'; it is one of 'small', 'large'"),
        ("'pidgeon' != args.way", "args.way is never 'pidgeon'; it is one of 'post', 'pigeon'"),
        ("true && args.way in ['post', \"boat\"]", "args.way is never 'boat'"),
        ("facts.rate > 1", "> is not for double and int"),
        ("tool.destructiv", "tool.destructiv is not known; known are args.amount"),
    ],
)
def test_what_cannot_be_typed_is_refused_by_name(when: str, message: str) -> None:
    with pytest.raises(PolicyError) as raised:
        word(when)

    assert message in str(raised.value)


def test_a_tool_that_exists_already_is_tested_by_its_schema() -> None:
    def send(to: list[str], priority: Literal["low", "high"] = "low", copies: int | None = None) -> str:
        """Send it."""
        return "Sent."

    kind: Any = gated(send)
    policy = read(
        "[[rule]]\naction = 'send'\nwhen = '''size(args.to) == 1 && args.priority == \"low\" && !has(args.copies)'''\n"
        "verdict = 'allow'\n",
        kind,
    )

    assert policy.judge(kind(to=["ann"]), Facts(), OLGA).word == "allow"
    assert policy.judge(kind(to=["ann", "bob"]), Facts(), OLGA).word == "ask"
    assert policy.judge(kind(to=["ann"], copies=3), Facts(), OLGA).word == "ask"


# Rules by server, by pattern, and by what a server claims


def tool(name: str, origin: ToolOrigin | None = None) -> Any:
    async def perform(self: Any, call: Call) -> Done:
        raise NotImplementedError

    made = {"__doc__": "It.", "perform": perform, "__module__": __name__, "__annotations__": {"amount": int}}
    make: Any = type(ExternalAction)
    kind = make(name, (ExternalAction[Facts],), made)
    if origin is not None:
        kind.tool_origin = origin
    return kind


OPEN = tool("OpenTicket", ToolOrigin("tickets", "open", read_only=False, destructive=False))
CLOSE = tool("CloseTicket", ToolOrigin("tickets", "close", destructive=True))
SILENT = tool("MergeTickets", ToolOrigin("tickets"))
HARMLESS = tool("ListRooms", ToolOrigin("rooms", read_only=True, destructive=False, idempotent=True, open_world=False))
OWN = tool("RefundOrder")
EVERY = (OPEN, CLOSE, SILENT, HARMLESS, OWN)


def said(rules: str) -> list[str]:
    policy = read(rules, *EVERY)
    return [policy.judge(kind(amount=5), Facts(), OLGA).word for kind in EVERY]


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ("server = 'tickets'\nverdict = 'deny'", ["deny", "deny", "deny", "ask", "ask"]),
        ("server = 'tickets'\naction = 'close_*'\nverdict = 'deny'", ["ask", "deny", "ask", "ask", "ask"]),
        ("action = '*_ticket*'\nverdict = 'deny'", ["deny", "deny", "deny", "ask", "ask"]),
        ("action = '*'\nwhen = 'args.amount > 4'\nverdict = 'deny'", ["deny"] * 5),
        ("action = '*'\nwhen = 'tool.destructive'\nverdict = 'deny'", ["ask", "deny", "deny", "ask", "deny"]),
        ("action = '*'\nwhen = '!tool.read_only'\nverdict = 'deny'", ["deny", "deny", "deny", "ask", "deny"]),
        ("action = '*'\nwhen = '!tool.idempotent'\nverdict = 'deny'", ["deny"] * 3 + ["ask", "deny"]),
        ("action = '*'\nwhen = 'tool.open_world'\nverdict = 'deny'", ["deny"] * 3 + ["ask", "deny"]),
        ("action = '*'\nwhen = 'tool.server == \"tickets\"'\nverdict = 'deny'", ["deny"] * 3 + ["ask", "ask"]),
        ("action = '*'\nwhen = 'tool.server == \"\"'\nverdict = 'deny'", ["ask"] * 4 + ["deny"]),
        ("action = '*'\nwhen = 'tool.name == \"close\"'\nverdict = 'deny'", ["ask", "deny", "ask", "ask", "ask"]),
        ("action = '*'\nverdict = 'allow'", ["ask"] * 4 + ["allow"]),
        ("action = '*_ticket*'\nserver = 'tickets'\nverdict = 'allow'", ["allow"] * 3 + ["ask", "ask"]),
        ("action = 'close_ticket'\nverdict = 'allow'", ["ask", "allow", "ask", "ask", "ask"]),
        ("server = 'tickets'\nwhen = '!tool.destructive'\nverdict = 'allow'", ["allow", "ask", "ask", "ask", "ask"]),
        ("server = 'tickets'\nwhen = 'tool.read_only'\nverdict = 'allow'", ["ask", "ask", "ask", "ask", "ask"]),
    ],
)  # fmt: skip
def test_rules_are_about_servers_patterns_and_claims(rules: str, words: list[str]) -> None:
    """What nobody claims is taken for the worse: a tool that keeps silent gets nothing that another has to earn."""
    assert said(f"[[rule]]\n{rules}\n") == words


def test_a_server_has_a_default_below_the_rules_for_some_of_its_tools() -> None:
    rules = (
        "[[rule]]\nserver = 'tickets'\naction = 'open_ticket'\nverdict = 'allow'\n"
        "[[rule]]\nserver = 'tickets'\nverdict = 'deny'\n"
    )

    assert said(rules) == ["allow", "deny", "deny", "ask", "ask"]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("server = 'ticket'\nverdict = 'deny'", "policy.toml:6: unknown server 'ticket'; known are rooms, tickets"),
        ("server = 5\nverdict = 'deny'", "unknown server 5"),
        ("server = 'rooms'\naction = 'close_*'\nverdict = 'deny'", "unknown action 'close_*'; known are list_rooms"),
        ("action = 'refnd_*'\nverdict = 'deny'", "unknown action 'refnd_*'"),
        ("action = 'refund_?rder'\nverdict = 'deny'", "unknown action 'refund_?rder'"),
        ("verdict = 'deny'", "unknown action None"),
        ("action = '*_ticket'\nwhen = 'args.summ > 5'\nverdict = 'deny'", "of open_ticket, column 5: args.summ is not"),
        (
            "action = '*'\nwhen = 'tool.read_only'\nverdict = 'allow'",
            "policy.toml:7: what a server claims",
        ),
        ("action = 'list_rooms'\nwhen = '!tool . destructive'\nverdict = 'allow'", "name the server whose word counts"),
    ],
)
def test_a_server_or_pattern_that_matches_nothing_is_refused(rules: str, message: str) -> None:
    with pytest.raises(PolicyError) as raised:
        read(f"[[rule]]\n{rules}\n", *EVERY)

    assert message in str(raised.value)


def test_an_action_that_came_after_the_policy_was_read_is_held_to_it() -> None:
    policy = read("[[rule]]\naction = '*'\nwhen = 'args.amount > 4'\nverdict = 'deny'\n", OWN)

    def other(text: str) -> str:
        """Another."""
        return text

    late: Any = gated(other)

    assert [policy.check(CLOSE(amount=n), Facts()).word for n in (4, 5)] == ["ask", "deny"]
    assert "args.amount is not known" in policy.check(late(text="a"), Facts()).rule


def test_a_rule_may_be_about_a_server_that_was_not_heard_yet() -> None:
    """It may not have answered at the first start: its rules are there when it does, and fail where they cannot be."""
    rules = (
        "[[rule]]\nserver = 'tickets'\naction = 'close_*'\nverdict = 'deny'\n"
        "[[rule]]\nserver = 'tickets'\nwhen = 'args.sum > 4'\nverdict = 'allow'\n"
    )

    policy = parse_policy(HEAD + rules, "policy.toml", Actions([OWN]), {}, ["tickets"])

    assert [policy.check(kind(amount=5), Facts()).word for kind in EVERY] == ["deny", "deny", "deny", "ask", "ask"]
    assert "args.sum is not known" in policy.check(OPEN(amount=5), Facts()).rule
    with pytest.raises(PolicyError, match="unknown server 'rooms'; known are tickets"):
        parse_policy(HEAD + rules.replace("tickets", "rooms"), "policy.toml", Actions([OWN]), {}, ["tickets"])


def test_times_are_compared_in_utc() -> None:
    facts = OrderFacts(seen=datetime(2026, 1, 1, tzinfo=UTC))

    assert word("has(facts.seen) && facts.seen < timestamp('2026-01-01T00:00:01Z')", facts) == "allow"
