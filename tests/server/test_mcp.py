"""Tools of an MCP server on the real `langgraph dev`: asked, called once, and not called once they changed."""

import json
from pathlib import Path

import httpx

from tests.server.test_external import approve
from tests.support.conversation import connected, converse
from tests.support.ticket_desk import TicketDesk
from tests.support.tickets import CONNECTION, Tickets
from tests.support.waiting import until


async def test_tools_of_an_mcp_server_are_asked_called_once_and_wait_once_they_changed(
    tmp_path: Path,
) -> None:
    tickets = Tickets(tmp_path / "tickets")
    # On the server's own loop the attacks' row 49 runs.
    env = {CONNECTION: json.dumps(tickets.on_stdio()), "BG_JOB_ISOLATED_LOOPS": "true"}
    server = TicketDesk(tmp_path, f"sqlite:///{tmp_path / 'clearance.db'}", env=env)
    server.start()
    try:
        async with connected(server.url) as client:
            talk = await converse(client)
            await talk.say("list tickets")
            looked = str(await talk.messages())
            await talk.say("create ticket: title Printer")
            question = await talk.question()
            assert question is not None
            answer = await approve(server, question)
            await until(lambda: tickets.books)
            await talk.say("close ticket: number 7")
            changed = await talk.question()
            assert changed is not None
            tickets.lists("twice")  # another tool is new: this one is as it was
            await talk.answer(True)
            await talk.say("create ticket: title Second")
            tickets.lists("changed")
            await talk.answer(True)
            told = str(await talk.messages())
            async with httpx.AsyncClient(base_url=server.url) as http:
                listed = (await http.get("/approvals/tools")).json()
    finally:
        server.stop()

    assert "No tickets." in looked
    assert (question["action"], question["title"]) == ("create_ticket", "Printer")
    assert answer.status_code == 200
    assert [name for name, _ in tickets.books] == ["create_ticket", "close_ticket"]
    assert "waits until an operator has looked" in told
    assert {(one["tool"], one["state"]) for one in listed} >= {
        ("create_ticket", "accepted"),
        ("create_ticket", "waiting"),
    }
