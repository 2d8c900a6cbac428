"""The client in JavaScript, and packages that people build pages with, as npm and PyPI bring them.

Those of npm run where Node is; they are installed once for a project.
"""

import json
import shutil
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph.types import Command
from langgraph_sdk import get_client

from tests.attacks.targets import Attacker, Case
from tests.support.npm import installed, program
from tests.support.server import ROOT
from tests.support.tokens import token
from tests.support.world import Person

CLIENTS, PACKAGES = ROOT / "clients", ROOT / "tests" / "packages"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the client and its SDK."""
    here = tmp_path_factory.mktemp("javascript")
    (here / "node_modules").symlink_to(installed(CLIENTS, "javascript", tmp_path_factory))
    shutil.copy(CLIENTS / "inbox.mjs", here)
    return here


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a script for each package that people build pages with, and what it imports."""
    here = tmp_path_factory.mktemp("packages")
    (here / "node_modules").symlink_to(installed(PACKAGES, "packages", tmp_path_factory))
    for script in PACKAGES.glob("*.mjs"):
        shutil.copy(script, here)
    return here


def node(folder: Path, case: Case, person: Person | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the client as somebody."""
    environment = {"PATH": "/usr/bin:/bin", "LANGGRAPH_URL": case.target.url}
    if person:
        environment["CLEARANCE_TOKEN"] = token(person)
    command = [program(), "inbox.mjs", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def hold(folder: Path, case: Case) -> tuple[str, str]:
    """Say something that is held, and give thread and interrupt as they are printed."""
    source, target = case.account(), case.account(0)
    said = node(folder, case, case.olga.person, "say", f"transfer 5,000 from {source} to {target}")
    assert said.returncode == 0, said.stderr
    assert "transfer_funds: Transfer $5,000.00" in said.stdout
    _, thread_id, _, interrupt_id = said.stdout.splitlines()[0].split()
    return thread_id, interrupt_id


def test_what_is_held_is_listed_and_a_wrong_answer_is_refused_with_its_reason(folder: Path, case: Case) -> None:
    ana = case.ana.person
    thread_id, interrupt_id = hold(folder, case)

    listed = node(folder, case, ana, "pending")
    refused = node(folder, case, ana, "resume", thread_id, interrupt_id, "edit", "amount=nothing")
    done = node(folder, case, ana, "resume", thread_id, interrupt_id, "edit", "amount=4000")

    assert f"thread {thread_id}  interrupt {interrupt_id}" in listed.stdout
    assert refused.returncode == 1
    assert "refused: " in refused.stderr
    assert "Not recorded" in refused.stderr
    assert "Transferred $4,000.00" in done.stdout
    assert [effect.amount_minor for effect in case.effects()] == [400_000]


@pytest.mark.parametrize(
    ("decision", "told", "paid"),
    [(["approve"], "Transferred $5,000.00", 1), (["reject", "not now"], "rejected it: not now", 0)],
)
def test_it_approves_and_rejects(folder: Path, case: Case, decision: list[str], told: str, paid: int) -> None:
    thread_id, interrupt_id = hold(folder, case)

    ran = node(folder, case, case.ana.person, "resume", thread_id, interrupt_id, *decision)

    assert told in ran.stdout
    assert len(case.effects()) == paid


def test_who_may_not_decide_and_who_is_not_signed_in_are_told_so(folder: Path, case: Case) -> None:
    thread_id, interrupt_id = hold(folder, case)

    asking = node(folder, case, case.olga.person, "resume", thread_id, interrupt_id, "approve")
    nobody = node(folder, case, None, "pending")

    assert asking.returncode != 0
    assert "403" in asking.stderr
    assert nobody.returncode != 0
    assert "401" in nobody.stderr
    assert case.effects() == []


# What people build pages with


def key(who: Attacker) -> str:
    assert who.person
    return token(who.person)


@pytest.mark.parametrize("script", ["remote_graph", "ag_ui", "react", "react_sdk"])
def test_each_package_asks_and_answers_and_who_is_late_is_told_so(packages: Path, case: Case, script: str) -> None:
    source, target = case.account(), case.account(0)
    environment = {
        "PATH": "/usr/bin:/bin",
        "LANGGRAPH_URL": case.target.url,
        "WORDS": f"transfer 5,000 from {source} to {target}",
        **{name.upper(): key(getattr(case, name)) for name in ("olga", "ana", "ben")},
    }

    ran = subprocess.run(
        [program(), f"{script}.mjs"], cwd=packages, env=environment, capture_output=True, text=True, timeout=120
    )

    assert ran.returncode == 0, ran.stderr[-3000:]
    told: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    assert told["asked"].startswith("Transfer $5,000.00 ")
    # The newer hook's commands the server itself refuses when their question is gone.
    assert any(why in told["again"] for why in ("decides nothing: it is executed", "already-consumed interrupt")), told
    assert [(one.source, one.target, one.amount_minor) for one in case.effects()] == [(source, target, 500_000)]


async def test_remote_graph_of_python_asks_and_answers_and_who_is_late_is_told_so(case: Case) -> None:
    source, target = case.account(), case.account(0)
    config: Any = {"configurable": {"thread_id": await case.olga.thread()}}
    url = case.target.url
    async with AsyncExitStack() as open_ones:
        asking, deciding, late = [
            RemoteGraph("clearance", client=await open_ones.enter_async_context(get_client(url=url, api_key=key(who))))
            for who in (case.olga, case.ana, case.ben)
        ]
        await asking.ainvoke(
            {"messages": [{"role": "user", "content": f"transfer 5,000 from {source} to {target}"}]}, config
        )
        (asked,) = (await deciding.aget_state(config)).interrupts
        answer: Any = Command(resume={asked.id: {"approved": True}})
        done = await deciding.ainvoke(answer, config)
        with pytest.raises(Exception, match=r"decides nothing"):
            await late.ainvoke(answer, config)

    assert isinstance(done, dict)
    assert "Transferred $5,000.00" in str(done["messages"][-1]["content"])
    assert len(case.effects()) == 1


@pytest.mark.parametrize("folder", [CLIENTS, PACKAGES], ids=lambda folder: folder.name)
def test_packages_are_pinned_and_no_registry_is_named(folder: Path) -> None:
    package = json.loads((folder / "package.json").read_text())

    assert all(version[0].isdigit() for version in package["dependencies"].values())
    assert not list(folder.glob("*lock*"))
    assert "package-lock=false" in (folder / ".npmrc").read_text()
    assert "registry" not in "".join(path.read_text() for path in folder.iterdir() if path.is_file())


def test_the_client_is_short() -> None:
    assert len((CLIENTS / "inbox.mjs").read_text().splitlines()) < 70
