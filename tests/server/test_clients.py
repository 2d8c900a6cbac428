"""The command and the three scripts against the real server: what they print, and the exit code that tells a script."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langgraph_sdk import get_sync_client

from clearance.cli.approvals import Approvals
from clearance.contract import Detail
from tests.support.command import Ran, run
from tests.support.server import ROOT, Server


@pytest.fixture(scope="module")
def own_server(make_server: Callable[..., Server]) -> Iterator[Server]:
    """A server of this module's own: it freezes effects and empties accounts."""
    server = make_server().start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def environment(own_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANGGRAPH_URL", own_server.url)
    monkeypatch.setenv("DATABASE_URL", own_server.database_url)
    monkeypatch.setenv("AUDIT_KEY", own_server.environment()["AUDIT_KEY"])


def _pending() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run("pending", "--json").json
    return found


def _hold(sentence: str) -> dict[str, Any]:
    """Say something that is held, and give what `pending` then lists for it."""
    before = {held["id"] for held in _pending()}
    assert run("chat", sentence).code == 0
    held = [held for held in _pending() if held["id"] not in before]
    return min(held, key=lambda one: [other["this"] for other in _turn(one["id"])].index(True))


def _shown(request_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = run("show", request_id, "--json").json
    return shown


def _turn(request_id: str) -> list[dict[str, Any]]:
    """Give the requests of a request's turn, in order."""
    requests: list[dict[str, Any]] = _shown(request_id)["payload"]["turn"]["requests"]
    return requests


def _interrupt(server: Server, thread_id: str) -> str:
    """Give the id of the one question that is put in a thread."""
    with get_sync_client(url=server.url, api_key=None) as client:
        state: Any = client.threads.get_state(thread_id)
    (interrupt,) = [interrupt for task in state["tasks"] for interrupt in task["interrupts"]]
    return str(interrupt["id"])


def _script(name: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "clients" / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_chat_streams_and_shows_a_card_with_all_that_a_reviewer_needs() -> None:
    ran = run("chat", "transfer 5,000 from A-2001 to A-2003 and 2,600 from A-2001 to A-2003")

    assert ran.code == 0
    assert '→ transfer_funds(amount="5000", from_account="A-2001", to_account="A-2003")' in ran.out
    for shown in (
        *(
            "high risk · transfer_funds",
            "Transfer $5,000.00 from A-2001 (Priya Natarajan, C-1001)",
            "Asked by",
            "local",
        ),
        *("1 × approver, none given yet", " UTC, 23 h", "transfer (policy.toml:", "Payer has", "New payee"),
        *("The whole turn", "→ 1  asked", "  2  asked", "clearance approve "),
    ):
        assert shown in ran.out


def test_chat_shows_the_progress_of_the_long_job_and_its_result_once() -> None:
    ran = run("chat", "analyze transactions")

    assert "300/300" in ran.out or "/30" in ran.out
    # What the tool returned, and what the agent said of it: each once, though stream and state both tell them.
    assert ran.out.count("← analyze_transactions: ") == 1
    assert ran.out.count("Unusually large amounts:") == 2


def test_chat_goes_on_in_a_thread_and_shows_what_is_held_there() -> None:
    held = _hold("transfer 5,000 from A-2001 to A-2003")

    ran = run("chat", "--thread", held["thread_id"], "what is the balance of A-2004?")

    assert held["id"][:8] in ran.out  # the card, before the new message
    assert "A-2004" in ran.out
    assert "→ transfer_funds(" not in ran.out  # an earlier call is not told as a new one
    assert run("approve", held["id"]).code == 3  # the message withdrew it
    assert f"Withdrawn: {held['sentence']}" in ran.out
    assert "← get_account: " in ran.out  # what tools returned is printed
    assert "withdrawn, because a new message came" in run("show", held["id"]).out


def test_chat_in_a_thread_that_does_not_exist_is_3() -> None:
    assert run("chat", "--thread", "00000000-0000-0000-0000-000000000000", "hello").code == 3
    assert run("chat", "--thread", "nonsense", "hello").code == 3


def test_an_approved_request_is_done_and_then_no_longer_open() -> None:
    held = _hold("transfer 3,000 from A-2001 to A-2003")

    done = run("approve", held["id"][:10])
    again = run("approve", held["id"])

    assert done.code == 0
    assert "Transferred $3,000.00 from A-2001 to A-2003 (T-" in done.out
    assert again.code == 3
    assert "waits for an answer" in again.err


def test_a_rejected_request_is_not_done_and_tells_the_reason() -> None:
    held = _hold("transfer 3,100 from A-2001 to A-2003")

    ran = run("reject", held["id"], "--reason", "not before Monday")

    assert ran.code == 0
    assert "Not done: local rejected it: not before Monday" in ran.out


def test_an_edited_request_is_done_as_it_was_edited() -> None:
    held = _hold("transfer 3,200 from A-2001 to A-2003")

    ran = run("edit", held["id"], "--set", "amount=2900")

    assert ran.code == 0
    assert "Transferred $2,900.00 from A-2001 to A-2003" in ran.out


def test_a_refused_answer_is_4_and_the_request_stays_open() -> None:
    held = _hold("transfer 3,300 from A-2001 to A-2003")

    wrong = run("edit", held["id"], "--set", "amount=some")
    unknown = run("edit", held["id"], "--set", "colour=red")
    refused = run("approve", held["id"], "--digest", "0" * 64)

    assert (wrong.code, unknown.code, refused.code) == (4, 4, 4)
    assert "amount must be dollars" in wrong.out
    assert "colour" in unknown.out
    assert "Asked again. The last answer was refused: it is about other arguments" in run("show", held["id"]).out
    assert run("approve", held["id"]).code == 0


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in-order", "the-second-first"])
def test_one_of_a_plan_waits_for_the_rest_and_then_both_are_told(order: tuple[int, int]) -> None:
    ids = [
        one["id"] for one in _turn(_hold("transfer 3,400 from A-2001 to A-2003 and 3,500 from A-2001 to A-2003")["id"])
    ]
    amounts = ["$3,400.00", "$3,500.00"]
    one, other = order

    recorded = run("approve", ids[one])
    again = run("approve", ids[one])
    done = run("approve", ids[other])

    assert recorded.code == 0
    assert "carried out when the rest of its turn is decided, 1 to go" in recorded.out
    assert f"Now held: {ids[other][:8]}" in recorded.out
    assert again.code == 3
    assert "no longer waits for an answer. It is approved" in again.err
    assert done.code == 0
    assert f"Transferred {amounts[other]}" in done.out
    assert f"Also: Transferred {amounts[one]}" in done.out


def test_rejecting_one_of_a_plan_tells_that_the_other_is_asked_once_more() -> None:
    ids = [
        one["id"] for one in _turn(_hold("transfer 3,410 from A-2001 to A-2003 and 3,510 from A-2001 to A-2003")["id"])
    ]

    assert run("approve", ids[1]).code == 0
    rejected = run("reject", ids[0], "--reason", "paid already")

    assert rejected.code == 0
    assert "local rejected it: paid already" in rejected.out
    assert "Also: Transferred" not in rejected.out
    again = run("approve", ids[1])
    assert again.code == 0
    assert "Transferred $3,510.00" in again.out


def test_one_of_two_approvals_is_recorded_and_the_same_person_cannot_give_both() -> None:
    held = _hold("transfer 30,000 from A-2001 to A-2003")

    first = run("approve", held["id"])
    second = run("approve", held["id"])

    assert first.code == 0
    assert "1 of 2 approvals" in first.out
    assert second.code == 4
    assert "different people" in second.out
    assert run("reject", held["id"], "--reason", "enough").code == 0


def test_an_approved_request_that_cannot_be_done_any_more_is_5() -> None:
    first = _hold("transfer 4,000 from A-2004 to A-2003")
    second = _hold("transfer 4,000 from A-2004 to A-2003")

    done = run("approve", first["id"])
    failed = run("approve", second["id"])

    assert done.code == 0
    assert failed.code == 5
    assert "Not done: A-2004 has $1,000.00" in failed.out


def test_an_approved_request_whose_facts_changed_is_asked_again_and_5() -> None:
    held = _hold("transfer 1,500 from A-2001 to A-2010")
    assert _shown(held["id"])["payload"]["facts"]["is_new_payee"] is True
    assert run("approve", _hold("transfer 1,200 from A-2001 to A-2010")["id"]).code == 0

    ran = run("approve", held["id"])

    assert ran.code == 5
    assert "asked again" in ran.out
    assert "is new payee" in ran.out
    assert run("approve", held["id"]).code == 0


def test_while_frozen_an_approval_is_4_and_a_rejection_counts() -> None:
    held = _hold("transfer 3,600 from A-2001 to A-2003")

    assert run("freeze", "--reason", "drill").code == 0
    approved = run("approve", held["id"])
    rejected = run("reject", held["id"], "--reason", "drill")
    assert run("unfreeze").code == 0

    assert approved.code == 4
    assert "frozen by os:" in approved.out
    assert rejected.code == 0


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (["approve"], {"approved": False}),
        (["reject", "--reason", "no"], {"approved": True}),
        (["edit", "--set", "amount=2000"], {"approved": True}),
        (["approve"], {"approved": True, "edited_args": {"amount": "2001"}}),
    ],
    ids=["approve-after-reject", "reject-after-approve", "edit-after-approve", "approve-after-edit"],
)
def test_who_answers_second_is_told_so_and_gets_3(
    mine: list[str], theirs: dict[str, Any], own_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = _hold("transfer 3,700 from A-2001 to A-2003")
    stale = [Detail.model_validate(_shown(held["id"]))]
    interrupt = _interrupt(own_server, held["thread_id"])
    with get_sync_client(url=own_server.url, api_key=None) as client:
        client.runs.wait(held["thread_id"], "clearance", command={"resume": {interrupt: theirs}})
    read = Approvals.detail

    async def detail(self: Approvals, request_id: str) -> Detail:
        """Give what was seen before the other answer, the first time."""
        return stale.pop() if stale else await read(self, request_id)

    monkeypatch.setattr(Approvals, "detail", detail)

    ran = run(mine[0], held["id"], *mine[1:])

    assert ran.code == 3
    assert "decided before your answer came" in ran.out


def test_an_id_that_is_unknown_or_not_unique_decides_nothing() -> None:
    first, second = _hold("transfer 3,800 from A-2001 to A-2003"), _hold("transfer 3,900 from A-2001 to A-2003")

    assert run("approve", "f" * 24).code == 3
    assert run("approve", "").code == 2
    assert {first["id"], second["id"]} <= {held["id"] for held in _pending()}


def test_show_and_pending_tell_people_and_programs_the_same() -> None:
    held = _hold("transfer 4,100 from A-2001 to A-2003")

    shown: Ran = run("show", held["id"], "--json")
    table = run("pending").out

    assert shown.json["request"] == held
    assert {"thread_id", "id", "digest", "sentence", "risk", "approvals_given"} <= held.keys()
    assert {"id", "digest", "message", "risk_level", "shown_facts"} <= shown.json["payload"].keys()
    assert held["id"][:8] in table
    assert "$4,100.00" in table


def test_what_people_wrote_cannot_reach_the_terminal_as_control_characters() -> None:
    hostile = "\x1b]0;owned\x07\u202e\x9b31m"
    held = _hold(f"transfer 4,200 from A-2001 to A-2003 for {'[red]rent[/red]'} \u202egnp.exe")

    run("reject", held["id"], "--reason", hostile)
    receipt = run("show", held["id"]).out
    shown = receipt + run("chat", "--thread", held["thread_id"], hostile).out + run("pending").out
    card = run("show", _hold("transfer 4,300 from A-2001 to A-2003 for \u202egnp.exe [bold]x[/bold]")["id"]).out

    assert "local rejected it: ‹U+001B›]0;owned" in receipt
    for text in (shown, card):
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
    assert "‹U+202E›gnp.exe [bold]x[/bold]" in card


def test_the_three_scripts_hold_list_and_resume(own_server: Server) -> None:
    said = _script("chat", "transfer 4,400 from A-2001 to A-2003")
    (thread,) = [line.split()[1] for line in said.splitlines() if line.startswith("thread ")]
    listed = _script("pending").splitlines()
    at = next(at for at, line in enumerate(listed) if thread in line)
    interrupt = listed[at].split()[3]

    # Without authentication there is no door that refuses it: the gate asks again, and says why.
    refused = _script("resume", thread, interrupt, "edit", "amount=nothing")
    standing = _interrupt(own_server, thread)
    done = _script("resume", thread, standing, "edit", "amount=4000")

    assert "Transfer $4,400.00" in said
    assert "transfer_funds: Transfer $4,400.00" in listed[at + 1]
    assert "(risk: high)" in listed[at + 1]
    assert "The last answer was refused: " in refused
    assert standing != interrupt
    assert "Transferred $4,000.00 from A-2001 to A-2003" in done


@pytest.mark.parametrize(
    ("decision", "said"), [(["approve"], "Transferred $4,500.00"), (["reject", "not now"], "rejected it: not now")]
)
def test_the_resume_script_approves_and_rejects(decision: list[str], said: str, own_server: Server) -> None:
    held = _hold("transfer 4,500 from A-2001 to A-2003")

    assert said in _script("resume", held["thread_id"], _interrupt(own_server, held["thread_id"]), *decision)


def test_the_chat_script_streams_words_calls_and_progress() -> None:
    said = _script("chat", "analyze transactions")

    assert "calls analyze_transactions {}" in said
    assert "0 of 3" in said
    assert "Unusually large amounts:" in said


@pytest.mark.parametrize("name", ["chat", "pending", "resume"])
def test_the_scripts_are_short_and_have_help(name: str) -> None:
    assert len((ROOT / "clients" / f"{name}.py").read_text().splitlines()) < 60
    assert "--url" in _script(name, "--help")
