"""What `make demo` begins with: an empty folder, the pip that this Python brings, and exactly what the lock names."""

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "install.sh"
#: A backend that builds nothing: the wheel lies there, as setuptools would make it.
BACKEND = """
import shutil
def build_editable(folder, config_settings=None, metadata_directory=None):
    return shutil.copy("ours-1-py3-none-any.whl", folder).rsplit("/")[-1]
"""
PROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def wheel(folder: Path, name: str, version: int, *needs: str) -> str:
    """Put a wheel that holds one empty module into a folder, and give its line of a lock."""
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", "Provides-Extra: more"]
    about = f"{name}-{version}.dist-info"
    contents = {
        f"{name}.py": "",
        f"{about}/METADATA": "\n".join([*metadata, *(f"Requires-Dist: {one}" for one in needs)]),
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any",
    }
    record = "".join(f"{path},sha256={_digest(text)},{len(text)}\n" for path, text in contents.items())
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inside, text in {**contents, f"{about}/RECORD": record}.items():
            archive.writestr(inside, text)
    return f"{name}=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


def make_project(tmp_path: Path) -> Path:
    """Make a project that needs `server`, which needs `client` with an extra; a newer client has come out since."""
    index = tmp_path / "index"
    index.mkdir()
    lock = [
        wheel(index, "client", 1),
        wheel(index, "server", 1, "client[more]>=1"),
        wheel(index, "setuptools", 99),
    ]
    wheel(index, "client", 2)
    wheel(tmp_path, "ours", 1, "server>=1")
    (tmp_path / "requirements.lock").write_text("".join(lock))
    (tmp_path / "backend.py").write_text(BACKEND)
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    return tmp_path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Give a project without an environment."""
    return make_project(tmp_path)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Install a project, and give what was said of it; it is copied, never changed."""
    made = make_project(tmp_path_factory.mktemp("installed"))
    return made, install(made)


@pytest.fixture
def copied(installed: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path) -> Path:
    """Give a copy of the project with its environment, which is used by its folder's Python alone."""
    return Path(shutil.copytree(installed[0], tmp_path / "copied", symlinks=True))


def install(project: Path, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Run the script over a project, without a network; its index is a folder."""
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(project), "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(project / "index"),
    }  # fmt: skip
    command = [str(SCRIPT), ".venv", "requirements.lock", python]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, timeout=300)


def packages(project: Path) -> Path:
    """Give the folder of an environment's packages."""
    (found,) = project.glob(".venv/lib/*/site-packages")
    return found


def held(project: Path) -> set[str]:
    """Give what the environment of a project holds."""
    return {path.name.removesuffix(".dist-info") for path in packages(project).glob("*.dist-info")}


def test_the_lock_is_installed_as_it_stands_whatever_came_out_since(
    installed: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    """pip 23, which Python 3.11 brings, took the newest client for `client[more]` and stopped."""
    project, ran = installed

    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    assert ran.stdout.startswith("Installing the 3 packages of requirements.lock into .venv;")
    assert "No broken requirements found." in ran.stdout
    assert held(project) >= {"client-1", "server-1", "ours-1"}
    assert (project / ".venv" / "installed").exists()


def test_what_was_stopped_half_way_is_made_anew(copied: Path) -> None:
    """A package whose module is not there yet looked installed to pip for ever."""
    (copied / ".venv" / "installed").unlink()
    (packages(copied) / "server.py").unlink()
    assert "server-1" in held(copied)

    ran = install(copied)

    assert ran.returncode == 0, ran.stderr
    assert (packages(copied) / "server.py").exists()
    assert (copied / ".venv" / "installed").exists()


def test_a_lock_that_lacks_something_is_not_taken_for_installed(project: Path) -> None:
    lock = (project / "requirements.lock").read_text()
    (project / "requirements.lock").write_text(lock[lock.index("server==") :])

    ran = install(project)

    assert ran.returncode == 1
    assert "server 1 requires client, which is not installed." in ran.stdout
    assert (
        ran.stderr == "requirements.lock lacks what it should name: 'make lock' writes it anew from pyproject.toml.\n"
    )
    assert not (project / ".venv" / "installed").exists()


def test_what_an_earlier_lock_left_does_not_stay(copied: Path) -> None:
    wheel(copied, "old", 1, "client>1")
    with zipfile.ZipFile(copied / "old-1-py3-none-any.whl") as archive:
        archive.extractall(packages(copied))

    ran = install(copied)

    assert ran.returncode == 0, ran.stderr
    assert ".venv holds what an earlier lock left. It is made anew." in ran.stdout
    assert held(copied) >= {"client-1", "server-1", "ours-1"}
    assert "old-1" not in held(copied)


def test_a_python_that_is_too_old_or_not_there_is_named(project: Path) -> None:
    ran = install(project, "python-that-is-not-there")

    assert ran.returncode == 1
    assert ran.stderr.startswith(
        ".venv needs Python 3.11 or newer, and 'python-that-is-not-there' is not. Name one: make"
    )
