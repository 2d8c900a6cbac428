"""Play the main job through the SDK, check each step, and show what is left in the bank and in the audit log."""

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from agent.bank import MIGRATIONS
from agent.bank.ledger import check_ledger, find_account
from agent.bank.money import usd
from agent.bank.seed import seed
from agent.settings import agent_settings
from clearance.db.engine import Database
from clearance.db.migrate import migrate
from clearance.journal import audit
from clearance.journal.verification import verify
from demo.tickets import TicketDesk
from tests.support.conversation import GRAPH, Conversation, connected, converse
from tests.support.payments import Provider
from tests.support.server import ROOT, Server, free_port
from tests.support.tokens import bearer
from tests.support.world import ANA, OLGA, TESS

#: An account at another bank.
IBAN = "DE89370400440532013000"
ACCOUNTS = ("A-2001", "A-2002", "A-2003", "A-2005")
console = Console(highlight=False)


class StepFailed(Exception):
    """A step did not end as it must; the text says how it ended."""


def check(claim: str, *, holds: bool, seen: object = "") -> None:
    """Print a claim that holds.

    Raises:
        StepFailed: it does not.
    """
    if not holds:
        raise StepFailed(f"{claim}: it is not so. Seen: {seen}")
    console.print(f"   [green]✓[/] {escape(claim)}")


def read_balance(database: Database, account_id: str) -> int:
    """Read a balance in cents from the database itself."""
    account = database.read_now(lambda connection: find_account(connection, account_id))
    assert account is not None
    return account.balance_minor


