"""Whether the outermost graph still goes on with the node inside which a nested agent runs."""

from datetime import UTC, datetime
from typing import Any

import pytest

from clearance.journal.turns import Turn
from clearance.server.upkeep.left_turns import _leads_to


def turn_at(place: str) -> Turn:
    return Turn(
        turn_id="turn", thread_id="thread", number=1, run_id="run", requested_by="olga", requester_kind="person",
        requester_roles=[], message_id="message", messages=[], is_durable=True, state="open",
        opened_at=datetime.now(UTC), closed_at=None, place=place,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("place", "node"),
    [
        ("pay", "pay"),
        ("pay|tools#0", "pay"),
        ("tools#3|inner", "tools"),
        ("pay:1f0c-9", "pay"),
        ("pay|1", "pay"),
        # A name that looks like the place of one task among several: it was withdrawn within five seconds.
        ("team#2", "team#2"),
        ("team#2#0", "team#2"),
    ],
)
def test_a_place_is_in_the_node_whose_name_it_begins_with(place: str, node: str) -> None:
    state: dict[str, Any] = {"next": [node, "other"]}

    assert _leads_to(turn_at(place), state)
    assert not _leads_to(turn_at(place), {"next": ["other"]})
