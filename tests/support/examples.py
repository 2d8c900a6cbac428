"""An example as a builder runs it: its folder, an environment with the library's wheel, the real `langgraph dev`."""

import asyncio
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from langgraph_sdk.client import LangGraphClient

from clearance.server.inbox.session import COOKIE
from tests.support.environment import ROOT, Environment, copy_files, requirements_of
from tests.support.server import Server

EXAMPLES = ROOT / "examples"
#: What the server itself needs, and what installs a folder without fetching a builder.
PLATFORM = ("langgraph-cli[inmem]", "setuptools")
_OFF = {
    "LANGGRAPH_CLI_NO_ANALYTICS": "1",
    "LANGGRAPH_NO_VERSION_CHECK": "true",
    "LANGSMITH_TRACING": "false",
    "PYTHONUNBUFFERED": "1",
}


@dataclass
class Example(Server):
    """A server of an example's own, in an environment of its own."""

    environment_: Environment | None = None
    config: str = "langgraph.json"
    #: By name: made by the example's own `clearance token`.
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def inside(self) -> Environment:
        """The environment."""
        assert self.environment_ is not None
        return self.environment_

    @property
    def graph(self) -> str:
        """The one graph of its `langgraph.json`."""
        (name,) = json.loads((self.folder / self.config).read_text())["graphs"]
        return str(name)

    def environment(self) -> dict[str, str]:
        """Give what it runs with: nothing but what the example says."""
        return self.inside.env(**_OFF, **self.env)

    def command(self, config: Path) -> list[str]:
        """Give the command line that starts it, in the example's environment."""
        _, *rest = super().command(config)
        return [str(self.inside.folder / "bin" / "langgraph"), *rest]

    def _configuration(self) -> Path:
        return self.folder / self.config

    def run(self, *command: str) -> str:
        """Run a command in its folder, as the README says."""
        return self.inside.run(*command, cwd=self.folder, **self.env)

    def bearer(self, name: str, *roles: str) -> dict[str, str]:
        """Give the header that signs somebody in, by a token of `clearance token`."""
        if name not in self.tokens:
            named = [part for role in roles for part in ("--role", role)]
            self.tokens[name] = self.run("clearance", "token", name, *named).strip()
        return {"Authorization": f"Bearer {self.tokens[name]}"}

    async def ask(self, client: LangGraphClient, sentence: str) -> tuple[str, dict[str, Any]]:
        """Say something that is held, in a new thread; give the thread and the question."""
        thread_id = (await client.threads.create())["thread_id"]
        words: Any = {"messages": [{"role": "user", "content": sentence}]}
        said: Any = await client.runs.wait(thread_id, self.graph, input=words)
        (interrupt,) = said["__interrupt__"]
        return thread_id, interrupt["value"]

    async def last_words(self, client: LangGraphClient, thread_id: str, holding: str) -> str:
        """Wait until the newest message of a thread holds a text."""
        said = ""
        for _ in range(600):
            state: Any = await client.threads.get_state(thread_id)
            said = str(state["values"]["messages"][-1]["content"])
            if holding in said:
                break
            await asyncio.sleep(0.1)
        return said

    def decide(self, request: dict[str, Any], by: dict[str, str], word: str = "approve", **more: Any) -> httpx.Response:
        """Decide on a request by the approvals API, as it was listed."""
        body = {"decision": word, "digest": request["digest"], "revision": request["revision"], **more}
        address = f"{self.url}/approvals/requests/{request['id']}/decision"
        return httpx.post(address, json=body, headers=by, timeout=30)

    def requests(self, by: dict[str, str], **query: str) -> list[dict[str, Any]]:
        """List requests by the approvals API."""
        answer = httpx.get(f"{self.url}/approvals/requests", params=query, headers=by, timeout=30)
        return list(answer.json()["requests"])

    def read(self, path: str, by: dict[str, str]) -> str:
        """Read what stands at an address, as somebody: of the API, or a file of the pages."""
        answer = httpx.get(f"{self.url}{path}", headers=by, timeout=30)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        return answer.text

    def visit(self, path: str, by: dict[str, str]) -> str:
        """Open a page of the inbox as somebody."""
        cookies = {COOKIE: by["Authorization"].removeprefix("Bearer ")}
        answer = httpx.get(f"{self.url}{path}", cookies=cookies, timeout=30)
        assert answer.status_code == 200, f"{path}: {answer.status_code}"
        return answer.text


def install(name: str, folder: Path, wheel: Path) -> Example:
    """Install an example with the library's wheel, and with nothing that neither of them names."""
    source = EXAMPLES / name
    copied = copy_files(source, folder / source.name)
    named = tomllib.loads((source / "pyproject.toml").read_text())["project"]["dependencies"]
    needs = [one for one in named if one != "clearance"]
    made = Environment(folder / "venv", [*requirements_of(wheel), *PLATFORM, *needs])
    made.install(str(wheel), "--editable", str(copied))
    return Example(copied, "", environment_=made)
