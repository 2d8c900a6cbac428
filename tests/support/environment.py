"""An environment that holds the library from its wheel, and of the lock's packages only those that are asked for.

Nothing is fetched: what the tests run with was installed from the lock, and its files are linked. pip checks the whole.
"""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pip
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


def build_wheel(folder: Path) -> Path:
    """Build our wheel in `folder`, from a copy: a build leaves things beside what it builds."""
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    copy_files(ROOT / "src", source / "src")
    command = ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    _pip(sys.executable, *command, str(source))
    (wheel,) = folder.glob("*.whl")
    return wheel


def copy_files(source: Path, target: Path) -> Path:
    """Copy a project's folder, without what running it left there."""
    left = shutil.ignore_patterns("__pycache__", "*.egg-info", ".clearance", ".langgraph_api", "*.db*", "build")
    shutil.copytree(source, target, ignore=left, dirs_exist_ok=True)
    return target


def requirements_of(wheel: Path) -> list[str]:
    """Give what a wheel needs, extras left out."""
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    return [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ") and "extra ==" not in line]


class Environment:
    """A virtual environment of its own in a folder."""

    def __init__(self, folder: Path, needs: Iterable[str]) -> None:
        self.folder = folder
        venv.create(folder, with_pip=False, symlinks=True)
        (self._packages,) = folder.glob("lib/*/site-packages")
        for found in _closure(needs):
            self._link(found)

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.folder / "bin" / "python"

    def install(self, *what: str) -> None:
        """Install wheels or folders (`-e`) with pip, which may fetch nothing, and check that nothing is missing."""
        self.pip("install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", *what)
        self.pip("check")

    def pip(self, *arguments: str) -> str:
        """Run pip on it; its own error fails the test."""
        return _pip(str(self.python), *arguments)

    def run(self, *command: str, cwd: Path, **env: str) -> str:
        """Run one of its commands, and give what it printed."""
        program = [str(self.folder / "bin" / command[0]), *command[1:]]
        done = subprocess.run(program, cwd=cwd, env=self.env(**env), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def env(self, **more: str) -> dict[str, str]:
        """Give the variables of a shell in which nothing but this was set up."""
        return {"PATH": f"{self.folder / 'bin'}:/usr/bin:/bin", "HOME": str(self.folder), **more}

    def _link(self, found: Distribution) -> None:
        source, packages, folders = str(found.locate_file("")), str(self._packages), set[str]()
        for file in map(str, found.files or []):
            if ".." in file.split("/") or os.path.isabs(file):
                continue  # a command, which is made below
            target = os.path.join(packages, file)
            if (folder := os.path.dirname(target)) not in folders:
                os.makedirs(folder, exist_ok=True)
                folders.add(folder)
            try:
                os.link(os.path.join(source, file), target)
            except (FileExistsError, FileNotFoundError):  # of two, or gone since
                continue
            except OSError:  # on another disk
                shutil.copy2(os.path.join(source, file), target)
        for entry in found.entry_points.select(group="console_scripts"):
            script = self.folder / "bin" / entry.name
            called = entry.attr.split(".")[0]
            script.write_text(
                f"#!{self.python}\nimport sys\nfrom {entry.module} import {called}\nsys.exit({entry.attr}())\n"
            )
            script.chmod(0o755)


def _closure(needs: Iterable[str]) -> Iterator[Distribution]:
    """Give the installed distributions that these requirements lead to, each once, by their own metadata."""
    waiting = [(Requirement(one), "") for one in needs]
    seen: set[tuple[str, str]] = set()
    given: set[str] = set()
    while waiting:
        requirement, of_extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": of_extra}):
            continue
        name = requirement.name.lower().replace("_", "-")
        new = {(name, extra) for extra in {"", *requirement.extras}} - seen
        if not new:
            continue
        seen |= new
        found = distribution(requirement.name)
        for _, extra in new:
            waiting += [(Requirement(one), extra) for one in found.requires or []]
        if name not in given:
            given.add(name)
            yield found


def _pip(python: str, *arguments: str) -> str:
    env = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    # Our pip run by that Python, as its option `--python` does, which starts a second one to do so.
    command = [python, str(Path(pip.__file__).with_name("__pip-runner__.py")), *arguments]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
