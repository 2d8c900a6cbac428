"""The approvals API of --url, for every command that lists or decides. Foreign errors become one sentence here."""

import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from clearance.cli.terminal import Code, Failed, line
from clearance.contract import (
    Checked,
    Counts,
    Detail,
    Entry,
    Event,
    Me,
    Page,
    Standing,
    Statistics,
    Switch,
    Tab,
    Verification,
)
from clearance.text import rendering

#: Decisions wait on the server for their effect, up to 20 s.
_TIMEOUT_S = 60
#: Servers close a connection that was silent for 5 s, as httpx does: who asks at that moment gets no answer.
_LIMITS = httpx.Limits(keepalive_expiry=2)
#: The stream gives a sign of life every 15 s.
_SILENCE_S = 40


class Refused(Failed):
    """The server read it and said no; nothing was recorded but the refusal."""

    def __init__(self, status: int, sentence: str) -> None:
        self.status = status
        super().__init__(sentence, _CODES.get(status, Code.ERROR))


#: What is not here is an error.
_CODES = {403: Code.ANSWER_REFUSED, 404: Code.NOT_OPEN, 409: Code.ANSWER_REFUSED, 422: Code.ANSWER_REFUSED}


class Unreachable(Failed):
    """The server did not answer, or broke: whether it did what it was asked is not known."""


Answer = TypeVar("Answer")


class Approvals:
    """A client of the approvals API. Every call raises `Refused` or `Unreachable` with one sentence."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._ahead = timedelta()

    def now(self) -> datetime:
        """Give the server's time, as its last answer told it: deadlines are by its clock."""
        return datetime.now(UTC) + self._ahead

    async def page(self, tab: Tab, *, after: str | None = None, limit: int = 50, **narrowed: str) -> Page:
        """List requests, narrowed by `action`, `risk`, `requested_by`, `thread_id`."""
        wanted = {"tab": tab, "limit": str(limit), **narrowed, **({"after": after} if after else {})}
        return await self._call("GET", "requests", Page, params=wanted)

    async def counts(self) -> Counts:
        """Count each list."""
        return await self._call("GET", "counts", Counts)

    async def me(self) -> Me:
        """Tell whose token this is."""
        return await self._call("GET", "me", Me)

    async def beginning(self, prefix: str) -> list[Entry]:
        """List requests, open or not, whose id begins with these hexadecimal digits; ten at most."""
        return await self._call("GET", "lookup", list[Entry], params={"begins": prefix})

    async def detail(self, request_id: str) -> Detail:
        """Read one request."""
        return await self._call("GET", f"requests/{request_id}", Detail)

    async def decide(self, seen: Entry, decision: str, **more: Any) -> Standing:
        """Decide on a request as it was seen; waits for the effect."""
        body = {"decision": decision, "digest": seen.digest, "revision": seen.revision, **more}
        return await self._call("POST", f"requests/{seen.id}/decision", Standing, json=body)

    async def check(self, seen: Entry, arguments: dict[str, Any]) -> Checked:
        """Tell what an edit would come to; nothing is recorded."""
        body = {"arguments": arguments, "digest": seen.digest, "revision": seen.revision}
        return await self._call("POST", f"requests/{seen.id}/check", Checked, json=body)

    async def settle(self, request_id: str, *, happened: bool, reason: str) -> Standing:
        """Say what became of a request of which nobody knows."""
        body = {"happened": happened, "reason": reason}
        return await self._call("POST", f"requests/{request_id}/settlement", Standing, json=body)

    async def close(self, request_id: str) -> Standing:
        """Close a request whose thread is gone."""
        return await self._call("POST", f"requests/{request_id}/close", Standing)

    async def switch(self) -> Switch:
        """Tell whether effects may run."""
        return await self._call("GET", "freeze", Switch)

    async def freeze(self, reason: str) -> Switch:
        """Stop every effect."""
        return await self._call("POST", "freeze", Switch, json={"reason": reason})

    async def unfreeze(self) -> Switch:
        """Let effects run again."""
        return await self._call("DELETE", "freeze", Switch)

    async def events(self, *, before: int | None = None, limit: int = 50) -> list[Event]:
        """List the audit log, newest first."""
        wanted = {"limit": str(limit), **({"before": str(before)} if before else {})}
        return await self._call("GET", "audit", list[Event], params=wanted)

    async def verify(self) -> Verification:
        """Check every row of the audit log."""
        return await self._call("GET", "audit/verification", Verification)

    async def statistics(self, days: int) -> Statistics:
        """Tell how awake reviewers were in the last days."""
        return await self._call("GET", "statistics", Statistics, params={"days": str(days)})

    async def changes(self, after: int | None) -> AsyncIterator[Event | None]:
        """Yield None when the stream is open, then each change as it happens, those after `after` first.

        Raises:
            Unreachable: the stream ended; go on after the last one that arrived.
        """
        wanted = {} if after is None else {"after": str(after)}
        timeout = httpx.Timeout(_TIMEOUT_S, read=_SILENCE_S)
        with _in_words(self._url):
            async with self._http.stream("GET", "/approvals/stream", params=wanted, timeout=timeout) as response:
                if response.status_code != 200:
                    await response.aread()
                    raise _refused(response)
                yield None
                async for data in _data_lines(response):
                    yield Event.model_validate_json(data)
        raise Unreachable(f"The server at {self._url} ended the stream.")

    @property
    def _url(self) -> str:
        return str(self._http.base_url).rstrip("/")

    async def _call(self, method: str, path: str, answer: type[Answer], **what: Any) -> Answer:
        with _in_words(self._url):
            response = await self._http.request(method, f"/approvals/{path}", **what)
            if response.status_code != 200:
                raise _refused(response)
            with suppress(KeyError, ValueError):
                ahead = parsedate_to_datetime(response.headers["date"]) - datetime.now(UTC)
                # The header has whole seconds: what is less than two tells of no other clock.
                self._ahead = ahead if abs(ahead) > timedelta(seconds=2) else timedelta()
            return TypeAdapter(answer).validate_json(response.content)


