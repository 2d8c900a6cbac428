"""The kill campaign: the real server is killed at random moments, started again, and must lose and double nothing.

    python -m tests.support.crash --kills 100

Every round starts conversations, kills the server somewhere between the message and the final answer, starts it again,
and checks against the journal: whatever was open can be answered, what was cleared is done once, nothing else is done.
"""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from langgraph_sdk.client import LangGraphClient

from agent.bank import MIGRATIONS
from agent.bank.ledger import check_ledger
from agent.bank.seed import seed as seed_bank
from agent.bank.tables import transfers
from clearance.db.engine import Database
from clearance.db.migrate import migrate
from clearance.db.tables import receipts, requests, turns
from clearance.journal.requests import open_requests_of_turn
from clearance.journal.turns import Turn, open_turns
from clearance.journal.verification import verify
from tests.support.conversation import Conversation, connected
from tests.support.created import CreatedServer
from tests.support.server import Server

#: Small amounts pass, others are asked; without the cumulative limits, which would soon ask for everything.
POLICY = """
[roles]
approver = "decides"
[defaults]
expires = "24h"
approvers = "approver"
[[rule]]
action = "transfer_funds"
when = "args.amount <= usd(10)"
verdict = "allow"
"""
_SETTLED_S = 60
#: Servers by the way in that their agent has.
WAYS: dict[str, type[Server]] = {"own": Server, "middleware": CreatedServer}


@dataclass
class Intent:
    """What one person wants: one transfer, found again in the ledger by its memo."""

    memo: str
    amount: str
    source: str
    target: str
    #: What the reviewer answers, or None for an amount that policy allows: it is asked all the same once another part
    #: of the plan was rejected, and approved then.
    approve: bool | None

    @property
    def sentence(self) -> str:
        return f"transfer {self.amount} from {self.source} to {self.target} for {self.memo}"


@dataclass
class Talk:
    """What one person asks for in one message, in a thread of its own."""

    wishes: list[Intent]
    thread_id: str = ""
    is_told: bool = False

    @property
    def sentence(self) -> str:
        return " and ".join(wish.sentence for wish in self.wishes)

    def answer_to(self, question: dict[str, Any]) -> dict[str, Any]:
        """Decide as it is written in the wish that the question is about."""
        (wish,) = (wish for wish in self.wishes if wish.memo == question["memo"])
        return {"approved": wish.approve is not False, "id": question["id"], "digest": question["digest"]}


@dataclass
class Counts:
    """What a campaign saw."""

    kills: int = 0
    wishes: int = 0
    #: Killed before the server had written the message down: said again, as a person would.
    said_again: int = 0
    #: Open requests at a kill, found answerable after the restart.
    still_answerable: int = 0
    #: Kills with an effect that was cleared and not carried out yet.
    finished_later: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)
    ledger: list[str] = field(default_factory=list)
    audit_is_whole: bool = False
    audit_rows: int = 0
    seconds: float = 0

    @property
    def is_clean(self) -> bool:
        return self.audit_is_whole and not (self.lost or self.doubled or self.missing or self.unwanted or self.ledger)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.wishes} transfers wanted, {self.said_again} messages said again,"
            f" {self.still_answerable} open requests answerable after the restart,"
            f" {self.finished_later} cleared effects finished after it:"
            f" {len(self.lost)} lost, {len(self.doubled)} doubled, {len(self.missing)} missing,"
            f" {len(self.unwanted)} unwanted; ledger {self.ledger or 'balanced'};"
            f" audit log of {self.audit_rows} rows {'whole' if self.audit_is_whole else 'BROKEN'}; {self.seconds:.0f} s"
        )


