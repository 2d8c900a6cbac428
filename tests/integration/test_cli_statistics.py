"""`clearance stats` and `clearance policy replay`: what they print about a day's work."""

from pathlib import Path

import pytest

from tests.integration.test_statistics import LAX, work_a_day
from tests.support.command import run
from tests.support.world import AUDIT_KEY, POLICY, World

pytestmark = pytest.mark.own_graph("a command reads the database alone")


@pytest.fixture(autouse=True)
def environment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", world.database.url.replace("+psycopg", ""))
    monkeypatch.setenv("AUDIT_KEY", AUDIT_KEY.decode())
    world.clock.stop()


async def test_stats_names_reviewers_and_shares(world: World) -> None:
    await work_a_day(world)

    told = run("stats").out
    as_json = run("stats", "--json").json

    assert "Of 5 actions in 30 days policy let 20% through, asked 80% and refused 0%." in told
    assert [(one["person"], one["approved"], one["hasty"]) for one in as_json["reviewers"]] == [
        ("ana", 2, 1),
        ("ben", 0, 0),
    ]
    assert "1 (50%)" in told


async def test_stats_of_an_empty_journal_says_so(world: World) -> None:
    assert "Nobody decided anything." in run("stats").out


async def test_replay_tells_what_a_laxer_policy_spares_and_loses(world: World, tmp_path: Path) -> None:
    await work_a_day(world)
    lax = tmp_path / "new.toml"
    lax.write_text(LAX)

    ran = run("policy", "replay", "--policy", str(lax))
    as_json = run("policy", "replay", "--policy", str(lax), "--json").json

    assert ran.code == 0
    assert "Questions it spares, which people only approved: 2." in ran.out
    assert "Questions it loses, which people rejected or changed: 2." in ran.out
    assert ran.out.count("LOST") == 2
    assert (as_json["requests"], as_json["otherwise"], as_json["spared"], len(as_json["lost"])) == (5, 4, 2, 2)


async def test_replay_of_a_policy_that_is_not_valid_names_the_line(world: World, tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text(POLICY.replace('action  = "transfer_funds"', 'action  = "fly"', 1))

    ran = run("policy", "replay", "--policy", str(broken))

    assert ran.code == 7
    assert "broken.toml:" in ran.err
    assert "'fly'" in ran.err
