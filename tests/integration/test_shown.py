"""What the reviewer sees is true and safe: names, memos and words made to mislead arrive as text, in every client."""

import io
import unicodedata
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from markdown_it import MarkdownIt
from rich.console import Console

from agent.actions import TransferFunds
from agent.bank.tables import customers, transfers
from clearance.actions.action import Reading
from clearance.cli import cards
from clearance.desk.comparison import as_it_stands
from clearance.journal.turns import turns_by_id
from tests.support.scripted_model import calls
from tests.support.world import ANA, BEN, OLGA, TESS, Person, World, question

MEMO = "rent \u202egnp.exe\u200b for Аcme | [pay](https://evil.example) **now**"
PAY = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "5000", "memo": MEMO})
LONG = ("transfer_funds", {**PAY[1], "memo": "x" * 450})
HOSTILE = [
    "Tom \u202egnp\u2066",
    "To\u200bm\ufeff\u00ad",
    "Аcme Ltd",
    "[Tom](https://evil.example) ![x](https://evil.example) <b>x</b> # x | y | `z` $a$",
    "Tom | x |\n\n# Approved\n| Risk | low |",
    "Tom" + "A" * 10_000,
    "Tom" + "\u200b" * 10_000,
    "Z" + "\u0301" * 100,
    "\x1b]0;owned\x07\x9b31m",
]


def name_payee(world: World, name: str) -> None:
    world.execute(customers.update().where(customers.c.customer_id == "C-1002").values(name=name))


def texts(value: Any) -> list[str]:
    """List all texts in a payload, names of keys too."""
    match value:
        case str():
            return [value]
        case dict():
            return [text for item in (*value, *value.values()) for text in texts(item)]
        case list():
            return [text for item in value for text in texts(item)]
        case _:
            return []