@asynccontextmanager
async def approvals(url: str) -> AsyncIterator[Approvals]:
    """Connect as the person of CLEARANCE_TOKEN.

    Raises:
        Failed: there can be no such token or address.
    """
    token = os.environ.get("CLEARANCE_TOKEN", "")
    if not (token.isascii() and token.isprintable()):
        raise Failed("CLEARANCE_TOKEN holds characters that no token has.")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with _in_words(url):
        http = httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_S, limits=_LIMITS)
    async with http:
        yield Approvals(http)


@contextmanager
def _in_words(url: str) -> Iterator[None]:
    """Turn what goes wrong with a connection into one sentence."""
    try:
        yield
    except httpx.TimeoutException as exc:
        raise Unreachable(f"The server at {url} does not answer in time.") from exc
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise Unreachable(f"The server at {url} does not answer: {line(str(exc))}") from exc
    except ValidationError as exc:
        raise Unreachable(f"What is at {url} does not answer as the approvals API does.") from exc


async def _data_lines(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the data of each event. Lines end at \\n only: JSON may hold characters that other readers break at."""
    rest = b""
    async for chunk in response.aiter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        for one in lines:
            if one.startswith(b"data:"):
                yield one.removeprefix(b"data:")


def _refused(response: httpx.Response) -> Failed:
    try:
        detail = json.loads(response.content)["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.reason_phrase
    if isinstance(detail, list):  # FastAPI's own: which field, and what is wrong with it
        detail = "; ".join(f"{'.'.join(str(part) for part in one['loc'][1:])}: {one['msg']}" for one in detail)
    said = rendering.line(str(detail), rendering.WORDS)
    if response.status_code == 401:
        return Refused(401, f"You are not signed in: {said} Put a token in CLEARANCE_TOKEN.")
    if response.status_code >= 500:
        return Unreachable(f"The server answered {response.status_code}: {said}")
    return Refused(response.status_code, said)
