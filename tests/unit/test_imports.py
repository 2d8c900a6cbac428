"""Imports point inward, and importing does nothing."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "agent"
OUTSIDE = ("agent.server", "agent.cli", "agent.graph", "agent.wiring", "agent.tools", "agent.transcript", "agent.model")
#: Package to what nothing in it may import.
FORBIDDEN = {
    "clearance": (*OUTSIDE, "agent.bank", "agent.identity", "agent.settings"),
    "bank": (*OUTSIDE, "agent.identity", "agent.settings"),
    "db": (*OUTSIDE, "agent.clearance", "agent.bank", "agent.identity"),
    "tools": ("agent.server", "agent.cli", "agent.graph", "agent.wiring"),
}


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_point_inward(package: str) -> None:
    found = [
        f"{path.relative_to(SOURCE)}: {name}"
        for path in sorted((SOURCE / package).rglob("*.py"))
        for name in _imports(path)
        if name.startswith(FORBIDDEN[package])
    ]

    assert found == []


def test_only_the_gates_own_approval_interrupts() -> None:
    found = [
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if any(
            isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "interrupt"
            for node in ast.walk(ast.parse(path.read_text()))
        )
    ]

    assert found == ["clearance/approval.py"]


def test_every_module_takes_its_logger_where_text_from_outside_is_made_visible() -> None:
    named = {
        f"{path.relative_to(SOURCE)}: {ast.unparse(node.args[0]) if node.args else 'root'}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("getLogger")
    }
    direct = [
        f"{path.relative_to(SOURCE)}: {ast.unparse(node.func)}"
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {f"logging.{how}" for how in ("info", "warning", "error", "exception", "log")}
    ]

    # The one hides the address of a webhook in another's log; nothing is logged by it.
    assert named == {"loglines.py: name", "server/webhooks.py: 'httpx'"}
    assert direct == []


def test_importing_writes_nothing_and_needs_no_settings(tmp_path: Path) -> None:
    modules = [
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts)
        for path in sorted(SOURCE.rglob("*.py"))
        if "migrations" not in path.parts and path.name not in ("__init__.py", "__main__.py")
    ]
    program = f"""
import os, sys
wrong = []
opened = []
def hook(event, args):
    if event == "open" and isinstance(args[1], str) and any(letter in args[1] for letter in "wax+"):
        wrong.append((event, args))
    if event in ("socket.connect", "sqlite3.connect", "subprocess.Popen"):
        wrong.append((event, args))
sys.dont_write_bytecode = True
before = dict(os.environ)
sys.addaudithook(hook)
import importlib
for name in {modules!r}:
    importlib.import_module(name)
assert not wrong, wrong
assert dict(os.environ) == before
"""
    # Settings that cannot be: whoever reads them while importing fails.
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DATABASE_URL": "nonsense", "AUTH": "nonsense"}

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def _imports(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names] + [node.module or ""]
    return names
