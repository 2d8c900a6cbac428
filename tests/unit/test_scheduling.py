"""Which tests share a process: those of one server, and what is named there is there."""

from pathlib import Path

import pytest

from tests.support.scheduling import APART, PARTS, WAITS_S, WORKS_S, order, scope

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("named", [*APART, *PARTS, *WAITS_S, *WORKS_S])
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
    files = ["unit/test_money.py", "unit/test_ids.py", "server/test_inbox.py", "server/test_pages.py"]

    places = order(f"tests/{file}::test_{name}" for file in files for name in "ab")

    works = [name for name in places if "/unit/" in name]
    waits = [name for name in places if "/server/" in name]
    assert works == ["tests/unit/test_money.py", "tests/unit/test_ids.py"]
    assert {name.partition("#")[0] for name in waits[:-1]} == {"tests/server/test_pages.py"}
    assert waits[-1] == "tests/server/test_inbox.py"
    assert list(places.values()) == list(range(len(places)))


def test_what_waits_and_what_works_take_turns_to_the_end() -> None:
    places = order(f"{file}::test_a" for file in [*WAITS_S, *WORKS_S] if "::" not in file)

    waits = [any(scope(f"{file}::test_a") == name for file in WAITS_S) for name in places]
    third = len(waits) // 3
    assert all(0.2 < sum(part) / third < 0.9 for part in (waits[:third], waits[third : 2 * third], waits[-third:]))
