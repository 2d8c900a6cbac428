"""`clearance watch`: a line for each change, for a second terminal."""

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from clearance.cli.cards import SHORT
from clearance.cli.terminal import Failed, err, line, out, plain

if TYPE_CHECKING:
    from clearance.cli.approvals import Approvals
    from clearance.contract import Event

#: Seconds until a broken stream is tried again.
_AGAIN_S = 2


def watch(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print each change as a line of JSON.")] = False,
) -> None:
    """Print a line for each change from now on: when, what, who, and what the request is about. Ctrl-C ends it.

    After a break it goes on with the change after the last one that was printed.
    It takes a token with a role of the policy.
    """
    try:
        asyncio.run(_watch(str(context.obj), as_json=as_json))
    except KeyboardInterrupt:
        raise typer.Exit from None


async def _watch(url: str, *, as_json: bool) -> None:
    from clearance.cli.approvals import Unreachable, approvals

    async with approvals(url) as client:
        newest = await client.events(limit=1)
        last = newest[0].seq if newest else 0
        printed = _Lines(client)
        _tell(f"Watching {url} after change {last}. Ctrl-C ends it.")
        is_broken = False
        while True:
            try:
                async for change in client.changes(last):
                    if change is None:
                        if is_broken:
                            _tell(f"Back. Going on after change {last}.")
                        is_broken = False
                        continue
                    if as_json:
                        typer.echo(json.dumps(change.model_dump()))
                    else:
                        await printed.change(change)
                    last = change.seq
            except Unreachable as exc:
                if not is_broken:
                    _tell(f"{exc} Trying again every {_AGAIN_S} s.")
                is_broken = True
                await asyncio.sleep(_AGAIN_S)


#: Events around what happens to requests, for auditors: as JSON they are told, too.
_AROUND = frozenset(["turn_opened", "model_said", "question_put", "turn_ended"])


class _Lines:
    """Prints changes for people."""

    def __init__(self, client: "Approvals") -> None:
        self._client = client
        #: By request; None where it cannot be read.
        self._sentences: dict[str, str | None] = {}

    async def change(self, change: "Event") -> None:
        """Print one change, if it is one of a request or of the switch."""
        if change.event in _AROUND:
            return
        text = Text(f"{line(change.at[11:19])}  ")
        text.append(f"{line(change.event):<14}", "bold").append(f"  {line(change.actor):<12}")
        if change.request_id is not None:
            text.append(f"  {line(change.request_id[:SHORT])}  ", "dim").append(await self._sentence(change) or "")
        elif reason := change.details.get("reason"):
            text.append(f"  {line(str(reason))}")
        out.print(text, soft_wrap=True)

    async def _sentence(self, change: "Event") -> str | None:
        request_id = str(change.request_id)
        if request_id not in self._sentences or change.event == "edited":
            try:
                found = (await self._client.detail(request_id)).request.sentence
            except Failed:
                return None  # the change itself is told all the same
            self._sentences[request_id] = None if found is None else plain(found)
        return self._sentences[request_id]


def _tell(said: str) -> None:
    """Print what is no change to stderr, so that stdout holds changes only."""
    err.print(Text(plain(said), "dim"), soft_wrap=True)