async def campaign(server: Server, kills: int, seed: int, *, say: Any = None) -> Counts:
    """Run `kills` rounds on a server that is not running; it is stopped at the end."""
    chance, counts, began = random.Random(seed), Counts(), time.monotonic()
    database = Database(server.database_url)
    talks: list[Talk] = []
    server.start()
    try:
        for number in range(kills):
            wanted = _talks(number, chance)
            talks += wanted
            await _talk_until_killed(server, wanted, chance)
            counts.kills += 1
            cleared = _count_cleared(database)
            server.start()
            async with connected(server.url) as client:
                await _settle(client, database, wanted, counts)
            counts.finished_later += cleared
            if say:
                say(f"kill {number + 1} of {kills}: {len(counts.lost)} lost")
    finally:
        server.stop()
    for talk in talks:
        for wish in talk.wishes:
            counts.wishes += 1
            _judge(database, talk, wish, counts)
    counts.ledger = database.read_now(check_ledger)
    key = server.environment()["AUDIT_KEY"].encode()
    verification = database.read_now(lambda c: verify(c, key))
    counts.audit_is_whole, counts.audit_rows = verification.is_whole, verification.rows
    counts.seconds = time.monotonic() - began
    database.close()
    return counts


def _talks(number: int, chance: random.Random) -> list[Talk]:
    # Back and forth, so that no account runs dry.
    source, target = ("A-2001", "A-2003") if number % 2 else ("A-2003", "A-2001")

    def wish(at: str, amount: str, approve: bool | None) -> Intent:
        return Intent(f"crash{number}{at}", amount, source, target, approve)

    return [
        Talk([wish("a", "1.25", None)]),
        Talk([wish("b", "20.50", chance.random() < 0.8)]),
        # Cleared parts of this one wait for each other: a kill in between leaves them cleared and not done.
        Talk([wish("c", "2.50", None), wish("d", "30.00", True), wish("e", "40.75", chance.random() < 0.8)]),
    ]


async def _talk_until_killed(server: Server, wanted: list[Talk], chance: random.Random) -> None:
    async with connected(server.url) as client:
        talking = [asyncio.create_task(_talk(client, talk)) for talk in wanted]
        # A talk takes up to 3 s, most of it the server's polling for work.
        await asyncio.sleep(chance.uniform(0.05, 3))
        if chance.random() < 0.8:
            server.kill()
        else:
            server.stop()
        for task in talking:
            task.cancel()  # the SDK would go on connecting to the dead server
        await asyncio.gather(*talking, return_exceptions=True)


async def _talk(client: LangGraphClient, talk: Talk) -> None:
    talk.thread_id = (await client.threads.create())["thread_id"]
    conversation = Conversation(client, talk.thread_id)
    await conversation.say(talk.sentence)
    await _answer_all(conversation, talk)
    talk.is_told = True


async def _answer_all(conversation: Conversation, talk: Talk) -> None:
    while question := await conversation.question():
        await conversation.answer_by_id(talk.answer_to(question))


def _count_cleared(database: Database) -> int:
    cleared = sa.select(sa.func.count()).where(requests.c.state.in_(("approved", "allowed")))
    return database.read_now(lambda c: c.scalar(cleared)) or 0


async def _settle(client: LangGraphClient, database: Database, wanted: list[Talk], counts: Counts) -> None:
    """Wait until everything open can be answered, answer it, and wait until nothing is open."""
    until = time.monotonic() + _SETTLED_S
    for talk in wanted:
        if not talk.is_told and not await _will_be_heard(client, database, talk):
            counts.said_again += 1
            await _talk(client, talk)
    by_thread = {talk.thread_id: talk for talk in wanted}
    open_at_kill = {turn.thread_id for turn in database.read_now(open_turns) if _asks(database, turn)}
    while time.monotonic() < until and (waiting := database.read_now(open_turns)):
        for turn in waiting:
            # One that was killed before its question was put, puts it now.
            if not _asks(database, turn):
                continue
            conversation = Conversation(client, turn.thread_id)
            if turn.thread_id not in by_thread or await _question(conversation, database, turn, until) is None:
                # An answer from before the kill, whose run the server had kept, leaves nothing to ask.
                if turn.thread_id in by_thread and not _asks(database, turn):
                    continue
                counts.lost.append(f"{turn.thread_id}, turn {turn.number}: no question")
                return
            await _answer_all(conversation, by_thread[turn.thread_id])
        await asyncio.sleep(0.1)
    still_open = [turn.thread_id for turn in database.read_now(open_turns)]
    counts.still_answerable += len(open_at_kill - set(still_open))
    counts.lost += [f"{thread_id} never ended" for thread_id in still_open]


