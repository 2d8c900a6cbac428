"""Which tests run in one process of `-n`, and in which order: who shares a server together, what takes longest first,
and what waits beside what works.

Most of the time a test with a server waits for it, so there are more processes than cores. pytest-xdist has groups for
this (`--dist loadgroup`), which pytest 9.2 does not let it see: they would run anywhere.
"""

from collections.abc import Iterable
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
#: Seconds that a process is with what mostly waits (of a file of `PARTS`, with one part), roughly, on two idle cores.
WAITS_S = {
    "tests/integration/test_external.py": 110,
    "tests/server/test_pages.py": 110,
    "tests/server/test_cancel.py": 100,
    "tests/server/test_graphs.py": 100,
    "tests/aegra/test_machines.py": 90,
    "tests/aegra/test_recovery.py::test_kills_at_random_moments_lose_and_double_nothing": 90,
    "tests/server/test_failures.py": 80,
    "tests/server/test_nested.py": 80,
    "tests/server/test_storms.py": 80,
    "tests/server/test_wall.py": 80,
    "tests/integration/test_webhooks.py": 70,
    "tests/integration/test_hanging.py": 60,
    "tests/aegra/test_people.py": 50,
    "tests/server/test_external.py": 50,
    "tests/server/test_inbox_terminal.py": 50,
    "tests/server/test_lifetimes.py": 50,
    "tests/server/test_api.py": 40,
    "tests/server/test_crash.py": 40,
    "tests/server/test_recovery.py::test_a_turn_whose_runs_always_fail_is_given_up_and_its_thread_is_told": 40,
    "tests/server/test_whose_words.py": 40,
    "tests/integration/test_external_doubtful.py": 35,
    "tests/integration/test_tries.py": 35,
    "tests/server/test_long_threads.py": 35,
    "tests/server/test_two_servers.py": 35,
    "tests/server/test_clients.py": 30,
    "tests/server/test_decisions.py": 30,
    "tests/integration/test_external_cut.py": 25,
    "tests/server/test_ids.py": 25,
    "tests/aegra/test_recovery.py": 20,
    "tests/integration/test_model.py": 20,
    "tests/server/test_inbox.py": 20,
    "tests/server/test_time.py::test_a_request_that_was_due_while_the_server_was_down_is_closed_after_the_restart": 20,
    "tests/integration/test_carried_out_at_once.py": 15,
    "tests/integration/test_payments.py": 15,
    "tests/server/test_storms_elsewhere.py": 15,
    "tests/server/test_time.py::test_what_happened_before_a_kill_is_told_after_it": 15,
    "tests/server/test_two_paying.py": 15,
}
#: The same of what keeps a core busy.
WORKS_S = {
    "tests/server/test_examples.py": 60,
    "tests/integration/test_storms.py": 35,
    "tests/browser/test_journeys.py": 30,
    "tests/integration/test_bank_seed.py": 30,
    "tests/server/test_examples_elsewhere.py": 30,
    "tests/browser/test_accessibility.py": 25,
    "tests/integration/test_install.py": 25,
    "tests/integration/test_mcp.py": 25,
    "tests/server/test_bounds.py": 25,
    "tests/integration/test_audit_tampering.py": 20,
    "tests/integration/test_gate_once.py": 20,
    "tests/integration/test_nested.py": 20,
    "tests/server/test_fuzz.py": 20,
    "tests/server/test_javascript.py": 20,
    "tests/server/test_settlement.py": 20,
    "tests/browser/test_reading.py": 15,
    "tests/integration/test_external_generated.py": 15,
    "tests/integration/test_shown.py": 15,
    "tests/integration/test_testimony.py": 15,
    "tests/integration/test_timekeeping.py": 15,
    "tests/integration/test_transaction_kept.py": 15,
    "tests/server/test_watch.py": 15,
    "tests/server/test_wheel.py": 15,
}
#: The same of each part of the attacks, which mostly wait; and of what stands nowhere here, which mostly works.
ATTACKS_S, OTHERS_S = 100, 3
#: What waits is begun so much earlier than what works: of what is left in the end, all that works can go on at once.
_EARLIER = 0.8


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


def order(nodeids: Iterable[str]) -> dict[str, int]:
    """Give each scope its place in the order in which they are begun.

    What takes longest comes first, or everything would wait for it in the end. What waits and what works take turns, so
    that at any time as much of each is left: of one kind alone, all processes would wait, or stand in line for a core.
    """
    waits: dict[str, int] = {}
    works: dict[str, int] = {}
    for nodeid in nodeids:
        waits_s = _seconds(WAITS_S, nodeid) or (ATTACKS_S if nodeid.startswith("tests/attacks/") else 0)
        if waits_s:
            waits.setdefault(scope(nodeid), waits_s)
        else:
            works.setdefault(scope(nodeid), _seconds(WORKS_S, nodeid) or OTHERS_S)
    begun: list[tuple[float, str]] = []
    for seconds, share in ((waits, _EARLIER), (works, 1)):
        total, before = sum(seconds.values()), 0
        for name in sorted(seconds, key=lambda name: -seconds[name]):
            begun.append((share * before / total, name))
            before += seconds[name]
    return {name: place for place, (_, name) in enumerate(sorted(begun, key=lambda one: one[0]))}


def _seconds(table: dict[str, int], nodeid: str) -> int:
    return table.get(nodeid) or table.get(nodeid.partition("::")[0], 0)


class ByServer(LoadScopeScheduling):  # type: ignore[misc]  # ships no types
    """Give each process the next scope when it is done with its last one, in the order of collection."""

    def __init__(self, config: Any, log: Any) -> None:
        super().__init__(config, log)
        # By the number of tests the files with the fewest come last, and those take the longest.
        config.option.loadscopereorder = False

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)
