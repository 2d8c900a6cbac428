"""Which tests share a process: those of one server, and what is named there is there."""

from pathlib import Path

import pytest

from tests.support.scheduling import APART, LONG_S, PARTS, rank, scope

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("named", [*APART, *PARTS, *LONG_S])
def test_every_file_and_test_that_is_named_is_there(named: str) -> None:
    file, _, test = named.partition("::")

    assert f"def {test}(" in (ROOT / file).read_text() if test else (ROOT / file).exists()


def test_tests_of_one_server_share_a_process_and_those_with_their_own_do_not() -> None:
    inbox = "tests/server/test_inbox.py::test_"
    attack = "tests/attacks/test_rows_01_16.py::test_row_01[{}]"

    assert scope(f"{inbox}a") == scope(f"{inbox}b[x]") == "tests/server/test_inbox.py"
    assert scope(attack.format("ours")) == scope(attack.format("ours-slow")) != scope(attack.format("stock"))
    assert scope(attack.format("ours-own")) != scope(attack.format("ours"))
    assert scope("tests/server/test_time.py::test_a") != scope("tests/server/test_time.py::test_b")


def test_what_takes_longest_comes_first_and_the_rest_stays_in_its_order() -> None:
    nodeids = [
        "tests/unit/test_money.py::test_b",
        "tests/unit/test_money.py::test_a",
        "tests/server/test_crash.py::test_c",
    ]

    assert sorted(nodeids, key=rank) == [nodeids[2], *nodeids[:2]]
