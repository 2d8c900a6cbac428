"""A server's start is not held up by looking for garbage, and what it started with is not looked through again."""

import gc
from collections.abc import Iterator

import pytest
from starlette.types import Message, Receive, Scope, Send

from clearance.server.collecting import StartUncollected


@pytest.fixture(autouse=True)
def _unfrozen() -> Iterator[None]:
    yield
    gc.enable()
    gc.unfreeze()


async def _receive() -> Message:
    return {"type": "lifespan.startup"}


async def _drop(_: Message) -> None:
    """Take what an app tells its server."""


class _Starting:
    """An app that makes much in its start, and ends it as told."""

    def __init__(self, end: str) -> None:
        self.end = end
        self.collected: list[str] = []
        #: Whether garbage was looked for: in the start, and after it.
        self.states: list[bool] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gc.callbacks.append(self._note)
        try:
            made = [[number] for number in range(200_000)]
        finally:
            gc.callbacks.remove(self._note)
        assert made
        self.states.append(gc.isenabled())
        await send({"type": f"lifespan.startup.{self.end}"})
        self.states.append(gc.isenabled())

    def _note(self, phase: str, _: dict[str, int]) -> None:
        self.collected.append(phase)


@pytest.mark.parametrize("end", ["complete", "failed"])
async def test_a_start_is_not_stopped_to_look_for_garbage_and_leaves_it_on(end: str) -> None:
    app = _Starting(end)

    await StartUncollected(app)({"type": "lifespan"}, _receive, _drop)

    assert app.collected == []
    assert app.states == [False, True]
    assert gc.get_freeze_count() > 200_000


async def test_a_start_that_breaks_off_leaves_it_on() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("no start")

    with pytest.raises(RuntimeError, match="no start"):
        await StartUncollected(broken)({"type": "lifespan"}, _receive, _drop)

    assert gc.isenabled()


async def test_requests_and_a_process_that_looks_for_none_are_let_be() -> None:
    app = _Starting("complete")
    await StartUncollected(app)({"type": "http"}, _receive, _drop)
    gc.disable()
    await StartUncollected(app)({"type": "lifespan"}, _receive, _drop)

    assert app.states == [True, True, False, False]
