"""Killed at random moments, the server loses and doubles nothing. `make crash` runs the same for a hundred kills."""

from collections.abc import Callable

from tests.support.crash import campaign, with_policy
from tests.support.server import Server


async def test_ten_kills_lose_and_double_nothing(
    make_server: Callable[..., Server], record_property: Callable[[str, object], None]
) -> None:
    counts = await campaign(with_policy(make_server()), kills=10, seed=20261122)

    record_property("measured", str(counts))
    assert counts.kills == 10
    assert counts.is_clean, counts
