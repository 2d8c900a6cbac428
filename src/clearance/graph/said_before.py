"""What an agent inside another said to words that the graph around it hands to it once more.

That graph keeps the words of its messages, and not always what came of them: the agent may not have come to an end, or
the node around it passes nothing on. Read as they come, old words would be asked for and done again with the new.
"""

from collections.abc import Sequence

from langchain_core.messages import AnyMessage, HumanMessage

from clearance.gate.intake import Outset
from clearance.gate.records import Records
from clearance.graph.transcript import from_json, ids_of


async def with_answers(
    records: Records, thread_id: str, outset: Outset, *conversations: Sequence[AnyMessage]
) -> list[list[AnyMessage]]:
    """Put behind words of earlier runs what the agent at this place said to them, in each of the conversations.

    Only where a person's words follow: a program that says the same again, and nothing more, wants it again.
    """
    given = [list(one) for one in conversations]
    for turn, plans in await records.said_before(thread_id, outset.place, outset.run_id):
        words = {str(message["id"]) for message in turn.messages}
        answers = [from_json(plan.message) for plan in plans if plan.message is not None]
        for at, messages in enumerate(given):
            present = set(ids_of(messages))
            behind = max((number for number, one in enumerate(messages, 1) if one.id in words), default=0)
            if behind and any(isinstance(one, HumanMessage) for one in messages[behind:]):
                new = [one for one in answers if one.id not in present]
                given[at] = [*messages[:behind], *new, *messages[behind:]]
    return given
