"""Deciding from `clearance chat`, where the question stands."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from clearance.cli.cards import card
from clearance.cli.server import Held
from clearance.cli.terminal import Failed, out, say, warn

if TYPE_CHECKING:
    from clearance.cli.approvals import Approvals
    from clearance.contract import Detail, Entry


class Deciding:
    """Offers what is held in one thread to the person of CLEARANCE_TOKEN, as far as they may decide it."""

    def __init__(self, url: str, listen: Callable[[str], str | None]) -> None:
        self._url = url
        self._listen = listen
        #: Requests that are decided and that the thread has to go on from.
        self.decided: set[str] = set()
        #: Requests that the person left, as (id, revision): they are not offered again by themselves.
        self.left: set[tuple[str, int]] = set()

    def offer(self, waiting: Sequence[Held]) -> str | None:
        """Show what is held and ask for a decision where this person may; give what else they say to the agent.

        That is "" when they say nothing, None when they leave.
        """
        if not waiting:
            return ""
        undecided, now = asyncio.run(self._with(lambda client: _of_their_turns(client, waiting)))
        for shown in undecided:
            if (shown.request.id, shown.request.revision) in self.left:
                continue
            out.print(card(shown.payload, shown.request.thread_id, now, shown=shown))
            _say_why_not(shown)
            if not (shown.answers.may_approve or shown.answers.may_reject):
                self.left.add((shown.request.id, shown.request.revision))
                continue
            typed = self._decide(shown)
            if typed is None or typed:
                return typed
        return ""

    def _decide(self, shown: "Detail") -> str | None:
        """Ask until there is an answer; give what is no answer."""
        while True:
            typed = self._listen(_prompt(shown))
            match typed.strip().casefold() if typed is not None else None:
                case None:
                    return None
                case "":
                    self.left.add((shown.request.id, shown.request.revision))
                    return ""
                case "a":
                    is_over = self._approve(shown)
                case "r":
                    is_over = self._reject(shown)
                case _:
                    return typed
            if is_over:
                return ""

    def _approve(self, shown: "Detail") -> bool:
        """Approve it once it is confirmed; tell whether there is nothing more to answer."""
        if not shown.answers.may_approve:
            _say_why_not(shown)
            return False
        if shown.request.risk == "critical" and not self._is_confirmed(shown):
            return False
        return self._send(shown.request, "approve")

    def _reject(self, shown: "Detail") -> bool:
        """Reject it for a reason; tell whether there is nothing more to answer."""
        reason = (self._listen("Why not? The agent and whoever asked read it › ") or "").strip()
        if not reason:
            say("Nothing was recorded.", "yellow")
            return False
        return self._send(shown.request, "reject", reason=reason)

    def _is_confirmed(self, shown: "Detail") -> bool:
        from clearance.cli.inbox.words import to_confirm, unconfirmed

        typed = (self._listen(f"Type {to_confirm(shown.review)} › ") or "").strip()
        wrong = unconfirmed(typed, shown.review)
        if wrong:
            say(wrong, "yellow")
        return not wrong

    def _send(self, seen: "Entry", decision: str, **more: Any) -> bool:
        """Send a decision on what was shown; tell whether there is nothing more to answer."""
        from clearance.cli.approvals import Refused

        try:
            standing = asyncio.run(self._with(lambda client: client.decide(seen, decision, **more)))
        except Refused as exc:
            warn(str(exc))
            # What is shown is what it was: only a refusal that leaves it so can be answered again.
            return exc.status == 409
        except Failed as exc:
            warn(str(exc))
            return False
        is_done = standing.receipt is not None and standing.receipt.outcome in ("executed", "rejected")
        say(standing.sentence, "bold green" if is_done else "bold yellow")
        if standing.request.state == "asked":
            self.left.add((standing.request.id, standing.request.revision))
        else:
            self.decided.add(standing.request.id)
        return True

    async def _with(self, work: Callable[["Approvals"], Any]) -> Any:
        from clearance.cli.approvals import approvals

        async with approvals(self._url) as client:
            return await work(client)


async def _of_their_turns(client: "Approvals", waiting: Sequence[Held]) -> "tuple[list[Detail], datetime]":
    """Read all that is undecided in the turns that wait, in order, and the server's time.

    One of each turn stands in the thread at a time.
    """
    ids = [one["id"] for held in waiting for one in held.payload["turn"]["requests"]]
    found = [await client.detail(one) for one in ids]
    return [shown for shown in found if shown.request.state == "asked"], client.now()


def _say_why_not(shown: "Detail") -> None:
    for said in (shown.answers.why_not, shown.answers.hint):
        if said:
            say(said, "dim")


def _prompt(shown: "Detail") -> str:
    answers = shown.answers
    offered = [f"a {answers.button}"] if answers.may_approve else []
    offered += ["r reject"] if answers.may_reject else []
    return " · ".join([*offered, "Enter leave it", "or go on talking › "])
