"""Promise 5 on Aegra: however a run ends before its words are heard, they are nobody's afterwards.

Nobody but its owner gets at a thread there; who approves decides in the inbox. Runs of a thread go on side by side.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.attacks.targets import Case, Target
from tests.conftest import copied
from tests.support.conversation import GRAPH
from tests.support.late import LateAegra, being_taken_in, let_in
from tests.support.left import (
    GO_ON,
    Leave,
    Left,
    are_nobodys,
    at_rest,
    begun,
    by_the_api,
    each,
    empty,
    folder_of,
    held,
    hold_and_fail,
    hold_and_leave,
    own_words,
    quiet,
    started,
    stopped_at_a_breakpoint,
    stopped_at_every_breakpoint,
    stored,
)
from tests.support.server import ROOT


@pytest.fixture(scope="module")
def target(seeded_postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server with authentication on which words are heard late."""
    env = {"PYTHONPATH": str(ROOT), "MAX_UNFINISHED_RUNS": "100"}
    with copied(seeded_postgres, "seeded") as url:
        server = LateAegra(tmp_path_factory.mktemp("late"), url, env=env, auth="on")
        try:
            yield Target("ours", server.start())
        finally:
            server.stop()


@pytest.fixture
async def case(target: Target) -> AsyncIterator[Case]:
    made = Case(target)
    yield made
    await made.close()


async def cancelled_by_its_owner(case: Case, left: Left) -> None:
    """On Aegra nobody else may; it withdraws what was open, too."""
    run_id = await begun(case, left)
    met = await case.tess.post(f"/threads/{left.held.thread_id}/runs/{run_id}/cancel?action=interrupt&wait=1")
    assert met.status == 200, met


async def gone_from_the_stream(case: Case, left: Left) -> None:
    """The client ends its stream, with which Aegra ends the run; nobody cancelled it."""
    body = {"assistant_id": GRAPH, "input": left.words}
    url = f"{case.target.url}/threads/{left.held.thread_id}/runs/stream"
    async with case.tess.http.stream("POST", url, json=body) as response:
        assert response.status_code == 200
        await being_taken_in(folder_of(case), left.held.thread_id)


async def two_at_once(case: Case, left: Left) -> None:
    """Aegra runs both, as it does a run of recovery's beside its owner's; each finds the same words."""
    await asyncio.gather(own_words(case, left), empty(case, left), started(case, left))


async def decided(case: Case, left: Left) -> None:
    """Let tess look once more, without any words, and ana decide what waits."""
    await case.tess.run(left.held.thread_id, input={"messages": []})  # a run without any input is none here
    await quiet(case, left.held.thread_id)
    await by_the_api(case, left)


async def _each_way(case: Case, left: list[Left], *, withdraws: bool = False) -> None:
    pairs = zip(left, GO_ON, strict=True)
    await each(GO_ON, [are_nobodys(case, one, way, answer=decided, withdraws=withdraws) for one, way in pairs])


async def test_words_of_a_run_that_its_owner_cancelled_are_nobodys(case: Case) -> None:
    ways: list[Leave] = [*GO_ON, two_at_once]
    left = await asyncio.gather(*(hold_and_leave(case, cancelled_by_its_owner) for _ in ways))

    pairs = zip(left, ways, strict=True)
    await each(ways, [are_nobodys(case, one, way, answer=decided, withdraws=True) for one, way in pairs])


async def test_nor_are_those_of_a_run_whose_client_went_away(case: Case) -> None:
    await _each_way(case, list(await asyncio.gather(*(hold_and_leave(case, gone_from_the_stream) for _ in GO_ON))))


async def test_nor_are_those_of_a_run_that_failed(case: Case) -> None:
    await _each_way(case, await hold_and_fail(case, len(GO_ON)))


async def test_nor_are_those_of_a_run_that_was_killed_which_nobody_runs_again_here(case: Case) -> None:
    left = list(await asyncio.gather(*(held(case) for _ in GO_ON)))
    await asyncio.gather(*(begun(case, one) for one in left))
    await asyncio.gather(*(stored(case, one) for one in left))
    case.target.server.kill()
    for one in left:
        let_in(folder_of(case), one.held.thread_id)
    case.target.server.start()
    await asyncio.gather(*(at_rest(case, one) for one in left))

    await _each_way(case, left)


async def test_nor_are_those_that_stopped_at_a_breakpoint_where_one_person_may_debug(case: Case) -> None:
    server = case.target.server
    server.stop()
    server.env["AUTH_BOTH_PARTS"] = "true"
    server.start()
    try:
        ways: list[Leave] = [stopped_at_a_breakpoint, stopped_at_every_breakpoint] * len(GO_ON)
        stopped = zip(GO_ON, ways, strict=False)
        await _each_way(case, list(await asyncio.gather(*(hold_and_leave(case, way) for _, way in stopped))))
    finally:
        server.stop()
        del server.env["AUTH_BOTH_PARTS"]
        server.start()
