"""Node and its packages for tests: found or said to be missing, and installed once for a project."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.server import ROOT

_NODE, _NPM = shutil.which("node"), shutil.which("npm")
_OLDEST = 20


def program() -> str:
    """Give the program; skips where there is none, and fails where it cannot do."""
    if _NODE is None:
        pytest.skip(f"the client in JavaScript was not tried: there is no Node on the path ({_OLDEST} or newer)")
    version = subprocess.run([_NODE, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version[1:].split(".")[0]) < _OLDEST:
        pytest.fail(f"The SDK for JavaScript needs Node {_OLDEST} or newer, and {_NODE} is {version.strip()}.")
    return _NODE


def installed(wanted: Path, name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the `node_modules` of a folder's package.json, kept under .venv for the next time."""
    program()
    if _NPM is None:
        pytest.fail("There is Node without npm, which brings the SDK: on Debian 'apt-get install npm'.")
    listed = (wanted / "package.json").read_text()
    kept = ROOT / ".venv" / name
    if not (kept / "package.json").exists() or (kept / "package.json").read_text() != listed:
        made = tmp_path_factory.mktemp("npm")
        for file in ("package.json", ".npmrc"):
            shutil.copy(wanted / file, made)
        command = [_NPM, "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        ran = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=300)
        if ran.returncode:
            pytest.fail(f"npm could not bring the packages of {wanted.name}: {ran.stderr[-300:]}")
        shutil.rmtree(kept, ignore_errors=True)
        shutil.move(made, kept)
    return kept / "node_modules"
