"""In CI everything is tried: what is skipped there fails."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIPS = """
import pytest

@pytest.fixture
def browser():
    pytest.skip("there is none")

def test_by_its_fixture(browser): ...

def test_by_itself():
    pytest.skip("there is none")

@pytest.mark.skip(reason="there is none")
def test_by_its_mark(): ...

@pytest.mark.xfail(reason="known")
def test_expected_to_fail():
    assert False
"""


@pytest.mark.parametrize(("ci", "told"), [("", "3 skipped, 1 xfailed"), ("true", "1 failed, 1 xfailed, 2 errors")])
def test_a_skip_is_a_failure_in_ci_and_says_why(tmp_path: Path, ci: str, told: str) -> None:
    (tmp_path / "test_one.py").write_text(SKIPS)
    command = [sys.executable, "-m", "pytest", "-rfEs", "-p", "tests.conftest", "-c", os.devnull, str(tmp_path)]

    ran = subprocess.run(command, cwd=ROOT, env={**os.environ, "CI": ci}, capture_output=True, text=True, timeout=120)

    assert told in ran.stdout, ran.stdout + ran.stderr
    assert ran.returncode == (1 if ci else 0)
    assert ran.stdout.count("there is none (with CI=true a skip is a failure)") >= (3 if ci else 0)