def _asks(database: Database, turn: Turn) -> set[str]:
    """Give the requests of a turn that nobody has answered yet."""
    waiting = database.read_now(partial(open_requests_of_turn, turn_id=turn.turn_id))
    return {request.request_id for request in waiting if request.state == "asked"}


def _is_heard(database: Database, talk: Talk) -> bool:
    heard = sa.select(turns.c.turn_id).where(turns.c.thread_id == talk.thread_id)
    return bool(talk.thread_id) and database.read_now(lambda c: c.scalar(heard)) is not None


async def _will_be_heard(client: LangGraphClient, database: Database, talk: Talk) -> bool:
    """Wait while the server still has a run for it: a run that was taken down in time is tried again by itself."""
    while not _is_heard(database, talk):
        try:
            if not talk.thread_id or (await client.threads.get(talk.thread_id))["status"] != "busy":
                # Once more: it may have been heard between the two questions.
                return _is_heard(database, talk)
        except httpx.HTTPStatusError:
            return False
        await asyncio.sleep(0.1)
    return True


async def _question(conversation: Conversation, database: Database, turn: Turn, until: float) -> dict[str, Any] | None:
    """Wait until the thread is listed as interrupted and shows its question; None when it never does.

    One that was answered just before the kill is shown until the thread is carried on.
    """
    while time.monotonic() < until and (asked := _asks(database, turn)):
        try:
            shown = await conversation.status() == "interrupted" and await conversation.question()
            if shown and shown["id"] in asked:
                return shown
        except httpx.HTTPStatusError:
            pass  # not made again yet
        await asyncio.sleep(0.1)
    return None


def _judge(database: Database, talk: Talk, wish: Intent, counts: Counts) -> None:
    made = database.read_now(
        lambda c: c.scalars(sa.select(transfers.c.transfer_id).where(transfers.c.memo == wish.memo)).all()
    )
    if len(made) > 1:
        counts.doubled.append(f"{wish.memo}: {', '.join(made)}")
    if wish.approve is False and made:
        counts.unwanted.append(wish.memo)
    if wish.approve is not False and not made:
        said = sa.select(receipts.c.sentence).join(requests, requests.c.request_id == receipts.c.request_id)
        told = database.read_now(lambda c: c.scalars(said.where(requests.c.thread_id == talk.thread_id)).all())
        counts.missing.append(f"{wish.memo}: {told}")


def prepare(folder: Path, kind: type[Server] = Server) -> Server:
    """Make a server with a seeded bank and the campaign's policy in `folder`."""
    url = f"sqlite:///{folder / 'clearance.db'}"
    database = Database(url)
    migrate(database, MIGRATIONS)
    database.write_now(lambda connection: seed_bank(connection, size="small"))
    database.close()
    return with_policy(kind(folder, url))


def with_policy(server: Server) -> Server:
    """Give a server the campaign's policy."""
    (server.folder / "crash-policy.toml").write_text(POLICY)
    server.env["POLICY_FILE"] = "crash-policy.toml"
    return server


def main() -> int:
    """Run a campaign and print what it saw; 0 when nothing was lost, doubled or missing."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kills", type=int, default=100)
    arguments.add_argument("--seed", type=int, default=0, help="0 takes one from the clock")
    arguments.add_argument(
        "--way", choices=sorted(WAYS), default="own", help="the agent's graph: ours, or create_agent"
    )
    given = arguments.parse_args()
    seed = given.seed or int(time.time())
    folder = Path(tempfile.mkdtemp(prefix="clearance-crash-"))
    try:
        counts = asyncio.run(
            campaign(prepare(folder, WAYS[given.way]), given.kills, seed, say=lambda text: print(text, flush=True))  # noqa: T201  a program
        )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"seed {seed}: {counts}")  # noqa: T201  a program
    for problem in (*counts.lost, *counts.doubled, *counts.missing, *counts.unwanted):
        print(f"  {problem}")  # noqa: T201  a program
    return 0 if counts.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
