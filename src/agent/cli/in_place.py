"""Deciding from `clearance chat`, where the question stands."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from agent.cli.cards import card
from agent.cli.server import Held
from agent.cli.terminal import Failed, out, say, warn

if TYPE_CHECKING:
    from agent.cli.approvals import Approvals
    from agent.contract import Entry, Shown

#: A thread has few.
_MOST = 200


class Deciding:
    """Offers what is held in one thread to the person of CLEARANCE_TOKEN, as far as they may decide it."""

    def __init__(self, url: str, thread_id: str, listen: Callable[[str], str | None]) -> None:
        self._url = url
        self._thread_id = thread_id
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
        mine = asyncio.run(self._with(self._mine))
        for held in waiting:
            if held.request_id not in [one.request.id for one in mine]:
                self._show_to_others(held)
        for detail in mine:
            if (detail.request.id, detail.request.revision) in self.left:
                continue
            out.print(card(detail.payload, self._thread_id, datetime.now(UTC)))
            typed = self._decide(detail)
            if typed is None or typed:
                return typed
        return ""

    def _show_to_others(self, held: Held) -> None:
        if (held.request_id, held.payload["revision"]) in self.left:
            return
        self.left.add((held.request_id, held.payload["revision"]))
        out.print(card(held.payload, held.thread_id, datetime.now(UTC)))
        who = " and ".join(held.payload.get("approvers") or [])
        say(f"It does not wait for you: it needs {held.payload['approvals_needed']} × {who}, and nobody who asked for"
            " it or approved it already.", "dim")  # fmt: skip

    def _decide(self, detail: "Shown") -> str | None:
        """Ask until there is an answer; give what is no answer."""
        while True:
            typed = self._listen("a approve · r reject · Enter leave it · or go on talking › ")
            match typed.strip().casefold() if typed is not None else None:
                case None:
                    return None
                case "":
                    self.left.add((detail.request.id, detail.request.revision))
                    return ""
                case "a":
                    is_over = self._is_confirmed(detail) and self._send(detail.request, "approve")
                case "r":
                    reason = (self._listen("Why not? The agent and whoever asked read it › ") or "").strip()
                    is_over = bool(reason) and self._send(detail.request, "reject", reason=reason)
                    if not reason:
                        say("Nothing was recorded.", "yellow")
                case _:
                    return typed
            if is_over:
                return ""

    def _is_confirmed(self, detail: "Shown") -> bool:
        if detail.request.risk != "critical":
            return True
        from agent.cli.inbox.words import confirmation, sentence

        arguments = detail.payload["action_requests"][0]["args"]
        wanted = confirmation(
            sentence(detail.request), arguments, detail.payload.get("facts"), detail.request.id
        )  # fmt: skip
        typed = self._listen(f"To approve, type {wanted.wanted} › ") or ""
        if wanted.fits(typed):
            return True
        say(f"That is not {wanted.wanted}. Nothing was recorded.", "yellow")
        return False

    def _send(self, seen: "Entry", decision: str, **more: Any) -> bool:
        """Send a decision on what was shown; tell whether there is nothing more to answer."""
        from agent.cli.approvals import Refused

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

    async def _mine(self, client: "Approvals") -> "list[Shown]":
        """Read what waits for this person in the thread, in the order of its turn."""
        page = await client.page("mine", limit=_MOST, thread_id=self._thread_id)
        found = [await client.detail(one.id) for one in page.requests]
        return sorted(found, key=_place)

    async def _with(self, work: Callable[["Approvals"], Any]) -> Any:
        from agent.cli.approvals import approvals

        async with approvals(self._url) as client:
            return await work(client)


def _place(detail: "Shown") -> int:
    return [one["this"] for one in detail.payload["turn"]["requests"]].index(True)
