"""Which tests run in one process of `-n`, and in which order: who shares a server together, what takes longest first.

Most of the time a test with a server waits for it, so there are more processes than cores. pytest-xdist has groups for
this (`--dist loadgroup`), which pytest 9.2 does not let it see: they would run anywhere.
"""

from typing import Any
from zlib import crc32

from xdist.scheduler import LoadScopeScheduling

from tests.attacks.targets import TARGETS

#: Files whose tests have a server each: they run anywhere.
APART = (
    "tests/aegra/test_recovery.py",
    "tests/aegra/test_start.py",
    "tests/integration/test_audit_every_column.py",
    "tests/server/test_crash.py",
    "tests/server/test_recovery.py",
    "tests/server/test_time.py",
)
#: Files with one server and so much to do on it that another process with another server is worth its start.
PARTS = {
    "tests/browser/test_journeys.py": 3,
    "tests/server/test_inbox_terminal.py": 3,
    "tests/server/test_pages.py": 2,
    "tests/aegra/test_people.py": 2,
    "tests/integration/test_nested.py": 3,
    "tests/server/test_wall.py": 2,
}
#: Seconds of what takes longest, roughly, on two idle cores: last of all it would be what everything waits for.
LONG_S = {
    "tests/server/test_crash.py": 90,
    "tests/aegra/test_recovery.py::test_kills_at_random_moments_lose_and_double_nothing": 90,
    "tests/browser/test_journeys.py": 60,
    "tests/server/test_storms.py": 60,
    "tests/server/test_examples.py": 120,
    "tests/server/test_wheel.py": 60,
    "tests/server/test_wall.py": 60,
    "tests/integration/test_install.py": 60,
    "tests/server/test_examples_elsewhere.py": 90,
    "tests/integration/test_audit_every_column.py": 40,
    "tests/integration/test_bank_seed.py": 60,
    "tests/integration/test_nested.py": 40,
    "tests/integration/test_storms.py": 40,
    "tests/integration/test_external_generated.py": 40,
    "tests/integration/test_losses_generated.py": 40,
    "tests/server/test_inbox_terminal.py": 60,
    "tests/server/test_pages.py": 50,
    "tests/aegra/test_people.py": 50,
    "tests/aegra/test_recovery.py": 20,
    "tests/aegra/test_machines.py": 90,
}
#: The same for each part of the attacks: they are some of the longest.
ATTACKS_S = 100


def scope(nodeid: str) -> str:
    """Name what a test belongs to: tests of one scope run in one process, one after the other."""
    file, _, test = nodeid.partition("::")
    if file in APART or nodeid.endswith("-own]"):
        return nodeid
    if file in PARTS:
        return f"{file}#{crc32(test.encode()) % PARTS[file]}"
    # The attacked servers of a target, of all files, and twice: all in a row would take longer than the rest.
    target = test.rpartition("[")[2].removesuffix("]").partition("-")[0]
    if target in TARGETS and file.startswith("tests/attacks/"):
        return f"attacks[{target}]#{crc32(test.partition('[')[0].encode()) % 2}"
    return file


def rank(nodeid: str) -> int:
    """Give a key that sorts what takes longest first, and leaves the others as they are."""
    file = nodeid.partition("::")[0]
    attack_s = ATTACKS_S if file.startswith("tests/attacks/") else 0
    return -LONG_S.get(nodeid, LONG_S.get(file, attack_s))


class ByServer(LoadScopeScheduling):  # type: ignore[misc]  # ships no types
    """Give each process the next scope when it is done with its last one, in the order of collection."""

    def __init__(self, config: Any, log: Any) -> None:
        super().__init__(config, log)
        # By the number of tests the files with the fewest come last, and those take the longest.
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)
