"""`clearance inbox` against the real server, by its keys: what a reviewer sees, and what becomes of what they do."""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from textual.pilot import Pilot
from textual.widgets import Button, Input, OptionList, Static

import tests.support.server
from clearance.cli.approvals import Approvals, approvals
from clearance.cli.inbox.activity import heights, under_bars
from clearance.cli.inbox.app import Inbox
from clearance.cli.inbox.lists import ListScreen
from clearance.contract import Detail, Entry, Page
from tests.support.conversation import Conversation, connected, converse
from tests.support.server import GATE_POLICY, Server
from tests.support.tokens import bearer, token
from tests.support.world import ANA, BEN, OLGA, TESS, TOM, Person

_WAIT_S = 90


@pytest.fixture(scope="module")
def server(make_server: Callable[..., Server]) -> Iterator[Server]:
    """A server of this module's own that tells people apart."""
    made = make_server()
    made.auth = "on"
    yield made.start()
    made.stop()


@dataclass
class Terminal:
    """Somebody's inbox, and their hands."""

    app: Inbox
    pilot: Pilot[None]

    @property
    def text(self) -> str:
        """What stands on the screen, as the terminal gets it."""
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    @property
    def flat(self) -> str:
        """The same as one line for each column, whatever their width broke it into."""
        lines = self.text.splitlines()
        decide = [one for one in self.app.screen.query("#decide") if one.region.x]
        at = decide[0].region.x if decide else 1_000
        return " ".join(
            " ".join(line[:at] for line in lines).split() + " ".join(line[at + 1 :] for line in lines).split()
        )

    async def sees(self, said: str) -> None:
        """Wait until it stands on the screen."""
        await self.until(lambda: said in self.flat, said)

    async def until(self, holds: Callable[[], Any], what: str = "it") -> None:
        """Wait until something holds."""
        for _ in range(_WAIT_S * 10):
            await self.pilot.pause(0.1)
            if holds():
                return
        lines = [line.rstrip() for line in self.text.splitlines() if line.strip()]
        raise AssertionError(f"{what!r} did not come:\n" + "\n".join(lines))

    async def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            await self.pilot.press(key)
        await self.pilot.pause()

    async def types(self, said: str) -> None:
        """Type into the field that has the focus."""
        await self.press(*said)

    async def opens(self, said: str) -> None:
        """Find a request in the list with j, and open it."""
        options = self.app.screen.query_one("#list", OptionList)
        await self.until(lambda: any(said in str(option.prompt) for option in options.options), said)
        for _ in range(options.option_count):
            assert options.highlighted_option is not None
            if said in str(options.highlighted_option.prompt):
                break
            await self.press("j")
        await self.press("enter")
        await self.until(lambda: self.app.screen.query("#heading"), f"the screen of {said}")
        await self.until(lambda: said in self.said_in("#heading"), said)
        await self.sees(said)

    @property
    def focused(self) -> str | None:
        """The id of what has the focus."""
        return self.app.focused.id if self.app.focused is not None else None

    def field(self, name: str) -> Input:
        """A field on the screen."""
        return self.app.screen.query_one(f"#{name}", Input)

    def field_with(self, value: str) -> Input:
        """The field of the form for a change that holds this."""
        return next(one for one in self.app.screen.query("#edit-form Input").results(Input) if one.value == value)

    def button(self, name: str) -> str:
        """What a button says."""
        return str(self.app.screen.query_one(f"#{name}", Button).label)

    def said_in(self, where: str) -> str:
        """What is written in a place, in sight or not."""
        return str(self.app.screen.query_one(where, Static).content)

    def shows(self, where: str) -> str:
        """What stands in a place of the screen, line by line."""
        region = self.app.screen.query_one(where).region
        lines = self.text.splitlines()[region.y : region.bottom]
        return "\n".join(line[region.x : region.right].rstrip() for line in lines)


@asynccontextmanager
async def inbox_of(
    server: Server, person: Person, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int] = (130, 70)
) -> AsyncIterator[Terminal]:
    """Open somebody's inbox."""
    monkeypatch.setenv("CLEARANCE_TOKEN", token(person))
    async with approvals(server.url) as client:
        app = Inbox(client, await client.me())
        async with app.run_test(size=size) as pilot:
            yield Terminal(app, pilot)