@dataclass
class Demo:
    """One thread on the demo's server as each person sees it, and the database to compare with."""

    #: olga asks, and holds no role.
    talk: Conversation
    #: ana and tess hold the role approver.
    ana: Conversation
    tess: Conversation
    database: Database
    #: Who pays to other banks; its books are compared with ours.
    provider: Provider

    def balance(self, account_id: str) -> int:
        """Read a balance in cents."""
        return read_balance(self.database, account_id)

    async def say(self, text: str) -> str:
        """Say something as olga, and give the agent's last words."""
        console.print(f"\n[bold]olga[/]   {escape(text)}")
        return self._show(await self.talk.say(text))

    async def answer(self, answer: Any) -> str:
        """Answer the open question by its id as ana, and give the agent's last words."""
        question = await self.question()
        console.print(f"[bold]ana[/]    {escape(str(answer))} [dim]to request {question['id'][:8]}[/]")
        return self._show(await self.ana.answer_by_id(answer))

    async def is_refused(self, who: str, talk: Conversation, answer: Any) -> int:
        """Answer as somebody whom the server must refuse, and give its status.

        Raises:
            StepFailed: it took the answer.
        """
        console.print(f"[bold]{who:6}[/] {escape(str(answer))}")
        try:
            await talk.answer(answer)
        except httpx.HTTPStatusError as exc:
            return exc.response.status_code
        raise StepFailed(f"{who} was to be refused, and was not")

    async def question(self) -> dict[str, Any]:
        """Give the one open question.

        Raises:
            StepFailed: there is none.
        """
        question = await self.talk.question()
        if question is None:
            raise StepFailed("a question was expected, and none is open")
        return question

    def _show(self, state: dict[str, Any]) -> str:
        for interrupt in state.get("__interrupt__", ()):
            asked = interrupt["value"]
            console.print(f"[yellow]held[/]   {escape(asked['message'])} [dim]risk {asked['risk_level']}[/]")
        if state.get("__interrupt__"):
            return ""
        words = str(state["messages"][-1]["content"])
        console.print(f"[cyan]agent[/]  {escape(words[:600])}")
        return words

    # The steps

    async def look_up(self) -> None:
        words = await self.say("show account A-2001")
        check("the look-up ran by itself", holds="84,550.00" in words, seen=words)

    async def small_transfer(self) -> None:
        before = self.balance("A-2003")
        await self.say("transfer 900 from A-2001 to A-2003 for rent")
        check("policy allowed it, nobody was asked", holds=await self.talk.question() is None)
        check("$900.00 moved", holds=self.balance("A-2003") == before + 900_00, seen=self.balance("A-2003"))

    async def large_transfer_rejected(self) -> None:
        before = self.balance("A-2001")
        await self.say("transfer 5,000 from A-2001 to A-2003")
        check("it is held, nothing moved", holds=self.balance("A-2001") == before)
        words = await self.answer({"approved": False, "reason": "the invoice is from last year"})
        check("nothing moved", holds=self.balance("A-2001") == before)
        check("the agent knows the reason", holds="last year" in words, seen=words)

    async def large_transfer_approved(self) -> None:
        before = self.balance("A-2001")
        await self.say("transfer 5,000 from A-2001 to A-2003")
        (interrupt,) = await self.talk.interrupts()
        status = await self.is_refused("olga", self.talk, {"approved": True})
        check("who asked cannot approve", holds=status == 403, seen=status)
        await self.answer({"approved": True})
        check("$5,000.00 moved", holds=self.balance("A-2001") == before - 5_000_00)
        status = await self.is_refused("tess", self.tess, {interrupt["id"]: {"approved": True}})
        check("a second approval is told that it is late", holds=status == 409, seen=status)
        check("nothing moved again", holds=self.balance("A-2001") == before - 5_000_00)

    async def two_calls_one_edited(self) -> None:
        before = {account_id: self.balance(account_id) for account_id in ACCOUNTS}
        await self.say("transfer 3,000 from A-2001 to A-2002 and 2,000 from A-2001 to A-2003")
        await self.answer({"approved": True, "edited_args": {"amount": "2500"}})
        check("the first is decided, nothing moved yet", holds=self.balance("A-2001") == before["A-2001"])
        await self.answer({"approved": True})
        check("$2,500.00 went to A-2002, as edited", holds=self.balance("A-2002") == before["A-2002"] + 2_500_00)
        check("$2,000.00 went to A-2003", holds=self.balance("A-2003") == before["A-2003"] + 2_000_00)

    async def wrong_answer_corrected(self) -> None:
        await self.say("delete customer C-1003")
        asked = (await self.question())["id"]
        status = await self.is_refused("ana", self.ana, "yes")
        check("a wrong answer is refused", holds=status == 422, seen=status)
        question = await self.question()
        check("the question stands, with the reason", holds=question["id"] == asked, seen=question["id"])
        words = await self.answer({"approved": True})
        check("corrected, the customer is deleted", holds="C-1003" in words and "Not done" not in words, seen=words)

    async def payment_whose_answer_is_lost(self) -> None:
        before = self.balance("A-2001")
        self.provider.next = ["breaks after"]
        await self.say(f"pay 900 from A-2001 to {IBAN} for invoice 77")
        check("it is held, nobody was paid", holds=not self.provider.paid(), seen=self.provider.paid())
        self.provider.is_blind = True  # until the thread was told that nobody knows: else it may be looked up before
        console.print("[magenta]provider[/] pays, and its answer gets lost on the way back")
        words = await self.answer({"approved": True})
        check("the agent says that nobody knows yet, not that it failed", holds="Nobody knows yet" in words, seen=words)
        self.provider.is_blind = False
        words = await self.hear("Paid $900.00")
        check("it was looked up, and the thread is told by itself", holds="Paid $900.00" in words, seen=words)
        check("the provider's books have it once", holds=self.provider.paid() == [(IBAN, "900.00")],
              seen=self.provider.paid())  # fmt: skip
        check("our books have it once", holds=self.balance("A-2001") == before - 900_00, seen=self.balance("A-2001"))

    async def payment_refused(self) -> None:
        before = self.balance("A-2001")
        self.provider.next = ["refuses"]
        await self.say(f"pay 700 from A-2001 to {IBAN}")
        words = await self.answer({"approved": True})
        check("what the provider refuses is told as not done", holds="Not done" in words, seen=words)
        check("nothing left the account", holds=self.balance("A-2001") == before, seen=self.balance("A-2001"))

    async def ticket_by_mcp(self) -> None:
        words = await self.say("list tickets")
        check("what a trusted MCP server says only looks ran by itself", holds="Ada cannot" in words, seen=words)
        await self.say('create ticket: title "Invoice 77 was paid", priority high')
        asked = await self.question()
        check("no rule is about it, so it is asked", holds=asked["action"] == "create_ticket", seen=asked["action"])
        words = await self.answer({"approved": True})
        check("the desk has the ticket", holds="Ticket 2 is open" in words, seen=words)

    async def hear(self, text: str) -> str:
        """Wait until the agent says something by itself, and give its last words."""
        for _ in range(300):
            messages = await self.talk.messages()
            if messages and messages[-1]["type"] == "ai" and text in str(messages[-1]["content"]):
                break
            await asyncio.sleep(0.1)
        return self._show({"messages": messages})

    async def analysis(self) -> None:
        console.print("\n[bold]olga[/]   analyze transactions")
        words: Any = {"messages": [{"role": "user", "content": "analyze transactions"}]}
        steps = []
        with Progress(console=console, transient=False) as progress:
            bar = progress.add_task("reading the ledger", total=None)
            async for part in self.talk.client.runs.stream(
                self.talk.thread_id, GRAPH, input=words, stream_mode=["custom"]
            ):
                if part.event == "custom":
                    steps.append(part.data)
                    progress.update(bar, total=part.data["total"], completed=part.data["done"])
        check("progress was streamed to its end", holds=bool(steps) and steps[-1]["status"] == "done", seen=steps[-1:])
        report = str((await self.talk.messages())[-1]["content"])
        console.print(f"[cyan]agent[/]  {escape(report.splitlines()[0])}")


