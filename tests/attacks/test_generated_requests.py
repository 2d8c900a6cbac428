"""Requests made up from the server's own description, with a valid token: no error of ours, and no effect.

schemathesis, which would do this, fits no set of versions that the platform and hypothesis here allow.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest

from agent.bank.ledger import check_ledger
from clearance.journal import verification as log
from tests.attacks.targets import Case, Target
from tests.support.conversation import GRAPH
from tests.support.tokens import bearer
from tests.support.world import AUDIT_KEY, Person

_BUDGET_S = 45
_EXAMPLES = 8

#: Errors 500 of the platform itself (langgraph-api 0.16.7), each with what causes it. Nothing else may answer so.
UPSTREAM = {
    "POST /threads/search": "a filter on values, where a thread has none yet: TypeError in ops.is_jsonb_contained",
    "POST /threads/count": "the same",
    "POST /threads/{thread_id}/history": "`before` without a checkpoint id: KeyError 'configurable'",
    "POST /store/items/search": "no namespace_prefix: KeyError, before our handler is asked",
    "POST /runs/crons": "a time zone with a name longer than a file may have: OSError, before our handler is asked",
    "POST /threads/{thread_id}/runs/crons": "the same",
}


@pytest.fixture
def target(make_target: Any) -> Iterator[Target]:
    made: Target = make_target("ours")
    made.server.start()
    yield made
    made.server.stop()


class Maker:
    """Makes values that fit the schemas of an OpenAPI document, and some that nearly do; the same each time."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._random = random.Random(20261122)

    def value(self, schema: Any, depth: int = 0) -> Any:
        """Make a value; now and then one of another kind, or at the edge of what can be."""
        pick = self._random
        while "$ref" in schema:
            found: Any = self._document
            for part in schema["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            schema = found
        if pick.random() < 0.08:
            return pick.choice(_ODD)
        for name in ("anyOf", "oneOf"):
            if name in schema:
                return self.value(pick.choice(schema[name]), depth)
        if "allOf" in schema:
            parts = [self.value(part, depth) for part in schema["allOf"]]
            return {name: value for part in parts if isinstance(part, dict) for name, value in part.items()}
        if "enum" in schema:
            return pick.choice(schema["enum"])
        match schema.get("type"):
            case "object":
                return self._object(schema, depth)
            case "array":
                many = 0 if depth > 4 else pick.randrange(3)
                return [self.value(schema.get("items", {}), depth + 1) for _ in range(many)]
            case "integer":
                return pick.choice([0, 1, 10, -1, 2**31, 2**63, schema.get("maximum", 5)])
            case "number":
                return pick.choice([0, 0.5, -1e300, 1e300])
            case "boolean":
                return pick.random() < 0.5
            case "string" if schema.get("format") == "uuid":
                return str(UUID(int=pick.getrandbits(128), version=4))
            case "string":
                return pick.choice(["", "x", "values", "é\u202e", "a" * 3_000, "2026-01-01T00:00:00Z", "__end__"])
            case _:
                return pick.choice([None, True, "x", {}, []])

    def _object(self, schema: Any, depth: int) -> dict[str, Any]:
        pick, required = self._random, schema.get("required", [])
        if not schema.get("properties"):
            return pick.choice([{}, {"x": 1}, {"messages": []}, {"messages": "hello"}])
        return {
            name: self.value(inner, depth + 1)
            for name, inner in schema["properties"].items()
            if name in required or pick.random() < (0.35 if depth < 3 else 0)
        }


_ODD: list[Any] = [None, True, 0, -1, "", "x", [], {}, [None], {"": None}, "\x00", 10**30, "9" * 400, {"__pregel_x": 1}]


@dataclass
class Met:
    """How made-up requests were met."""

    statuses: Counter[int] = field(default_factory=Counter)
    routes: set[str] = field(default_factory=set)
    #: Route, and the request that it answered with an error.
    errors: dict[str, str] = field(default_factory=dict)

    def send(self, http: httpx.Client, name: str, made: dict[str, Any], headers: dict[str, str]) -> None:
        """Send one request and note what comes; a stream is not read."""
        method, path = name.split(" ", 1)
        for parameter, value in made["path"].items():
            path = path.replace(f"{{{parameter}}}", quote(str(value), safe=""))
        query = {
            parameter: value if isinstance(value, str) else json.dumps(value)
            for parameter, value in made["query"].items()
        }
        try:
            with http.stream(method, path, params=query, json=made["body"], headers=headers) as answer:
                self.statuses[answer.status_code] += 1
                self.routes.add(name)
                if answer.status_code >= 500 and answer.status_code != 501:
                    text = answer.read().decode()[:200]
                    what = f"{path} {query} {json.dumps(made['body'])[:400]}"
                    self.errors.setdefault(name, f"{answer.status_code} {what} -> {text}")
        except httpx.TimeoutException:
            self.statuses[0] += 1
        except httpx.TransportError as exc:
            self.errors.setdefault(name, f"{exc!r} {path} {query} {json.dumps(made['body'])[:400]}")


def sweep(url: str, document: dict[str, Any], threads: list[str], people: list[dict[str, str]]) -> Met:
    """Send made-up requests to every documented route, as these people and on these threads in turn."""
    met, maker = Met(), Maker(document)
    until = time.monotonic() + _BUDGET_S
    with httpx.Client(base_url=url, timeout=3, limits=httpx.Limits(max_keepalive_connections=0)) as http:
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                for number in range(_EXAMPLES):
                    if time.monotonic() > until:
                        return met
                    met.send(http, f"{method.upper()} {path}", _request(maker, operation, threads[number % 2]),
                             people[number // 2 % 2])  # fmt: skip
    return met


def _request(maker: Maker, operation: dict[str, Any], thread_id: str) -> dict[str, Any]:
    places: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}, "cookie": {}}
    for parameter in operation.get("parameters", []):
        if parameter.get("required") or maker.value({"type": "boolean"}):
            places[parameter["in"]][parameter["name"]] = maker.value(parameter.get("schema", {}))
    if "thread_id" in places["path"]:
        places["path"]["thread_id"] = thread_id
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    body = maker.value(content.get("schema", {})) if content else None
    for one in body if isinstance(body, list) else [body]:
        if isinstance(one, dict) and "assistant_id" in one:
            one["assistant_id"] = GRAPH
    return {**places, "body": body}


async def test_made_up_requests_cause_no_error_and_no_effect(case: Case, record_property: Any) -> None:
    held = await case.hold()
    threads = [held.thread_id, await case.mallory.thread()]
    document = (await case.mallory.get("/openapi.json")).body
    people = [bearer(Person(case.mallory.name)), bearer(Person(case.ben.name, ("approver",)))]

    met = await asyncio.to_thread(sweep, case.target.url, document, threads, people)

    whole: log.Verification = case.target.read(lambda c: log.verify(c, AUDIT_KEY))
    told = dict(sorted(met.statuses.items()))
    record_property("measured", f"made-up requests: {met.statuses.total()} on {len(met.routes)} routes, {told}")
    assert (await case.mallory.get("/ok")).status == 200
    assert case.effects() == []
    assert whole.is_whole
    assert case.target.read(check_ledger) == []
    unknown = sorted(f"{name}: {met.errors[name]}" for name in met.errors.keys() - UPSTREAM.keys())
    assert not unknown, "\n".join(unknown)
    assert len(met.routes) > 40
