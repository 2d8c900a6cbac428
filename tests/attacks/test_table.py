"""The table of docs/security.md has the rows of the list, each row has its tests, and what it names is there."""

import re
from pathlib import Path

import pytest

from tests.attacks.rows import IN_PROCESS, ROWS
from tests.attacks.table import BEGIN, END, Line, markdown, write_between_markers
from tests.support.server import ROOT

DOCUMENT = ROOT / "docs" / "security.md"
ATTACKS = "\n".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


def test_the_document_shows_every_row_of_the_list() -> None:
    table = DOCUMENT.read_text().split(BEGIN)[1].split(END)[0]
    shown = re.findall(r"^\| (\d+) \| (.*?) \| ", table, re.MULTILINE)

    assert [(int(number), attempt) for number, attempt in shown] == list(ROWS.items())


def test_the_document_shows_no_success_on_ours() -> None:
    table = DOCUMENT.read_text().split(BEGIN)[1].split(END)[0]

    for row in re.findall(r"^\| \d+ \|.*", table, re.MULTILINE):
        _, stock, ours, gate, middleware, _ = row.strip("| ").split(" | ")[1:]
        assert "0 " in ours or ours == "–", row
        assert not re.search(r"(?<!\d)[1-9]\d* (?:[a-z ]*)in \d", f"{ours} {gate} {middleware}"), row
        assert stock, row


@pytest.mark.parametrize("row", ROWS)
def test_every_row_has_a_test(row: int) -> None:
    assert re.search(rf"^async def test_row_{row:02}_", ATTACKS, re.MULTILINE)


@pytest.mark.parametrize("row", IN_PROCESS)
def test_what_a_row_names_in_one_process_is_there(row: int) -> None:
    for name in IN_PROCESS[row]:
        assert f"def {name}(" in TESTS, name


def test_a_row_that_was_not_run_stays_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "security.md"
    file.write_text(f"before\n{BEGIN}\n{END}\nafter")

    write_between_markers(file, [Line(1, "stock", 3, 2, "effects", {}), Line(1, "ours", 3, 0, "effects", {"403": 3})])
    write_between_markers(file, [Line(2, "stock", 4, 4, "effects", {}), Line(2, "gate", 4, 0, "reads", {"done": 4})])

    assert file.read_text().startswith("before\n")
    assert file.read_text().endswith("\nafter")
    table = file.read_text().splitlines()
    assert [row.split(" | ")[2:6] for row in table if re.match(r"\| [12] ", row)] == [
        ["2 in 3", "0 in 3 (403 × 3)", "–", "–"],
        ["4 in 4", "–", "0 reads in 4", "–"],
    ]
    assert "| | together | 6 in 7 | 0 in 3 | 0 in 4 | 0 in 0 |" in file.read_text()


def test_rows_come_in_their_order() -> None:
    table = markdown([Line(row, "stock", 1, 1, "effects", {}) for row in (12, 3)])

    assert table.index("| 3 |") < table.index("| 12 |")
