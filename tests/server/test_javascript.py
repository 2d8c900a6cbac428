"""The client in JavaScript against the real server. Runs where Node is; the SDK is installed once for a project."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.attacks.targets import Case
from tests.support.server import ROOT
from tests.support.tokens import token
from tests.support.world import Person

CLIENTS = ROOT / "clients"
NODE, NPM = shutil.which("node"), shutil.which("npm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the client and its SDK, which is kept under .venv for the next time."""
    if NODE is None:
        pytest.skip("the client in JavaScript was not tried: there is no Node on the path (20 or newer)")
    if NPM is None:
        pytest.fail("There is Node without npm, which brings the SDK: on Debian 'apt-get install npm'.")
    major = int(
        subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout[1:].split(".")[0]
    )
    if major < 20:
        pytest.fail(f"The SDK for JavaScript needs Node 20 or newer, and {NODE} is {major}.")
    wanted = (CLIENTS / "package.json").read_text()
    kept = ROOT / ".venv" / "javascript"
    if not (kept / "package.json").exists() or (kept / "package.json").read_text() != wanted:
        made = tmp_path_factory.mktemp("npm")
        for name in ("package.json", ".npmrc"):
            shutil.copy(CLIENTS / name, made)
        command = [NPM, "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        installed = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=300)
        if installed.returncode:
            pytest.fail(f"npm could not bring the SDK: {installed.stderr[-300:]}")
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(made, kept)
    here = tmp_path_factory.mktemp("javascript")
    (here / "node_modules").symlink_to(kept / "node_modules")
    shutil.copy(CLIENTS / "inbox.mjs", here)
    return here


def node(folder: Path, case: Case, person: Person | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the client as somebody."""
    assert NODE
    environment = {"PATH": "/usr/bin:/bin", "LANGGRAPH_URL": case.target.url}
    if person:
        environment["CLEARANCE_TOKEN"] = token(person)
    command = [NODE, "inbox.mjs", *arguments]
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


def test_the_sdk_is_pinned_and_no_registry_is_named() -> None:
    package = json.loads((CLIENTS / "package.json").read_text())

    assert all(version[0].isdigit() for version in package["dependencies"].values())
    assert not list(CLIENTS.glob("*lock*"))
    assert "package-lock=false" in (CLIENTS / ".npmrc").read_text()
    assert "registry" not in "".join(path.read_text() for path in CLIENTS.iterdir() if path.is_file())
    assert len((CLIENTS / "inbox.mjs").read_text().splitlines()) < 70
