"""`clearance watch` and deciding from `clearance chat`, against the real server."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

import tests.support.server
from tests.support.command import run
from tests.support.conversation import connected, converse
from tests.support.server import Server
from tests.support.tokens import bearer, token
from tests.support.world import ANA, OLGA, TESS, Person

_CLEARANCE = str(Path(sys.executable).with_name("clearance"))


@pytest.fixture(scope="module")
def server(make_server: Callable[..., Server]) -> Iterator[Server]:
    """A server of this module's own that tells people apart; one of them may do both parts."""
    made = make_server()
    made.auth = "on"
    yield made.start()
    made.stop()


async def _asked(server: Server, sentence: str) -> str:
    """Let olga ask for something; give the thread."""
    async with connected(server.url, **bearer(OLGA)) as client:
        talk = await converse(client)
        await talk.say(sentence)
        return talk.thread_id


# watch


@contextmanager
def _watching(server: Server, folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], Path, Path]]:
    """Run `clearance watch` as ana in a process of its own; give it and what it prints."""
    out, err = folder / "out", folder / "err"
    environment = {**os.environ, "LANGGRAPH_URL": server.url, "CLEARANCE_TOKEN": token(ANA)}
    with out.open("wb") as stdout, err.open("wb") as stderr:
        watching = subprocess.Popen([_CLEARANCE, "watch", *options], stdout=stdout, stderr=stderr, env=environment,
                                    # Programs in the background of a shell ignore Ctrl-C, and hand that down.
                                    preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL))  # fmt: skip
    try:
        _until(err, "Watching")
        yield watching, out, err
    finally:
        watching.kill()
        watching.wait(10)


def _until(file: Path, said: str) -> str:
    """Wait until a file holds a text."""
    for _ in range(600):
        if said in (text := file.read_text()):
            return text
        time.sleep(0.1)
    raise AssertionError(f"{said!r} did not come:\n{file.read_text()}")


async def test_watch_prints_a_line_for_each_change_and_goes_on_after_a_restart(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _asked(server, "transfer 3,100 from A-2001 to A-2003")
    with _watching(server, tmp_path) as (watching, out, err):
        await _asked(server, "transfer 3,101 from A-2001 to A-2003")
        shown = _until(out, "$3,101.00")
        (first,) = [line for line in shown.splitlines() if "$3,101.00" in line]
        assert first.split()[1:3] == ["requested", "olga"]

        server.kill()
        _until(err, "Trying again")
        monkeypatch.setattr(tests.support.server, "free_port", lambda port=server.port: port)
        server.start()
        await _asked(server, "transfer 3,102 from A-2001 to A-2003")
        shown = _until(out, "$3,102.00")

        assert "Back. Going on after change" in err.read_text()
        assert "$3,100.00" not in shown
        assert shown.count("$3,101.00") == 1
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 0


async def test_watch_prints_changes_as_json_lines(server: Server, tmp_path: Path) -> None:
    with _watching(server, tmp_path, "--json") as (_, out, _err):
        thread = await _asked(server, "transfer 3,103 from A-2001 to A-2003")
        _until(out, "requested")

    rows = [json.loads(line) for line in out.read_text().splitlines()]
    told = {row["event"]: row for row in rows if row["thread_id"] == thread}
    assert list(told)[:3] == ["turn_opened", "model_said", "requested"]
    assert told["requested"]["actor"] == "olga"
    assert {"seq", "at", "turn_id", "request_id", "details"} <= told["requested"].keys()


@pytest.mark.parametrize(("person", "said"), [(OLGA, "role of the policy"), (None, "Put a token in CLEARANCE_TOKEN")])
def test_watch_and_inbox_without_a_role_or_a_token_are_one_sentence(
    server: Server, person: Person | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLEARANCE_TOKEN", token(person) if person else "")

    ran = run("--url", server.url, "watch")

    assert ran.code in (1, 4)
    assert said in ran.err
    assert ran.err.count("\n") == 1


# chat


def _chat(server: Server, person: Person, *lines: str, thread: str | None = None) -> str:
    """Talk as somebody, line by line, and leave; give what was printed."""
    environment = {**os.environ, "LANGGRAPH_URL": server.url, "CLEARANCE_TOKEN": token(person), "COLUMNS": "120"}
    command = [_CLEARANCE, "chat", *(["--thread", thread] if thread else [])]
    done = subprocess.run(
        command, input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=100, env=environment, check=True
    )
    return done.stdout + done.stderr


async def test_in_chat_who_may_decide_decides_in_place_and_the_agent_goes_on(both_parts: Server) -> None:
    said = _chat(both_parts, ANA, "transfer 3,110 from A-2001 to A-2003 and 3,111 from A-2001 to A-2003", "a", "a")

    assert said.count("high risk · transfer_funds") == 2
    assert "when one more request of this turn is decided" in said
    assert "Transferred $3,111.00" in said
    assert said.index("[offline model] Transferred $3,110.00") > said.index("Transferred $3,111.00 from")


async def test_in_chat_a_rejection_takes_a_reason(both_parts: Server) -> None:
    said = _chat(both_parts, ANA, "transfer 3,112 from A-2001 to A-2003", "r", "", "r", "not before Monday")

    assert "Nothing was recorded." in said
    assert "Not done: ana rejected it: not before Monday" in said


async def test_in_chat_something_critical_takes_its_amount_typed(both_parts: Server) -> None:
    said = _chat(both_parts, TESS, "transfer 30,113 from A-2001 to A-2003", "a", "30,112", "a", "30,113")

    assert "You typed 30,112; type the amount, 30,113.00. Nothing was recorded." in said
    assert "1 more person has to approve it" in said


async def test_in_chat_what_is_no_decision_is_said_to_the_agent(both_parts: Server) -> None:
    said = _chat(both_parts, ANA, "transfer 3,114 from A-2001 to A-2003", "what is the balance of A-2004?", "y")

    assert "This withdraws: Transfer $3,114.00" in said
    assert "← get_account: " in said
    assert "Transferred $3,114.00" not in said


async def test_in_chat_words_that_would_withdraw_are_only_sent_when_they_are_meant(both_parts: Server) -> None:
    said = _chat(both_parts, ANA, "transfer 3,117 from A-2001 to A-2003", "what is the balance of A-2004?", "", "a")

    assert "Not sent; it waits as before." in said
    assert "get_account" not in said
    assert "← transfer_funds: Transferred $3,117.00" in said


async def test_in_chat_who_may_not_decide_is_told_who_may(server: Server) -> None:
    said = _chat(server, OLGA, "transfer 3,115 from A-2001 to A-2003", "")

    assert "You asked for this, so others decide." in said
    assert "1 × approver" in said


async def test_in_chat_a_request_that_is_left_stays_and_is_offered_again(both_parts: Server) -> None:
    said = _chat(both_parts, ANA, "transfer 3,116 from A-2001 to A-2003", "", "", "a")

    assert said.count("high risk · transfer_funds") == 2
    assert "Transferred $3,116.00" in said


@pytest.fixture(scope="module")
def both_parts(make_server: Callable[..., Server]) -> Iterator[Server]:
    """A server where whoever asks may also decide."""
    made = make_server(AUTH_BOTH_PARTS="true")
    made.auth = "on"
    yield made.start()
    made.stop()
