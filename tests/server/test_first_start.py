"""What is read at a start: what it holds and where people decide; or, in a sentence, why it does not start."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.support.server import Server
from tests.support.tokens import bearer
from tests.support.world import OLGA

#: What a line of the platform's log adds to a sentence of ours, and a sentence with a path in it.
_ONE_LINE = 600


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"CLEARANCE": "agent.ap:clearance"}, "CLEARANCE: there is no module 'agent.ap'"),
        ({"CLEARANCE": "./src/agent/app.py:clearance"}, "write where yours is made as module:variable"),
        ({"POLICY_FILE": "nowhere.toml"}, "nowhere.toml: there is no policy here"),
        ({"AUDIT_KEY": "short"}, "AUDIT_KEY: needs at least 32 characters"),
        ({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing"}, "The database did not answer"),
    ],
)
def test_a_start_that_is_refused_ends_in_one_sentence(
    make_server: Callable[..., Server], env: dict[str, str], says: str
) -> None:
    server = make_server(database_url=env.pop("DATABASE_URL", ""), **env)

    with pytest.raises(RuntimeError):
        server.start()

    (told,) = [line for line in server.log.splitlines() if "The server does not start: " in line]
    assert says in told
    assert len(told) < _ONE_LINE
    # The platform's own last words follow; no traceback of the start, which it logs as one line, stands before them.
    assert [line for line in server.log.splitlines() if "Traceback" in line and "‹U+000A›" in line] == []


def test_a_server_tells_what_it_holds_and_where_people_decide(make_server: Callable[..., Server]) -> None:
    server = make_server()
    server.auth = "on"
    server.start()
    server.stop()

    assert "Clearance holds delete_user, reverse_transfer, send_payment, transfer_funds (in clearance)" in server.log
    assert "people decide at /inbox of this server" in server.log
    assert "ROLE is approver or treasurer" in server.log
    assert "no graph of this server has the gate" not in server.log
    assert "NOT SERVED" not in server.log


class Unserved(Server):
    """A server whose configuration has the authentication and not the app."""

    def _configuration(self) -> Path:
        read = json.loads(super()._configuration().read_text())
        del read["http"]
        changed = self.folder / "unserved.json"
        changed.write_text(json.dumps(read))
        return changed


def test_a_server_without_the_app_says_so_when_somebody_comes(make_server: Callable[..., Server]) -> None:
    server = make_server(kind=Unserved)
    server.auth = "on"
    server.start()
    for _ in range(2):
        httpx.post(f"{server.url}/threads", json={}, headers=bearer(OLGA)).raise_for_status()
    server.stop()

    assert server.log.count("NOT SERVED: this server runs without Clearance's app") == 1
