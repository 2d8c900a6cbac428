"""Aegra serves everybody when the authentication does not load; with ours it does not start then."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.aegra import Aegra
from tests.support.server import ROOT


def with_auth_at(folder: Path, path: str) -> None:
    """Write a configuration that differs from the project's in where the authentication is."""
    configuration = json.loads((ROOT / "langgraph.json").read_text())
    configuration["auth"]["path"] = path
    (folder / "langgraph.json").write_text(json.dumps(configuration))


@pytest.mark.parametrize("path", ["clearance.server.nowhere:auth", "clearance.server.upkeep.deleted_threads:auth"])
def test_an_authentication_that_does_not_load_stops_the_server(make_aegra: Callable[..., Aegra], path: str) -> None:
    server = make_aegra(AUTH="on")
    with_auth_at(server.folder, path)

    with pytest.raises(RuntimeError, match="Aegra loaded no authentication"):
        server.start()


def test_a_policy_that_cannot_be_stops_the_server_and_says_where(make_aegra: Callable[..., Aegra]) -> None:
    server = make_aegra(AUTH="off", POLICY_FILE="bad-policy.toml")
    policy = '[roles]\na = "x"\n[defaults]\napprovers = "a"\n[[rule]]\naction = "no_such_action"\nverdict = "allow"\n'
    (server.folder / "bad-policy.toml").write_text(policy)

    with pytest.raises(RuntimeError, match=r"unknown action 'no_such_action'"):
        server.start()
