"""The processes of `-n` are forked from one that has collected the tests."""

import os
import sys
from pathlib import Path


def test_a_process_of_a_run_is_forked() -> None:
    if "PYTEST_XDIST_WORKER" in os.environ and sys.platform == "linux":
        assert "tests/support/workers.py" in Path("/proc/self/cmdline").read_text()