def show_end(before: dict[str, int], database: Database, key: bytes) -> None:
    """Print balances and the audit log, and check both.

    Raises:
        StepFailed: the ledger does not balance, or the log is not whole.
    """
    balances = Table("account", "before", "after", title="Balances", title_justify="left")
    for account_id, amount in before.items():
        balances.add_row(account_id, usd(amount), usd(read_balance(database, account_id)))
    log = Table("row", "at (UTC)", "event", "by", "request", title="Audit log", title_justify="left")
    for row in database.read_now(lambda connection: list(audit.rows(connection))):
        log.add_row(str(row["seq"]), row["at"][11:19], row["event"], row["actor"], (row["request_id"] or "")[:8])
    console.print()
    console.print(balances)
    console.print(log)
    wrong = database.read_now(check_ledger)
    check("the ledger balances", holds=not wrong, seen=wrong)
    verified = database.read_now(lambda connection: verify(connection, key))
    check(f"the audit log of {verified.rows} rows is whole", holds=verified.is_whole, seen=verified.reason)


async def play(folder: Path) -> None:
    """Seed a bank in `folder`, start the server there, and play."""
    url = f"sqlite:///{folder / 'clearance.db'}"
    database = Database(url)
    migrate(database, MIGRATIONS)
    database.write_now(lambda connection: seed(connection), is_long=True)
    given = agent_settings()
    model = {"OPENAI_API_KEY": given.openai_api_key.get_secret_value(), "OPENAI_BASE_URL": given.openai_base_url,
             "MODEL": given.model}  # fmt: skip
    model_name = "the offline model" if given.is_offline else given.model or "the endpoint's model"
    provider = Provider(owners={IBAN: "Rosa Lind"})
    provider.__enter__()
    desk = TicketDesk(free_port())
    desk.__enter__()
    env = {"PAYMENT_PROVIDER_URL": provider.url, "TICKET_SERVER_URL": desk.url, **model}
    server = Server(folder, url, env={name: value for name, value in env.items() if value},
                    policy=ROOT / "policy.toml", auth="on")  # fmt: skip
    console.print(f"Starting the development server, with {model_name} …")
    server.start()
    try:
        async with AsyncExitStack() as stack:
            olga, ana, tess = [await stack.enter_async_context(connected(server.url, **bearer(person)))
                               for person in (OLGA, ANA, TESS)]  # fmt: skip
            talk = await converse(olga)
            demo = Demo(talk, Conversation(ana, talk.thread_id), Conversation(tess, talk.thread_id), database, provider)
            before = {account_id: demo.balance(account_id) for account_id in ACCOUNTS}
            for step in (
                demo.look_up,
                demo.small_transfer,
                demo.large_transfer_rejected,
                demo.large_transfer_approved,
                demo.two_calls_one_edited,
                demo.wrong_answer_corrected,
                demo.payment_whose_answer_is_lost,
                demo.payment_refused,
                demo.ticket_by_mcp,
                demo.analysis,
            ):
                await step()
            show_end(before, database, server.environment()["AUDIT_KEY"].encode())
    finally:
        server.stop()
        provider.__exit__(None, None, None)
        desk.__exit__(None, None, None)
        database.close()


def main() -> int:
    """Play the demo; 0 when every step ended as it must."""
    with tempfile.TemporaryDirectory(prefix="clearance-demo-") as folder:
        try:
            asyncio.run(play(Path(folder)))
        except StepFailed as exc:
            console.print(f"   [red]✗[/] {escape(str(exc))}")
            return 1
    console.print(
        "\nEvery step ended as it must. `make dev` starts the server for you to try, and prints tokens to sign in with."
        "\nThe inbox, where people decide, is at http://127.0.0.1:2024/inbox then."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
