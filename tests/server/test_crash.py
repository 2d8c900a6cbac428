"""Killed at random moments, the server loses and doubles nothing. `make crash` runs the same for a hundred kills."""

from collections.abc import Callable
from pathlib import Path

from tests.support import crash_outside
from tests.support.crash import campaign, with_policy
from tests.support.paying import PayingServer, environment
from tests.support.payments import Provider
from tests.support.server import Server


async def test_ten_kills_lose_and_double_nothing(
    make_server: Callable[..., Server], record_property: Callable[[str, object], None]
) -> None:
    counts = await campaign(with_policy(make_server()), kills=10, seed=20261122)

    record_property("measured", str(counts))
    assert counts.kills == 10
    assert counts.is_clean, counts


async def test_kills_while_it_pays_elsewhere_lose_and_double_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Three ways to know what became of a payment, the provider's books as the judge; each run on a loop of its own."""
    with Provider() as provider:
        env = {**environment(provider.url), "BG_JOB_ISOLATED_LOOPS": "true"}
        server = PayingServer(tmp_path, f"sqlite:///{tmp_path / 'clearance.db'}", env=env)
        seen = await crash_outside.campaign(server, provider, kills=2, seed=20261126)

    record_property("measured", str(seen))
    assert seen.is_clean, (seen, seen.by_way)