@asynccontextmanager
async def asked(server: Server, *sentences: str) -> AsyncIterator[Conversation]:
    """Let olga ask for something, in a thread of its own for each sentence; give the last."""
    async with connected(server.url, **bearer(OLGA)) as client:
        for sentence in sentences:
            talk = await converse(client)
            await talk.say(sentence)
        yield talk


@asynccontextmanager
async def as_person(server: Server, person: Person, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Approvals]:
    """Call the API beside somebody's inbox."""
    with monkeypatch.context() as patch:
        patch.setenv("CLEARANCE_TOKEN", token(person))
        async with approvals(server.url) as client:
            yield client


async def request_of(client: Approvals, said: str) -> Entry:
    """The request that waits for whoever calls, by what it says."""
    return next(one for one in (await client.page("mine")).requests if said in str(one.sentence))


async def result_of(talk: Conversation) -> str:
    """What the last call of a thread came to."""
    # The effect comes first; the thread learns of it by the run that follows.
    for _ in range(600):
        if told := [one for one in await talk.messages() if one["type"] == "tool"]:
            return str(told[-1]["content"])
        await asyncio.sleep(0.1)
    raise AssertionError("the thread was not told")


async def test_a_request_is_found_read_and_approved_by_keys_alone(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asked(server, "transfer 3,001 from A-2001 to A-2003") as talk, inbox_of(server, ANA, monkeypatch) as ana:
        await ana.opens("Transfer $3,001.00")
        for shown in (
            *("high risk Transfer $3,001.00 from Priya Natarajan A-2001 to", "Asked by olga"),
            *("1 × approver, none given yet", "UTC, 23 h left", "transfer (policy.toml:"),
            *("The whole turn", "→ 1 Transfer $3,001.00", "(to decide)"),
        ):
            assert shown in ana.flat, ana.text

        await ana.press("a")
        assert ana.focused == "approve"
        assert ana.button("approve") == "Transfer $3,001.00"
        assert "Runs at once." in ana.flat
        await ana.press("enter", "enter")  # a button that is pressed twice decides once

        await ana.sees("Transferred $3,001.00 from A-2001 to A-2003 (T-")
        await ana.until(lambda: not ana.app.screen.query("#approve"), "the end of the form")
        assert ana.focused == "evidence"
        assert "Transferred $3,001.00" in await result_of(talk)


async def test_a_request_that_the_log_tells_otherwise_is_shown_as_that_first(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asked(server, "transfer 3,050 from A-2001 to A-2003"), as_person(server, ANA, monkeypatch) as client:
        request_id = (await request_of(client, "$3,050.00")).id
        set_to = f"UPDATE requests SET rule = ? WHERE request_id = '{request_id}'"
        file = str(sa.make_url(server.database_url).database)
        with closing(sqlite3.connect(file, timeout=30, isolation_level=None)) as connection:
            (rule,) = connection.execute(f"SELECT rule FROM requests WHERE request_id = '{request_id}'").fetchone()
            connection.execute(set_to, ("the board",))
            try:
                async with inbox_of(server, ANA, monkeypatch) as ana:
                    await ana.opens("Transfer $3,050.00")
                    await ana.sees(f"The database says otherwise than the log: requests.rule of {request_id} is not")
            finally:  # what other tests read in this log
                connection.execute(set_to, (rule,))


async def test_what_changes_and_what_went_before_are_shown(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with as_person(server, BEN, monkeypatch) as ben, inbox_of(server, ANA, monkeypatch) as ana:
        for amount, sentence in (
            ("$1,901.00", "transfer 1,901 from A-2002 to A-2003"),
            ("", "transfer 3,031 from A-2002 to A-2003"),
            ("$3,033.00", "transfer 3,033 from A-2019 to A-2003"),
        ):
            async with asked(server, sentence):
                if amount:
                    await ben.decide(await request_of(ben, amount), "approve")
        await ana.press("full_stop")
        await ana.opens("Transfer $3,031.00")
        await ana.sees("The same as numbers")

        # Balances moved since it was asked: that is no change of what is asked for.
        heading, payer, _, payee, _, sent = ana.shows("#changes").splitlines()
        assert heading.split() == ["Before", "After", "Change"]
        for row, label, sign in (
            (payer, "Balance of A-2002", "−"),
            (payee, "Balance of A-2003", "+"),
            (sent, "Sent from A-2002 in 24 h", "+"),
        ):
            assert row.startswith(label)
            before, after, change = re.findall(r"\$([\d,]+)\.00", row)
            assert change == "3,031"
            assert int(after.replace(",", "")) - int(before.replace(",", "")) == int(f"{sign}3031".replace("−", "-"))
        assert "when it was asked" not in ana.flat
        assert re.search(r"^Receives, customer +C-\d+$", ana.shows("#facts"), re.MULTILINE)
        assert re.search(r"^What changes, read at \d\d:\d\d:\d\d UTC$", ana.shows("#changes-title"))

        assert ana.shows("#activity-title") == "Sent per day, A-2002, last 60 days"
        foot = ana.shows("#bars").splitlines()[-1]
        assert len(foot) == 60 + 2 + 4
        assert foot[59] not in " ▁"
        assert (foot[60:62], foot[62:]) == ("▁▁", 4 * foot[62])
        assert foot[62] not in " ▁"
        today = f"{datetime.now(UTC):%-d %b}"
        assert re.fullmatch(rf"\d+ \w+ +\d+ \w+ +{today}  this", ana.shows("#axis"))
        assert re.match(r"median \$[\d,.]+, largest \$", ana.shows("#activity-words"))
        assert "This request: $3,031.00" in ana.flat
        ana.app.screen.query_one("#days CollapsibleTitle").focus()
        await ana.press("enter")
        await ana.sees(f"{datetime.now(UTC):%Y-%m-%d} $1,901.00")


def test_a_day_with_anything_is_seen_beside_a_large_one_and_nothing_stands_on_the_line() -> None:
    assert heights([0, 1, 500], 1_000) == pytest.approx([0, 48.39, 500, 0, 0, 1_000, 1_000, 1_000, 1_000], abs=0.01)
    assert heights([0, 0], 0) == [0] * 8


def test_the_days_below_the_bars_stand_where_their_bars_are() -> None:
    days = [date(2026, 7, 1) + timedelta(days=number) for number in range(60)]

    assert under_bars(days, 60) == "1 Jul" + "31 Jul".center(49) + "29 Aug  this"
    assert under_bars(days, 15) == "1 Jul    29 Aug  this"


async def test_the_conversation_is_shown_by_whose_words_they_are_and_what_was_earlier_on_demand(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with connected(server.url, **bearer(OLGA)) as client, inbox_of(server, ANA, monkeypatch) as ana:
        talk = await converse(client)
        await talk.say("what is the balance of A-2004?")
        await talk.say("transfer 3,032 from A-2001 to A-2003")
        await ana.sees("1 new; press . to show")
        await ana.press("full_stop")
        await ana.opens("Transfer $3,032.00")

        assert re.search(
            r"┃ olga, [\d :-]+ UTC ┃ transfer 3,032 from A-2001 to A-2003 "
            r"╏ The model's words, not checked, [\d :-]+ UTC ╏ Calling transfer_funds\.",
            ana.flat,
        ), ana.text
        assert "Earlier in this thread, 4" in ana.flat
        assert "balance of A-2004?" not in ana.flat

        await ana.press("t")
        await ana.sees("┃ what is the balance of A-2004?")
        assert "look-up get_account" in ana.flat
        assert ana.flat.index("look-up get_account") < ana.flat.index("what is the balance of A-2004?")  # newest first
        ana.app.look_anew()
        await ana.pilot.pause(2)
        assert "balance of A-2004?" in ana.flat

        await ana.press("escape")
        await ana.until(lambda: "balance of A-2004?" not in ana.flat, "the closing")
        assert ana.focused == "evidence"


async def test_a_deletion_is_confirmed_by_the_name(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with asked(server, "delete customer C-1003"), inbox_of(server, ANA, monkeypatch) as ana:
        await ana.opens("Delete ")
        name = ana.said_in("#confirm-label").removeprefix("Type the name, ")
        assert name in ana.button("approve")
        assert not ana.app.screen.query_one("#activity").display
        await ana.press("a")
        await ana.types("nobody")
        await ana.press("enter", "enter")
        await ana.sees(f"You typed nobody; type the name, {name}. Nothing was recorded.")


async def test_no_single_key_decides(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with asked(server, "transfer 3,002 from A-2001 to A-2003") as talk, inbox_of(server, ANA, monkeypatch) as ana:
        await ana.opens("Transfer $3,002.00")

        for key in ("enter", "space", "a", "escape", "r", "escape", "e", "escape", "y", "full_stop", "enter"):
            await ana.press(key)

        await ana.pilot.pause(1)
        assert await talk.question() is not None


async def test_a_critical_request_takes_its_amount_typed_and_two_people(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asked(server, "transfer 30,003 from A-2019 to A-2003"):
        async with inbox_of(server, TESS, monkeypatch) as tess:
            await tess.opens("Transfer $30,003.00")
            await tess.sees("Look at these first")
            await tess.press("a")
            assert tess.focused == "confirm"
            await tess.types("3003")
            await tess.press("enter", "enter")
            await tess.sees("You typed 3003; type the amount, 30,003.00. Nothing was recorded.")
            assert (tess.focused, tess.field("confirm").value) == ("confirm", "3003")
            tess.field("confirm").value = ""
            await tess.types("30003")
            await tess.press("enter")
            assert tess.button("approve") == "Approve $30,003.00, 1 of 2"
            assert "Runs when enough people have approved it." in tess.flat
            await tess.press("enter")
            await tess.sees("Your answer is recorded; 1 more person has to approve it.")
            await tess.sees("You approved it; 1 more person has to.")
            assert not tess.app.screen.query("#approve")
        async with inbox_of(server, TOM, monkeypatch) as tom:
            await tom.opens("Transfer $30,003.00")
            await tom.sees("2 × treasurer, given by tess")
            await tom.press("a")
            await tom.types("$30,003.00")
            await tom.press("enter", "enter")
            await tom.sees("Transferred $30,003.00")


async def test_a_rejection_takes_a_reason_which_the_agent_reads(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asked(server, "transfer 3,004 from A-2001 to A-2003") as talk, inbox_of(server, BEN, monkeypatch) as ben:
        await ben.opens("Transfer $3,004.00")
        await ben.press("r")
        assert ben.focused == "reason"
        await ben.press("enter", "enter")
        await ben.sees("Say why not")
        await ben.types("jane: not [red]before[/] Monday")  # the letters of keys, and markup
        await ben.press("enter")
        assert ben.focused == "reject"
        await ben.press("enter")

        await ben.sees("Not done: ben rejected it: jane: not [red]before[/] Monday")
        assert "not [red]before[/] Monday" in await result_of(talk)


async def test_a_change_is_checked_corrected_and_then_made(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with asked(server, "transfer 3,005 from A-2001 to A-2003") as talk, inbox_of(server, ANA, monkeypatch) as ana:
        await ana.opens("Transfer $3,005.00")
        await ana.press("e")
        amount = ana.field_with("3005.00")
        amount.focus()
        amount.value = ""
        await ana.types("much")
        await ana.press("enter", "enter")
        await ana.sees("amount must be dollars")
        assert amount.value == "much"
        amount.focus()
        amount.value = ""
        await ana.types("2905")
        await ana.press("enter", "enter")
        await ana.sees("Transfer $2,905.00 from Priya Natarajan A-2001")
        await ana.sees("amount 3005.00 → 2905")
        await ana.sees("+$2,905.00 This does less than what was asked, so your change is your approval.")
        assert "amount must be dollars" not in ana.flat
        assert ana.button("edit") == "Transfer $2,905.00 instead"
        assert await talk.question() is not None
        assert ana.focused == "edit"
        await ana.press("enter")
        await ana.sees("Transferred $2,905.00")


async def test_a_change_after_the_check_has_to_be_checked_again(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with asked(server, "transfer 3,006 from A-2001 to A-2003"), inbox_of(server, ANA, monkeypatch) as ana:
        await ana.opens("Transfer $3,006.00")
        await ana.press("e")
        amount = ana.field_with("3006.00")
        amount.value = "4000"
        amount.focus()
        await ana.press("enter", "enter")
        await ana.sees("It then waits for somebody else: it needs 1 × approver.")
        assert ana.button("edit") == "Ask for transfer $4,000.00 instead"

        amount.value = "4001"
        await ana.pilot.pause()

        assert not ana.app.screen.query_one("#edit", Button).display


async def test_a_request_decided_elsewhere_is_told_and_what_was_typed_is_kept(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        asked(server, "transfer 3,007 from A-2001 to A-2003"),
        as_person(server, BEN, monkeypatch) as ben,
        inbox_of(server, ANA, monkeypatch) as ana,
    ):
        await ana.opens("Transfer $3,007.00")
        await ana.press("r")
        await ana.types("I think not")
        entry = await request_of(ben, "$3,007.00")

        await ben.decide(entry, "approve")

        await ana.sees("Meanwhile done by ben. Transferred $3,007.00")
        await ana.sees("You had written: I think not")
        assert not ana.app.screen.query("#reject")


async def test_an_answer_that_comes_second_is_told_so(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        asked(server, "transfer 3,008 from A-2001 to A-2003"),
        as_person(server, BEN, monkeypatch) as ben,
        inbox_of(server, ANA, monkeypatch) as ana,
    ):
        await ana.opens("Transfer $3,008.00")
        await ana.press("r")
        await ana.types("too late")
        await ana.press("enter")
        # Nothing is told to this inbox meanwhile.
        monkeypatch.setattr(type(ana.app.screen), "look", _nothing)
        entry = await request_of(ben, "$3,008.00")
        await ben.decide(entry, "approve")

        await ana.press("enter")

        await ana.sees("Not recorded:")
        await ana.sees("Transferred $3,008.00")
        await ana.sees("You had written: too late")


async def _nothing(*_: Any) -> None:
    return None


async def test_new_requests_wait_and_the_cursor_stays_where_it_is(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        asked(server, "transfer 3,009 from A-2001 to A-2003") as talk,
        as_person(server, BEN, monkeypatch) as ben,
        inbox_of(server, ANA, monkeypatch) as ana,
    ):
        await ana.sees("$3,009.00")
        options = ana.app.screen.query_one("#list", OptionList)
        while "$3,009.00" not in str(options.highlighted_option and options.highlighted_option.prompt):
            await ana.press("j")
        at, count = options.highlighted, options.option_count

        await (await converse(talk.client)).say("transfer 3,010 from A-2001 to A-2003 and 3,011 from A-2001 to A-2003")

        await ana.sees("2 new; press . to show")
        assert (options.highlighted, options.option_count) == (at, count)
        assert "$3,010.00" not in ana.flat
        entry = await request_of(ben, "$3,009.00")
        await ben.decide(entry, "reject", reason="no")
        await ana.until(lambda: "rejected" in str(options.get_option_at_index(at or 0).prompt), "a grey line")
        assert (options.highlighted, options.option_count) == (at, count)

        await ana.press("full_stop")

        await ana.sees("$3,010.00")
        await ana.sees("$3,011.00")
        assert "$3,009.00" not in ana.flat
        assert "new; press" not in ana.flat


async def test_the_filter_narrows_the_list_and_says_so_when_nothing_matches(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        asked(server, "transfer 3,012 from A-2001 to A-2003", "transfer 30,012 from A-2001 to A-2003"),
        inbox_of(server, TESS, monkeypatch) as tess,
    ):
        await tess.sees("$3,012.00")
        await tess.press("slash", "tab")
        await tess.types("critical")
        await tess.press("enter")
        await tess.until(lambda: "$3,012.00" not in tess.flat, "a narrower list")
        await tess.sees("$30,012.00")

        await tess.press("slash")
        await tess.types("juggle")
        await tess.press("enter")
        await tess.sees("None of them match: action juggle, risk critical.")
        await tess.press("slash", "tab", "tab", "tab", "tab", "enter")
        await tess.sees("$3,012.00")


async def test_longer_lists_are_loaded_further_down(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clearance.cli.inbox.lists._PAGE", 2)
    sentences = [f"transfer {amount} from A-2001 to A-2003" for amount in ("3,021", "3,022", "3,023")]
    async with asked(server, *sentences), inbox_of(server, ANA, monkeypatch) as ana:
        await ana.sees("Older: show more")
        options = ana.app.screen.query_one("#list", OptionList)
        seen = {option.id for option in options.options}

        for _ in range(20):
            await ana.press("end", "enter")
            await ana.pilot.pause(0.3)
            if "Older" not in str(options.options[-1].prompt):
                break

        ids = [option.id for option in options.options]
        assert len(ids) == len(set(ids))
        assert seen - {"more"} < set(ids)
        await ana.sees("$3,023.00")


async def test_a_freeze_is_set_seen_and_lifted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with asked(server, "transfer 3,013 from A-2001 to A-2003"), inbox_of(server, ANA, monkeypatch) as ana:
        await ana.press("4")
        await ana.sees("Freeze all effects")
        await ana.sees("requested")
        await ana.press("enter", "enter")
        await ana.sees("Say why")
        await ana.types("two payouts look doubled")
        await ana.press("enter", "enter")
        await ana.sees("No effect is in flight")
        await ana.sees("Frozen by ana since")
        await ana.press("1")
        await ana.opens("Transfer $3,013.00")
        await ana.sees("All effects are frozen by ana, so nothing can be approved.")
        await ana.sees("Rejecting works. Once effects are on again, you can approve here.")
        assert ana.app.screen.query("#reject")
        assert not ana.app.screen.query("#approve")
        await ana.press("u", "4")
        await ana.sees("Turn effects on,")
        ana.app.screen.query_one("#freeze").focus()
        await ana.press("enter")
        await ana.sees("Effects may run again; nothing runs by itself.")
        ana.app.screen.query_one("#verify").focus()
        await ana.press("enter")
        await ana.sees("Whole:")
        await ana.press("1")
        await ana.opens("Transfer $3,013.00")
        await ana.press("a", "enter")
        await ana.sees("Transferred $3,013.00")


async def test_what_people_and_names_hold_is_neither_markup_nor_control(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "[bold red]Bob[/] \x1b[2J\u202egnp[@click=app.quit]x[/]"
    with sqlite3.connect(server.database_url.removeprefix("sqlite:///")) as connection:
        owner = "(SELECT customer_id FROM accounts WHERE account_id = 'A-2010')"
        assert connection.execute(f"UPDATE customers SET name = ? WHERE customer_id = {owner}", [name]).rowcount == 1
    async with (
        asked(server, "transfer 3,014 from A-2001 to A-2010 for [reverse]rent[/] \u202egnp.exe"),
        inbox_of(server, ANA, monkeypatch) as ana,
    ):
        await ana.sees("[bold red]Bob[/]")
        await ana.opens("Transfer $3,014.00")
        await ana.sees("[reverse]rent[/] ‹U+202E›gnp.exe")
        assert "[@click=app.quit]x[/]" in ana.flat
        assert not {"\x1b", "\u202e"} & set(ana.text)


async def test_who_holds_no_role_reads_and_is_told_who_decides(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with asked(server, "transfer 3,015 from A-2001 to A-2003"), inbox_of(server, OLGA, monkeypatch) as olga:
        await olga.sees("Nothing for you to decide.")
        await olga.sees("olga, no role")
        await olga.sees("Not live: This takes a role of the policy")
        await olga.press("2")
        await olga.opens("Transfer $3,015.00")
        await olga.sees("You asked for this, so others decide.")
        await olga.sees("To take it back, write in the thread: a new message withdraws it.")
        assert not olga.app.screen.query("#decide Button")
        await olga.press("u", "4", "5")
        await olga.sees("Open")
        assert "Audit" not in olga.flat
        assert "Statistics" not in olga.flat
        assert olga.app.screen.query_one("#list").display


async def test_a_narrow_terminal_shows_the_same_one_below_the_other(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        asked(server, "transfer 3,016 from A-2001 to A-2003"),
        inbox_of(server, ANA, monkeypatch, size=(60, 50)) as ana,
    ):
        await ana.opens("Transfer $3,016.00")
        evidence, decide = (ana.app.screen.query_one(where).region for where in ("#evidence", "#decide"))
        assert evidence.bottom <= decide.y
        assert decide.width == 60
        drawn = ana.app.screen.query_one("#bars").size.width, ana.said_in("#activity-words")
        assert drawn[0] == 30 + 2 + 4
        assert "a bar is the largest of 2 days" in drawn[1]
        await ana.press("a", "enter")
        await ana.sees("Transferred $3,016.00")


async def test_on_24_lines_of_80_warnings_and_arguments_stand_in_sight_above_the_buttons(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        asked(server, "transfer 30,016 from A-2031 to A-2002 for gift for the CFO"),
        inbox_of(server, TESS, monkeypatch, size=(80, 24)) as tess,
    ):
        await tess.opens("Transfer $30,016.00")
        await tess.sees("Approve $30,016.00, 1 of 2")

        lines = [line.rstrip() for line in tess.text.splitlines()]
        stands = [next(at for at, line in enumerate(lines) if said in line) for said in (
            "needs 2 × treasurer", "! First payment from A-2031 to A-2002", "From account  A-2031", "gift for the CFO",
            "What changes, read at", "Balance of A-2031", "Type the amount, 30,016.00", "Approve $30,016.00, 1 of 2",
            "Reject…", "u Back",
        )]  # fmt: skip
        assert stands == sorted(stands), tess.text
        assert len(lines) == 24
        await tess.press("a")
        await tess.types("30016")
        await tess.press("enter")
        assert "gift for the CFO" in tess.text
        assert tess.focused == "approve"


async def test_a_line_of_the_list_says_what_is_unusual_what_it_carries_and_what_became_of_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = Person("оlga")  # its first letter is Cyrillic
    async with connected(server.url, **bearer(who)) as client:
        await (await converse(client)).say("transfer 3,041 from A-2016 to A-2017 for rent")
        await (await converse(client)).say("transfer 9,000,000 from A-2016 to A-2017")
    async with (
        asked(server, "transfer 3,042 from A-2016 to A-2017 for from"),
        as_person(server, BEN, monkeypatch) as ben,
        inbox_of(server, ANA, monkeypatch, size=(80, 60)) as ana,
    ):

        async def line_of(said: str) -> str:
            options = ana.app.screen.query_one("#list", OptionList)
            await ana.until(lambda: any(said in str(one.prompt) for one in options.options), said)
            return next(" ".join(str(one.prompt).split()) for one in options.options if said in str(one.prompt))

        asked_by = "asked by оlga (look-alike letters: U+043E CYRILLIC SMALL LETTER O) (! looks like another name)"
        assert re.fullmatch(
            rf"high Transfer \$3,041\.00 from .+ A-2016 to .+ A-2017 ! First payment from A-2016 to A-2017 "
            rf"Memo: rent · {re.escape(asked_by)} · 23 h left · needs approver",
            await line_of("$3,041.00"),
        )
        # A memo is said though the sentence has the same word.
        assert "Memo: from · asked by olga" in await line_of("$3,042.00")
        await ben.decide(await request_of(ben, "$3,041.00"), "reject", reason="no lease")
        await ben.decide(await request_of(ben, "$3,042.00"), "approve")
        await ana.press("3")
        assert re.search(r"Transferred \$3,042\.00 from .+ · done by ben, \d", await line_of("$3,042.00"))
        told = await line_of("$3,041.00")
        assert re.search(r"Not transferred: \$3,041\.00 from .+ Not done: ben rejected it: no lease Memo: rent", told)
        # What could not be carried out has no sentence, and nobody erased it.
        assert "low Refused: transfer_funds Not done: A-2016 has $" in await line_of("less than $9,000,000.00")


async def test_that_the_database_says_otherwise_than_the_log_stands_on_a_line_above_all(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        asked(server, "transfer 3,043 from A-2001 to A-2003 for rent"),
        as_person(server, BEN, monkeypatch) as ben,
        inbox_of(server, ANA, monkeypatch, size=(80, 24)) as ana,
    ):
        entry = await request_of(ben, "$3,043.00")
        with sqlite3.connect(server.database_url.removeprefix("sqlite:///")) as connection:
            connection.execute("UPDATE requests SET risk = 'low' WHERE request_id = ?", [entry.id])

        await ana.opens("Transfer $3,043.00")

        told, risk = ana.said_in("#heading").splitlines()
        assert told == f"The database says otherwise than the log: requests.risk of {entry.id} is not what was written."
        assert risk.startswith(" low risk   Transfer $3,043.00")
        with sqlite3.connect(server.database_url.removeprefix("sqlite:///")) as connection:
            connection.execute("UPDATE requests SET risk = ? WHERE request_id = ?", [entry.risk, entry.id])


async def test_the_keys_are_shown_and_lead_through_the_list(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        asked(server, "transfer 3,017 from A-2001 to A-2003", "transfer 3,018 from A-2001 to A-2003"),
        inbox_of(server, ANA, monkeypatch) as ana,
    ):
        await ana.sees("ana, approver")
        await ana.press("question_mark")
        await ana.sees("A key moves; only a button that has the focus decides.")
        await ana.press("escape")
        await ana.opens("Transfer $3,017.00")
        await ana.press("n")
        await ana.sees("Your decision")
        await ana.until(lambda: "$3,017.00" not in ana.flat, "the next request")
        await ana.press("p")
        await ana.sees("Transfer $3,017.00")
        await ana.press("u")
        await ana.sees("For you")


async def test_how_awake_reviewers_are_is_counted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        asked(server, "transfer 3,020 from A-2001 to A-2003"),
        inbox_of(server, BEN, monkeypatch) as ben,
    ):
        await ben.opens("Transfer $3,020.00")
        await ben.press("r", *"no", "enter", "enter")
        await ben.sees("rejected")
        await ben.press("u", "5")
        await ben.sees("in 30 days policy let")
        await ben.until(
            lambda: re.search(r"ben +\d+ +\d+ \(\d+%\) +\d+ +[1-9]\d* +[\d.]+ s", ben.text), "what ben decided"
        )
        await ben.sees("transfer_funds")


@pytest.fixture(scope="module")
def hasty_server(make_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server where requests expire soon, and not before somebody on a busy machine has opened one."""
    policy = tmp_path_factory.mktemp("policy") / "policy.toml"
    policy.write_text(GATE_POLICY.read_text().replace('"24h"', '"40s"', 1))
    made = make_server(POLICY_FILE=str(policy))
    made.auth = "on"
    yield made.start()
    made.stop()


async def test_a_request_that_expires_while_one_looks_says_so_and_its_forms_go(
    hasty_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inbox_of(hasty_server, ANA, monkeypatch) as ana:
        await ana.sees("Nothing for you to decide.")
        async with asked(hasty_server, "transfer 3,019 from A-2001 to A-2003"):
            await ana.sees("1 new; press . to show")
            await ana.press("full_stop")
            await ana.opens("Transfer $3,019.00")
            assert ana.app.screen.query("#approve")
            (made,) = (await ana.app.approvals.page("open")).requests
            soon = made.expires_at - timedelta(seconds=3)
            await ana.until(lambda: datetime.now(UTC) > soon, "the deadline")
            with hasty_server.held_up():  # else what became of it could be told first
                await ana.sees("Expired while you were looking: an answer comes too late, and nothing moved.")
                assert not ana.app.screen.query("#approve")
            await ana.sees("Not done: it was not cleared in time")


async def test_after_a_break_the_inbox_says_so_and_reads_anew(
    hasty_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with inbox_of(hasty_server, ANA, monkeypatch) as ana:
        await ana.until(lambda: ana.app.switch is not None)
        monkeypatch.setattr(tests.support.server, "free_port", lambda port=hasty_server.port: port)
        hasty_server.kill()
        await ana.sees("Not live since")
        await ana.press("2")
        await ana.sees("does not answer")
        hasty_server.start()
        await ana.until(lambda: "Not live" not in ana.flat, "the connection")


async def test_a_list_that_is_read_anew_while_news_of_it_come_goes_on(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went wrong: news of a request that left the list were put at its place of before, and the inbox ended."""
    async with asked(server, "transfer 3,077 from A-2001 to A-2003"), inbox_of(server, ANA, monkeypatch) as ana:
        await ana.sees("$3,077.00")
        screen = ana.app.screen
        assert isinstance(screen, ListScreen)
        real_page, real_detail = Approvals.page, Approvals.detail

        async def nothing(*_: Any, **__: Any) -> Page:
            return Page(requests=[], next=None)

        async def late(of: Approvals, request_id: str) -> Detail:
            await screen._reload()
            return await real_detail(of, request_id)

        monkeypatch.setattr(Approvals, "page", nothing)
        monkeypatch.setattr(Approvals, "detail", late)
        await screen.look(set())
        monkeypatch.setattr(Approvals, "page", real_page)
        monkeypatch.setattr(Approvals, "detail", real_detail)
        screen.reload()
        await ana.sees("$3,077.00")
