"""What is loaded when somebody comes: once, and told where it does not load."""

import asyncio
import logging

import pytest
from fastapi import FastAPI

from clearance.server.late import Late, NotLoadedError


class _Loading:
    """Something to load that fails as often as told."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.tries = 0
        self.made = FastAPI()

    def __call__(self) -> FastAPI:
        self.tries += 1
        if self.tries <= self.failures:
            raise ImportError("a module is broken")
        return self.made


async def test_whoever_comes_meanwhile_waits_for_one_load() -> None:
    loading = _Loading(failures=0)
    late = Late(loading)

    given = await asyncio.gather(*[late.app() for _ in range(20)])

    assert given == [loading.made] * 20
    assert loading.tries == 1


async def test_what_does_not_load_is_tried_and_told_once_whoever_comes(caplog: pytest.LogCaptureFixture) -> None:
    """Each who came had everything loaded anew, without a token, and left a traceback in the log."""
    loading = _Loading(failures=100)
    late = Late(loading)

    with caplog.at_level(logging.ERROR):
        given = await asyncio.gather(*[late.app() for _ in range(20)], return_exceptions=True)

    told = {str(one) for one in given}
    assert {type(one) for one in given} == {NotLoadedError}
    assert (loading.tries, len(told), len(caplog.records)) == (1, 1, 1)
    assert given[0].error_id in caplog.text  # type: ignore[union-attr]
    assert given[0].error_id in told.pop()  # type: ignore[union-attr]
    assert "a module is broken" in caplog.text


async def test_what_did_not_load_is_tried_again_after_a_while() -> None:
    loading = _Loading(failures=1)
    late = Late(loading, again_s=0)

    with pytest.raises(NotLoadedError):
        await late.app()

    assert await late.app() is loading.made
