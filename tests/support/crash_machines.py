"""The kill campaign for several machines: Aegra servers on one PostgreSQL and one Redis, killed and stopped under load.

    python -m tests.support.crash_machines --machines 3 --minutes 5

People talk with whichever machine answers: they ask for transfers, decide through the API and by resuming, and look
things up. Meanwhile one machine after the other is killed, or stopped as an operator would, and started again. In the
end everything that was asked for was asked, decided, done once where it should be, and told in its thread.
"""

import argparse
import asyncio
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
from langgraph_sdk.errors import APIError

from agent.bank.ledger import check_ledger
from agent.bank.tables import transfers
from clearance.db.engine import Database
from clearance.db.tables import receipts, requests, turns
from clearance.journal.receipts import ended_of_turn
from clearance.journal.requests import Request
from clearance.journal.turns import Turn, turns_of
from clearance.journal.verification import verify
from tests.support.conversation import GRAPH, Conversation, connected
from tests.support.crash import Intent, with_policy
from tests.support.machines import Machine, Redis, machines, next_version
from tests.support.postgres import postgres, seeded
from tests.support.tokens import bearer
from tests.support.world import ANA, OLGA, Person

#: May approve what they asked for, on servers with both parts on: on Aegra nobody else gets at a thread to resume it.
ASKER = Person(OLGA.identity, ANA.roles)
#: Seconds for which everything may take to come to rest after the last kill.
_SETTLED_S = 180
#: Seconds between two looks at one's thread.
_BETWEEN_S = 0.3
#: What a machine that was just killed, or is starting, or lost its database for a moment, answers with.
_FAILURES = (httpx.HTTPError, APIError, OSError)


#: What a migration may do beside servers of the version before: add what those can do without.
ADDS = """
    op.execute("ALTER TABLE requests ADD COLUMN urgency INTEGER NOT NULL DEFAULT 0")
    op.execute("ALTER TABLE turns ADD COLUMN origin TEXT")
    op.execute("CREATE TABLE urgencies (urgency INTEGER PRIMARY KEY, title TEXT NOT NULL)")
    op.execute("CREATE INDEX requests_by_urgency ON requests (urgency)")
"""


@dataclass
class Talk:
    """What one person says, in a thread of its own, and what they wish by it; nothing, where they only look."""

    sentence: str
    wishes: list[Intent]
    thread_id: str = ""
    #: How often it was said.
    said: int = 0
    is_told: bool = False
    #: Seconds from the first words to the last ones.
    took_s: float = 0

    def is_approved(self, memo: object) -> bool:
        """Tell whether the part with this memo is to be approved."""
        (wish,) = (wish for wish in self.wishes if wish.memo == memo)
        return wish.approve is not False