def drawn(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """Draw the card as a terminal shows it, unbroken."""
    console = Console(file=io.StringIO(), width=10_000, markup=False, highlight=False, emoji=False)
    monkeypatch.setattr(cards, "out", console)
    panel = cards.card(asked, "thread", datetime.now(UTC))
    panel.width = None
    console.print(panel)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def hides(text: str) -> set[str]:
    """Give the characters in `text` that no reviewer would see as what they are."""
    # Each character once: a card is thousands of them, mostly spaces.
    found = set(text) - {"\n"}
    return {c for c in found if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")}


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
async def test_a_hostile_name_is_text_in_the_payload_and_on_the_card(
    name: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_payee(world, name)
    world.model.will_say(calls(PAY, text=name))

    asked = question(await world.say(name))

    card = drawn(asked, monkeypatch)
    assert set().union(*map(hides, texts(asked))) == set()
    assert hides(card) == set()
    assert sum(map(len, texts(asked))) < 30_000
    assert len(card.splitlines()) < 60
    assert "A-2003" in asked["message"]
    assert "C-1002" in asked["message"]  # padding pushes nothing out
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(asked["description"])
    inline = [inner.type for token in tokens for inner in token.children or []]
    assert {token.tag for token in tokens} <= {"p", "", "blockquote"}
    assert set(inline) <= {"text", "text_special", "code_inline"}
    # A paragraph for each fact, and nobody's text makes another that poses as one.
    paragraphs = [paragraph.partition(":")[0] for paragraph in asked["description"].split("\n\n")]
    assert [paragraphs.count(fact["label"]) for fact in asked["shown_facts"]] == [1] * len(asked["shown_facts"])


async def test_a_description_reads_well_in_a_list_as_one_text_and_as_markdown(world: World) -> None:
    memo = "The point of it stands at its end. " + "x" * 400 + " gift for the CFO"
    world.model.will_say(calls(("transfer_funds", {**PAY[1], "memo": memo}), LONG))

    asked = question(await world.say("pay"))

    paragraphs = asked["description"].split("\n\n")
    assert paragraphs[0].startswith("Transfer $5,000.00 from A-2001")
    assert len(paragraphs[0]) < 65
    assert not any(paragraph.startswith(("|", "#", "- ", "**")) for paragraph in paragraphs)
    assert "\\" not in asked["description"]
    for argument in ("From account: A-2001.", "To account: A-2003.", "Amount: $5,000.00."):
        assert argument in paragraphs
    assert f"> {memo}" in paragraphs
    assert any(one.startswith("Memo: The point of it") and f"{len(memo)} characters" in one for one in paragraphs)


async def test_the_first_of_two_approvals_is_told_in_the_first_line_of_the_next_question(world: World) -> None:
    world.model.will_say(calls(("transfer_funds", {**PAY[1], "amount": "30000", "memo": ""})))
    await world.say("pay")

    again = question(await world.answer(True, by=TESS))

    assert again["description"].startswith("1 of 2 given: Transfer $30,000.00 from A-2001")
    assert "Memo: empty." in again["description"].split("\n\n")


@pytest.mark.parametrize("name", ["АСМЕ", "ᎪᏟᎷᎬ"])
async def test_a_name_of_look_alike_letters_is_flagged_everywhere(
    name: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_payee(world, name)
    world.model.will_say(calls(PAY))

    asked = question(await world.say("pay"))

    (fact,) = [fact["text"] for fact in asked["shown_facts"] if fact["label"] == "Receives"]
    assert fact.startswith(f"{name} (look-alike letters: U+{ord(name[0]):04X} {unicodedata.name(name[0])}, ")
    assert asked["facts"]["to_owner"] == fact
    for seen in (asked["message"], asked["description"], drawn(asked, monkeypatch)):
        assert "look-alike letters: U+" in seen


async def test_arguments_are_shown_safe_and_kept_as_they_are(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.model.will_say(calls(PAY))

    asked = question(await world.say("pay"))

    memo = (
        "rent ‹U+202E›gnp.exe‹U+200B› for Аcme | [pay](https://evil.example) **now** "
        "(look-alike letters: U+0410 CYRILLIC CAPITAL LETTER A)"
    )
    (shown,) = asked["action_requests"]
    assert [shown["args"]["memo"], shown["arguments"]["memo"], asked["action_request"]["args"]["memo"]] == [memo] * 3
    assert asked["memo"] == memo
    assert memo in drawn(asked, monkeypatch)
    request = world.request()
    assert request.arguments is not None
    assert request.arguments["memo"] == MEMO
    await world.answer(True)
    assert memos(world) == [MEMO]


async def test_the_words_of_the_model_and_of_the_person_are_marked_and_stand_apart(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrote = "Ana agreed.\n\n# Risk: low\n[approve](https://evil.example) \u202e"
    world.model.will_say(calls(PAY, text=wrote))

    asked = question(await world.say("please pay\nRisk: low"))

    assert asked["said"] == [
        {"label": "olga wrote", "text": "please pay ⏎ Risk: low"},
        {
            "label": "The model wrote, not checked by anybody",
            "text": "Ana agreed. ⏎ # Risk: low ⏎ [approve](https://evil.example) ‹U+202E›",
        },
    ]
    described = asked["description"]
    ours, _, theirs = described.partition("olga wrote:")
    assert "Ana agreed" not in ours
    assert "\n\nThe model wrote, not checked by anybody:\n\n> Ana agreed. ⏎ # Risk: low ⏎ `[approve](" in theirs
    for mine in (asked["message"], asked["shown_facts"], asked["facts"], asked["turn"]["requests"]):
        assert "Ana agreed" not in str(mine)
    lines = [line.strip("│ \n") for line in drawn(asked, monkeypatch).splitlines()]
    at = lines.index("The model wrote, not checked by anybody")
    assert lines[at + 1] == asked["said"][1]["text"]
    assert at > lines.index("The whole turn")


async def test_a_model_that_wrote_nothing_is_not_quoted(world: World) -> None:
    world.model.will_say(calls(PAY))

    asked = question(await world.say("pay"))

    assert [one["label"] for one in asked["said"]] == ["olga wrote"]
    assert "The model wrote" not in asked["description"]


async def test_reasons_and_names_of_people_are_shown_safe(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay", by=Person("ol\u202ega"))
    await world.freeze(reason="drill \u202e [x](https://evil.example)")

    asked = question(await world.answer(True))

    assert asked["requested_by"] == "ol‹U+202E›ga"
    assert "drill ‹U+202E› [x](https://evil.example)" in asked["notice"]
    assert "`[x](https://evil.example));`" in asked["description"]
    assert set().union(*map(hides, texts(asked))) == set()


def edits(**shown: Any) -> list[Any]:
    """Write an edit as each client sends it, all arguments along."""
    return [
        {"approved": True, "edited_args": shown},
        {"type": "edit", "edited_action": {"name": "transfer_funds", "args": shown}},
        {"decisions": [{"type": "edit", "edited_action": {"name": "transfer_funds", "args": shown}}]},
        [{"type": "edit", "args": {"action": "transfer_funds", "args": shown}}],
    ]


@pytest.mark.parametrize("call", [PAY, LONG], ids=["hostile", "long"])
@pytest.mark.parametrize("client", range(4))
async def test_sending_back_what_was_shown_is_an_approval(call: Any, client: int, world: World) -> None:
    world.model.will_say(calls(call))
    asked = question(await world.say("pay"))
    assert asked["memo"] != call[1]["memo"]

    await world.answer(edits(**asked["action_requests"][0]["args"])[client])

    assert world.events() == ["requested", "approved", "executed"]
    assert world.request().revision == 1
    assert memos(world) == [call[1]["memo"]]


@pytest.mark.parametrize("call", [PAY, LONG], ids=["hostile", "long"])
@pytest.mark.parametrize("client", range(4))
async def test_an_edit_of_one_argument_leaves_those_that_were_sent_back_along(
    call: Any, client: int, world: World
) -> None:
    """The memo was paid out as it had been shown, and less of the same no longer counted as less."""
    world.model.will_say(calls(call))
    asked = question(await world.say("pay"))

    await world.answer(edits(**{**asked["action_requests"][0]["args"], "amount": "4000"})[client])

    assert world.transfers() == [("A-2001", "A-2003", 400_000)]
    assert world.events() == ["requested", "edited", "executed"]
    assert memos(world) == [call[1]["memo"]]


async def test_an_edit_with_our_remark_in_it_is_refused_and_asked_again(world: World) -> None:
    world.model.will_say(calls(PAY), calls(LONG))
    for thread in ("hostile", "long"):
        asked = question(await world.say("pay", thread=thread))

        again = question(await world.answer({"approved": True, "edited_args": {"memo": f"For {asked['memo']}"}},
                                            thread=thread))  # fmt: skip

        assert "write it whole" in again["notice"]
        assert again["revision"] == 1
    assert world.transfers() == []


async def test_an_edit_of_a_text_is_taken_as_it_was_written(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay")

    asked = question(await world.answer({"approved": True, "edited_args": {"memo": "rent ‹U+202E›gnp.exe"}}, by=ANA))
    await world.answer(True, by=BEN)

    assert asked["memo"] == "rent ‹U+202E›gnp.exe"
    assert memos(world) == ["rent ‹U+202E›gnp.exe"]


async def test_the_receipt_is_not_rendered(world: World) -> None:
    world.model.will_say(calls(PAY))
    await world.say("pay", by=OLGA)

    await world.answer({"approved": False, "reason": "no \u202e"})

    assert world.receipts()["call-0"] == "Not done: ana rejected it: no \u202e"


def memos(world: World) -> list[str | None]:
    query = sa.select(transfers.c.memo).where(transfers.c.request_id.is_not(None)).order_by(transfers.c.number)
    return [row[0] for row in world.read(lambda c: c.execute(query).all())]


@pytest.mark.parametrize("is_hidden", [False, True])
async def test_an_action_that_cannot_read_what_went_on_before_is_shown_without_it(
    world: World, monkeypatch: pytest.MonkeyPatch, is_hidden: bool
) -> None:
    """On PostgreSQL its failed statement took the whole page along, and nobody could see the request, nor reject it."""

    def activity(_: TransferFunds, reading: Reading) -> None:
        with suppress(sa.exc.DBAPIError) if is_hidden else nullcontext():
            reading.connection.exec_driver_sql("SELECT no_such_column FROM customers")

    monkeypatch.setattr(TransferFunds, "activity", activity)
    world.model.will_say(calls(PAY))
    await world.say("pay")
    request, now = world.request(), world.clock()
    (turn,) = world.read(lambda c: turns_by_id(c, [request.turn_id]))

    stands = world.read(lambda c: as_it_stands(c, world.gate.judge, request, turn, now))

    assert stands is not None
    assert (stands.problem, stands.changed, stands.activity) == ("", [], None)
    assert stands.shown is not None
