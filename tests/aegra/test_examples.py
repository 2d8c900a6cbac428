"""An example on Aegra, as it stands: asked, and decided by the API. Its tables are in the PostgreSQL database."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.server.test_nested import call, is_over
from tests.support.aegra import Aegra
from tests.support.conversation import Conversation, connected
from tests.support.environment import copy_files
from tests.support.examples import EXAMPLES
from tests.support.server import ROOT
from tests.support.tokens import bearer
from tests.support.waiting import until
from tests.support.world import OLGA, Person

LEA = Person("lea", ("lead",))


@dataclass
class ExampleAegra(Aegra):
    """Aegra with an example's own files in its folder."""

    def environment(self) -> dict[str, str]:
        """Give what the server runs with: the example's modules before the sample's of the same name."""
        given = super().environment()
        return {**given, "PYTHONPATH": str(self.folder / "src"), "POLICY_FILE": "policy.toml"}

    def run(self, command: str, *rest: str) -> None:
        """Run a command in its folder, as its README says."""
        inside = ROOT / ".venv-aegra" / "bin" / command
        subprocess.run([inside, *rest], cwd=self.folder, env=self.environment(), check=True, capture_output=True)

    def _configuration(self) -> Path:
        return self.folder / self.config


@pytest.fixture
def desk(make_aegra: Callable[..., Aegra]) -> ExampleAegra:
    """The support desk, which keeps its tables beside the journal."""
    made: Any = make_aegra(ExampleAegra)
    for path in copy_files(EXAMPLES / "support_desk", made.folder / "copied").iterdir():
        path.rename(made.folder / path.name)
    made.run("clearance", "example-orders")
    started: ExampleAegra = made.start()
    return started


async def test_the_support_desk_is_asked_and_an_approval_has_its_effect(desk: ExampleAegra) -> None:
    async with connected(desk.url, **bearer(OLGA)) as client:
        talk = Conversation(client, (await client.threads.create())["thread_id"])
        words: Any = {"messages": [{"role": "user", "content": "refund order: order_id O-1001, amount 4900"}]}
        await client.runs.wait(talk.thread_id, "support", input=words)
        listed = await call(desk, LEA, "GET", "/approvals/requests", params={"thread_id": talk.thread_id})
        (request,) = listed.json()["requests"]

        body = {"decision": "approve", "digest": request["digest"], "revision": request["revision"]}
        met = await call(desk, LEA, "POST", f"/approvals/requests/{request['id']}/decision", json=body)

        assert met.status_code == 200, met.text
        await until(lambda: is_over(talk))
        assert "went back" in str((await talk.messages())[-1]["content"])
        seen = (await call(desk, OLGA, "GET", f"/approvals/requests/{request['id']}")).json()
        assert seen["receipt"]["outcome"] == "executed"