@dataclass
class Seen:
    """What a campaign saw."""

    machines: int
    kills: int = 0
    stops: int = 0
    #: Times that Redis was killed and started again, empty.
    emptied: int = 0
    #: Machines that were brought to another version meanwhile.
    upgraded: int = 0
    wishes: int = 0
    look_ups: int = 0
    by_api: int = 0
    by_resume: int = 0
    #: A machine died before it had written the message down, or the answer to it was lost: said again, as one would.
    said_again: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)
    #: What a thread says otherwise than the receipts, or twice.
    untrue: list[str] = field(default_factory=list)
    ledger: list[str] = field(default_factory=list)
    audit_is_whole: bool = False
    audit_rows: int = 0
    #: By lease: how often another machine took it.
    handed_over: dict[str, int] = field(default_factory=dict)
    #: Leases that were taken from somebody whose time was not up.
    taken_early: list[str] = field(default_factory=list)
    #: Of all conversations, and from the last kill until all had ended.
    median_s: float = 0
    longest_s: float = 0
    rest_s: float = 0
    seconds: float = 0

    @property
    def problems(self) -> list[str]:
        found = {
            "lost": self.lost, "doubled": self.doubled, "missing": self.missing, "unwanted": self.unwanted,
            "untrue": self.untrue, "ledger": self.ledger, "lease": self.taken_early,
        }  # fmt: skip
        return [f"{kind}: {one}" for kind, all_of_it in found.items() for one in all_of_it]

    @property
    def is_clean(self) -> bool:
        return self.audit_is_whole and not self.problems

    def __str__(self) -> str:
        moved = ", ".join(f"{name} {count}" for name, count in sorted(self.handed_over.items()))
        return (
            f"{self.machines} machines, {self.kills} kills and {self.stops} stops, {self.emptied} times Redis,"
            f" {self.upgraded} brought to a version with a migration, {self.wishes} transfers wanted"
            f" ({self.by_api} decided through the API, {self.by_resume} by resuming), {self.look_ups} look-ups,"
            f" {self.said_again} messages said again:"
            f" {len(self.lost)} lost, {len(self.doubled)} doubled, {len(self.missing)} missing,"
            f" {len(self.unwanted)} unwanted, {len(self.untrue)} untrue; ledger {self.ledger or 'balanced'};"
            f" audit log of {self.audit_rows} rows {'whole' if self.audit_is_whole else 'BROKEN'};"
            f" leases handed over: {moved or 'none'}; a conversation takes {self.median_s:.1f} s at the median,"
            f" {self.longest_s:.0f} s at most; at rest {self.rest_s:.0f} s after the last kill; {self.seconds:.0f} s"
        )


