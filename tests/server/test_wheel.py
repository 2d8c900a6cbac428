"""What is built and installed: the wheel holds the library alone, needs only what it names, and so does the image."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.support.environment import ROOT, Environment, copy_files, requirements_of
from tests.support.examples import PLATFORM, Example

#: What only they need is not the library's to bring: each says so when it is imported.
NEED_MORE = {"clearance.models.endpoint": "langchain_openai", "clearance.graph.middleware": "langchain"}

#: Prints the modules of a package that lack something, with what they lack.
IMPORT_ALL = """
import importlib, json, pkgutil
missing = {}
for package in PACKAGES:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        if "migrations" not in module.name:
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as exc:
                missing[module.name] = exc.name
print(json.dumps(missing))
"""


@pytest.fixture(scope="module")
def library(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the library and what it names, and nothing else."""
    made = Environment(tmp_path_factory.mktemp("library") / "venv", requirements_of(wheel))
    made.install(str(wheel))
    return made


def test_the_wheel_holds_the_library_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    kept = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "clearance").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert {name.split("/")[0] for name in names} == {"clearance"}
    # Templates, styles, migrations' templates: what is not in the wheel is missed on somebody else's machine.
    assert kept - set(names) == set()


def test_every_module_is_imported_with_what_the_library_names(library: Environment, tmp_path: Path) -> None:
    program = f"""
import importlib.util, sys
import clearance
assert not [name for name in sys.modules if name.startswith(("langchain", "langgraph"))]
PACKAGES = ['clearance']
{IMPORT_ALL}
for name in clearance.__all__:
    getattr(clearance, name)
for name in ("agent", "langchain", "langchain_openai", "langgraph_cli", "langgraph_api"):
    assert importlib.util.find_spec(name) is None, name
"""

    said = json.loads(library.run("python", "-c", program, cwd=tmp_path))

    there = {name for name in NEED_MORE if (ROOT / "src" / f"{name.replace('.', '/')}.py").exists()}
    assert {name: lacks.split(".")[0] for name, lacks in said.items()} == {name: NEED_MORE[name] for name in there}


def test_the_command_is_there_without_a_project(library: Environment, tmp_path: Path) -> None:
    assert "pending" in library.run("clearance", "--help", cwd=tmp_path)


def test_an_install_as_the_image_does_it_starts_the_agent(wheel: Path, tmp_path: Path) -> None:
    """`-e .` and the packages that langgraph.json names have to be all that the agent needs."""
    project = tmp_path / "project"
    project.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "langgraph.json", "policy.toml"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, project)
    copy_files(ROOT / "src", project / "src")
    (project / ".env").write_text("")
    langgraph = str(Path(sys.executable).with_name("langgraph"))
    done = subprocess.run([langgraph, "dockerfile", "Dockerfile"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    said = (project / "Dockerfile").read_text()
    (named,) = re.findall(r"^RUN \S+ uv pip install --system --no-cache-dir -c \S+ ([^-].*)$", said, re.MULTILINE)
    assert "-c /api/constraints.txt -e ." in said

    made = Environment(tmp_path / "venv", [*PLATFORM, *requirements_of(wheel), *named.split()])
    made.install("--editable", str(project))
    lacks = made.run("python", "-c", f"PACKAGES = ['clearance', 'agent']\n{IMPORT_ALL}", cwd=project)
    server = Example(project, "", environment_=made).start()
    try:
        answer = httpx.get(f"{server.url}/inbox/sign-in", timeout=30)
    finally:
        server.stop()

    assert named == "langchain langchain-openai langchain-mcp-adapters"
    # Unquoted, so that a shell would take `>=1` for the name of a file.
    assert not set("".join(json.loads((ROOT / "langgraph.json").read_text())["dependencies"])) & set("<>=~!")
    assert json.loads(lacks) == {}
    assert answer.status_code == 200
