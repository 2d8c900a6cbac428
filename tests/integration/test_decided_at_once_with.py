"""A decision by the API at the same moment as something else of its thread: each effect happens exactly one way."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from clearance.desk.desk import Standing
from clearance.gate.ending import cancel_run, withdraw_thread
from clearance.journal.receipts import read_receipt
from clearance.principal import Principal
from tests.integration.test_carried_out_at_once import decide, hold, second_process
from tests.support.world import BEN, World, results

FIRST = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2003", "amount": "1100"})
SECOND = ("transfer_funds", {"from_account": "A-2001", "to_account": "A-2002", "amount": "1200"})
TIMES = 4


async def delete(world: World) -> None:
    await world.gate.write(lambda log: withdraw_thread(log, "thread"))


async def cancel(world: World) -> None:
    await world.gate.write(
        lambda log: cancel_run(log, "thread", "none", by=Principal("olga"), goes_on_with=world.request().turn_id)
    )


async def say(world: World) -> None:
    await world.say("never mind")


async def freeze(world: World) -> None:
    await world.freeze()


async def reject(world: World) -> None:
    await decide(world, {"approved": False}, by=BEN)


async def approve(world: World) -> None:
    await world.answer(True, by=BEN)


@pytest.mark.parametrize("meanwhile", [delete, cancel, say, freeze, reject, approve])
async def test_each_effect_happens_one_way_and_its_receipt_is_true(
    world: World, meanwhile: Callable[[World], Awaitable[None]]
) -> None:
    async with second_process(world) as other:
        # What runs the graph has the thread's checkpoints in its own process.
        elsewhere = world if meanwhile in (say, approve) else other
        for _ in range(TIMES):
            await hold(world, FIRST, SECOND)
            await decide(world, True, call="call-1")
            before = len(world.transfers())

            async def decided() -> object:
                await asyncio.sleep(random.random() * 0.02)
                return await decide(world, True)

            async def met() -> None:
                await asyncio.sleep(random.random() * 0.02)
                await meanwhile(elsewhere)

            told, _ = await asyncio.gather(decided(), met())
            await world.unfreeze()

            if isinstance(told, Standing) and told.receipt:
                assert told.receipt == world.read(partial(read_receipt, request_id=told.request.request_id))
            said = results(await world.go_on())
            await world.say("and something else")
            states = [world.request(call).state for call in ("call-0", "call-1")]
            assert "asked" not in states
            assert "approved" not in states
            assert len(world.transfers()) - before == states.count("executed")
            assert sum(one.startswith("Transferred") for one in said) == len(world.transfers())
            world.model.will_say_nothing_more()
    assert world.audit_is_whole()