@dataclass
class Campaign:
    """People and kills on some machines; none runs afterwards."""

    servers: Sequence[Machine]
    seed: int
    #: People at a time.
    people: int = 8
    say: Any = None
    #: Struck now and then, too, if it is given.
    redis: Redis | None = None
    seen: Seen = field(init=False)
    talks: list[Talk] = field(default_factory=list)
    _database: Database = field(init=False)
    _is_over: bool = False

    def __post_init__(self) -> None:
        self.seen = Seen(len(self.servers))
        self._chance = random.Random(self.seed)

    async def run(self, kills: int, upgrade: Path | None = None) -> Seen:
        """Run until so many machines were killed or stopped, and everything has come to rest.

        `upgrade` is another version's sources, to which they are brought half-way.
        """
        began = time.monotonic()
        self._database = Database(self.servers[0].database_url)
        self._database.write_now(_note_leases)
        # The first one alone: on an empty database Aegra's own migrations do not stand two at once.
        await asyncio.to_thread(_start, self.servers[0])
        await asyncio.gather(*(asyncio.to_thread(_start, server) for server in self.servers[1:]))
        try:
            people = [asyncio.create_task(self._person(number)) for number in range(self.people)]
            await self._strike(kills if upgrade is None else kills // 2)
            if upgrade is not None:
                await self.roll(upgrade)
                await self._strike(kills - kills // 2)
            self._is_over, struck = True, time.monotonic()
            _, late = await asyncio.wait(people, timeout=_SETTLED_S)
            self.seen.rest_s = time.monotonic() - struck
            for one in people:
                if one in late:
                    one.cancel()
            for failure in await asyncio.gather(*people, return_exceptions=True):
                if isinstance(failure, Exception):
                    raise failure
            await self._judge_threads()
        finally:
            await asyncio.gather(*(asyncio.to_thread(server.stop) for server in self.servers))
        self._judge()
        self.seen.seconds = time.monotonic() - began
        self._database.close()
        return self.seen

    async def roll(self, source: Path) -> None:
        """Bring one machine after the other to another version, whose first start migrates beside the others."""
        for server in self.servers:
            await asyncio.to_thread(server.stop)
            server.upgrade(source)
            await asyncio.to_thread(server.start)
            self.seen.upgraded += 1
            # The others go on with theirs meanwhile.
            await asyncio.sleep(self._chance.uniform(1, 5))

    # What strikes

    async def _strike(self, kills: int) -> None:
        for number in range(kills):
            await asyncio.sleep(self._chance.uniform(1, 5))
            if self.redis is not None and self._chance.random() < 0.2:
                await asyncio.to_thread(self.redis.stop)
                await asyncio.sleep(self._chance.uniform(0, 3))
                await asyncio.to_thread(self.redis.start)
                self.seen.emptied += 1
            server = self._chance.choice(self.servers)
            is_kill = self._chance.random() < 0.7
            await asyncio.to_thread(server.kill if is_kill else server.stop)
            self.seen.kills += is_kill
            self.seen.stops += not is_kill
            await asyncio.sleep(self._chance.uniform(0, 4))
            await asyncio.to_thread(server.start)
            if self.say:
                self.say(f"{number + 1} of {kills}: {len(self.talks)} conversations, {len(self.seen.lost)} lost")

    # What people do

    async def _person(self, number: int) -> None:
        chance = random.Random(self.seed * 1000 + number)
        count = 0
        while not self._is_over:
            talk = _talk(f"{number}x{count}", chance)
            count += 1
            self.talks.append(talk)
            began = time.monotonic()
            while not talk.is_told:
                talk.took_s = time.monotonic() - began
                await asyncio.sleep(_BETWEEN_S)
                try:
                    await self._go_on(talk, chance)
                except _FAILURES:
                    continue

    async def _go_on(self, talk: Talk, chance: random.Random) -> None:
        """Look at a conversation, and do what comes next."""
        up = [server for server in self.servers if server.process is not None]
        if not up:
            return
        server = chance.choice(up)
        async with connected(server.url, **bearer(ASKER)) as client:
            if not talk.thread_id:
                talk.thread_id = (await client.threads.create())["thread_id"]
            conversation = Conversation(client, talk.thread_id)
            turn = await self._turn(talk)
            if turn is None:
                is_waiting = await conversation.status() == "busy"
                if not is_waiting and await self._turn(talk) is None:
                    talk.said += 1
                    self.seen.said_again += talk.said > 1
                    words: Any = {"messages": [{"role": "user", "content": talk.sentence}]}
                    await client.runs.create(talk.thread_id, GRAPH, input=words)
                return
            asked = [one for one in await self._requests(turn) if one.state == "asked"]
            if asked and chance.random() < 0.5:
                await self._decide(chance.choice(up), talk, chance.choice(asked))
            elif asked:
                await self._resume(conversation, talk)
            elif turn.state != "open" and await conversation.status() == "idle":
                last = (await conversation.messages())[-1]
                talk.is_told = last["type"] == "ai" and not last["tool_calls"]

    async def _decide(self, server: Machine, talk: Talk, request: Request) -> None:
        word = "approve" if talk.is_approved((request.arguments or {})["memo"]) else "reject"
        body = {"decision": word, "digest": request.digest, "revision": request.revision, "reason": "as was agreed"}
        async with httpx.AsyncClient(base_url=server.url, headers=bearer(ANA), timeout=30) as http:
            met = await http.post(f"/approvals/requests/{request.request_id}/decision", json=body)
        self.seen.by_api += met.status_code == 200

    async def _resume(self, conversation: Conversation, talk: Talk) -> None:
        for interrupt in await conversation.interrupts():
            question = interrupt["value"]
            answer = {"approved": talk.is_approved(question["memo"]), "digest": question["digest"]}
            resumed: Any = {"resume": {interrupt["id"]: answer}}
            await conversation.client.runs.create(conversation.thread_id, GRAPH, command=resumed)
            self.seen.by_resume += 1

    async def _turn(self, talk: Talk) -> Turn | None:
        found = await self._database.read(partial(turns_of, thread_id=talk.thread_id))
        return found[-1] if found else None

    async def _requests(self, turn: Turn) -> list[Request]:
        ended = await self._database.read(partial(ended_of_turn, turn_id=turn.turn_id))
        return [request for request, _ in ended]

    # What it came to

    async def _judge_threads(self) -> None:
        async with connected(self.servers[0].url, **bearer(ASKER)) as client:
            for talk in self.talks:
                if talk.is_told:
                    messages = await Conversation(client, talk.thread_id).messages()
                    self.seen.untrue += self._database.read_now(lambda c: list(_untrue(talk, messages, c)))  # noqa: B023

    def _judge(self) -> None:
        took = [talk.took_s for talk in self.talks]
        self.seen.median_s, self.seen.longest_s = statistics.median(took), max(took)
        for talk in self.talks:
            if not talk.is_told:
                self.seen.lost.append(self._database.read_now(partial(_told_of, talk)))
            self.seen.look_ups += not talk.wishes
            for wish in talk.wishes:
                self.seen.wishes += 1
                self._database.read_now(partial(_judge_wish, talk, wish, self.seen))
        self.seen.ledger = self._database.read_now(check_ledger)
        key = self.servers[0].environment()["AUDIT_KEY"].encode()
        verification = self._database.read_now(lambda connection: verify(connection, key))
        self.seen.audit_is_whole, self.seen.audit_rows = verification.is_whole, verification.rows
        self._database.read_now(partial(_judge_leases, self.seen))


def _start(server: Machine) -> None:
    if server.process is None:
        server.start()


def _talk(number: str, chance: random.Random) -> Talk:
    # Back and forth, so that no account runs dry.
    source, target = chance.sample(("A-2001", "A-2003"), 2)

    def wish(at: str, amount: str, approve: bool | None) -> Intent:
        return Intent(f"machines{number}{at}", amount, source, target, approve)

    wishes = chance.choice([
        [],
        [wish("a", "1.25", None)],
        [wish("b", "20.50", chance.random() < 0.8)],
        # Cleared parts of this one wait for each other: a kill in between leaves them cleared and not done.
        [wish("c", "2.50", None), wish("d", "30.00", True), wish("e", "40.75", chance.random() < 0.8)],
    ])  # fmt: skip
    return Talk(" and ".join(one.sentence for one in wishes) or "balance of A-2001", wishes)


def _judge_wish(talk: Talk, wish: Intent, seen: Seen, connection: sa.Connection) -> None:
    made = connection.scalars(sa.select(transfers.c.transfer_id).where(transfers.c.memo == wish.memo)).all()
    if len(made) > 1:
        seen.doubled.append(f"{wish.memo}: {', '.join(made)}")
    if wish.approve is False and made:
        seen.unwanted.append(wish.memo)
    if wish.approve is not False and not made:
        seen.missing.append(_told_of(talk, connection))


def _told_of(talk: Talk, connection: sa.Connection) -> str:
    said = sa.select(requests.c.state, receipts.c.sentence).join(
        receipts, requests.c.request_id == receipts.c.request_id, isouter=True
    )
    told = connection.execute(said.where(requests.c.thread_id == talk.thread_id)).all()
    states = connection.execute(
        sa.select(turns.c.turn_id, turns.c.state).where(turns.c.thread_id == talk.thread_id)
    ).all()
    return f"{talk.sentence!r} in {talk.thread_id}: {list(map(tuple, states))} {list(map(tuple, told))}"


def _untrue(talk: Talk, messages: Collection[dict[str, Any]], connection: sa.Connection) -> Iterator[str]:
    """Give what a thread says that is not so: each result is told once, as its receipt says."""
    said = sa.select(receipts.c.sentence).join(requests, requests.c.request_id == receipts.c.request_id)
    sentences = connection.scalars(said.where(requests.c.thread_id == talk.thread_id)).all()
    results = [str(one["content"]) for one in messages if one["type"] == "tool"]
    people = [one for one in messages if one["type"] == "human"]
    if not 1 <= len(people) <= talk.said:
        yield f"{talk.thread_id}: {len(people)} messages of a person"
    for sentence in sentences:
        if sum(sentence in one for one in results) != 1:
            yield f"{talk.thread_id}: {sentence!r} stands in {results}"


def _note_leases(connection: sa.Connection) -> None:
    """Let the database itself keep who had which lease, and until when."""
    for statement in (
        "CREATE TABLE lease_history (number BIGSERIAL, name TEXT, holder TEXT, until TIMESTAMPTZ,"
        " noted TIMESTAMPTZ DEFAULT clock_timestamp(), is_dropped BOOLEAN)",
        "CREATE FUNCTION note_lease() RETURNS trigger AS $$ BEGIN"
        " IF TG_OP = 'DELETE' THEN INSERT INTO lease_history (name, holder, until, is_dropped)"
        " VALUES (OLD.name, OLD.holder, OLD.until::timestamptz, true); RETURN OLD; END IF;"
        " INSERT INTO lease_history (name, holder, until, is_dropped)"
        " VALUES (NEW.name, NEW.holder, NEW.until::timestamptz, false); RETURN NEW; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER note_lease AFTER INSERT OR UPDATE OR DELETE ON leases"
        " FOR EACH ROW EXECUTE FUNCTION note_lease()",
    ):
        connection.exec_driver_sql(statement)


def _judge_leases(seen: Seen, connection: sa.Connection) -> None:
    rows = connection.exec_driver_sql(
        "SELECT name, holder, until, noted, is_dropped FROM lease_history ORDER BY number"
    ).all()
    held: dict[str, Any] = {}
    for row in rows:
        before = held.get(row.name)
        if before is not None and before.holder != row.holder:
            seen.handed_over[row.name] = seen.handed_over.get(row.name, 0) + 1
            if not before.is_dropped and before.until > row.noted:
                seen.taken_early.append(f"{row.name} at {row.noted}, held until {before.until}")
        held[row.name] = row
    for name in [name for name in seen.handed_over if name.startswith("performing:")]:
        del seen.handed_over[name]


@contextmanager
def prepared(count: int, **env: str) -> Iterator[tuple[list[Machine], Redis]]:
    """Make machines on a PostgreSQL and a Redis of their own, with a seeded bank and the campaign's policy."""
    with tempfile.TemporaryDirectory(prefix="clearance-machines-") as folder, postgres() as url:
        redis = Redis(Path(folder)).start()
        made = machines(Path(folder), seeded(url, "machines"), redis.url, count, AUTH_BOTH_PARTS="true", **env)
        try:
            for one in made:
                with_policy(one)
            yield made, redis
        finally:
            for one in made:
                one.kill()
            redis.stop()


def main() -> int:
    """Run a campaign and print what it saw; 0 when nothing was lost, doubled, missing or untrue."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--machines", type=int, default=2)
    arguments.add_argument("--kills", type=int, default=30)
    arguments.add_argument("--people", type=int, default=8)
    arguments.add_argument("--seed", type=int, default=0, help="0 takes one from the clock")
    arguments.add_argument("--keep", type=Path, help="a folder for the logs of the machines")
    arguments.add_argument("--upgrade", action="store_true", help="half-way to a version with one more migration")
    given = arguments.parse_args()
    seed = given.seed or int(time.time())
    # What a terminal sends ends the servers, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with prepared(given.machines) as (servers, redis):
        try:
            say = partial(print, flush=True)
            newer = next_version(servers[0].folder / "next", ADDS) if given.upgrade else None
            seen = asyncio.run(Campaign(servers, seed, given.people, say, redis).run(given.kills, newer))
        finally:
            for server in servers if given.keep else ():
                (given.keep / f"{server.folder.name}.log").write_text(server.log)
    print(f"seed {seed}: {seen}")  # noqa: T201  a program
    for problem in seen.problems:
        print(f"  {problem}")  # noqa: T201  a program
    return 0 if seen.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
