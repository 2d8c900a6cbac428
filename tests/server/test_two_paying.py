"""Two servers on one PostgreSQL that pay elsewhere: what one leaves in flight for good, the other finds out."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from clearance.db.engine import Database
from clearance.journal.attempts import all_in_flight
from clearance.journal.receipts import read_receipt
from tests.conftest import copied
from tests.server.test_external import approve, asked
from tests.support.conversation import connected
from tests.support.paying import PayingServer, environment
from tests.support.payments import Provider
from tests.support.waiting import until


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as made:
        yield made


async def test_what_a_server_that_is_gone_left_in_flight_is_looked_up_by_the_other(
    seeded_postgres: str, tmp_path: Path, provider: Provider
) -> None:
    provider.next, provider.takes_s = ["pays, then hangs"], 60
    with copied(seeded_postgres, "seeded") as url:
        folders = [tmp_path / name for name in ("one", "other")]
        for folder in folders:
            folder.mkdir()
        one, other = (PayingServer(folder, url, env=environment(provider.url)) for folder in folders)
        database = Database(url)
        try:
            one.start()
            other.start()
            async with connected(one.url) as client:
                _, question = await asked(client, "pay out blocking: account X-1, amount 5000")
            await approve(one, question)
            await until(lambda: provider.paid() != [])
            async with httpx.AsyncClient(base_url=other.url, timeout=60) as http:
                frozen = await http.post("/approvals/freeze", json={"reason": "drill"})

            one.kill()
            await until(lambda: database.read_now(all_in_flight) == [])
            receipt = database.read_now(partial(read_receipt, request_id=question["id"]))
        finally:
            database.close()
            one.stop()
            other.stop()

    assert [flying["id"] for flying in frozen.json()["in_flight"]] == [question["id"]]
    assert receipt is not None
    assert receipt.outcome == "executed"
    assert len(provider.asked) == 1
