"""The table of attempts: what came of each on a stock agent, on ours, and on our gate alone."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.attacks.rows import IN_PROCESS, ROWS

BEGIN, END = "<!-- attacks: begin, written by `ATTACKS_TABLE=README.md make attacks` -->", "<!-- attacks: end -->"
_HEAD = [
    "| | attempt | stock agent | ours | our gate alone | tests in one process |",
    "| --- | --- | --- | --- | --- | --- |",
]
_ROW = re.compile(r"^\| (\d+) \|.*$", re.MULTILINE)
_COUNT = re.compile(r"(\d+) (?:[a-z][a-z ]*)?in (\d+)")


@dataclass(frozen=True)
class Line:
    """What came of one test on one target."""

    row: int
    target: str
    tries: int
    got: int
    harm: str
    met: dict[str, int]


def markdown(lines: Sequence[Line], before: str = "") -> str:
    """Write the rows that were run, those of an earlier table that were not, and the sums."""
    rows = {int(found[1]): found[0] for found in _ROW.finditer(before)}
    for number, attempt in ROWS.items():
        if any(line.row == number for line in lines):
            cells = [_cell(lines, number, target) for target in ("stock", "ours", "gate")]
            rows[number] = (
                f"| {' | '.join([str(number), attempt, *cells, str(len(IN_PROCESS.get(number, ())) or '–')])} |"
            )
    kept = [rows[number] for number in sorted(rows)]
    sums = [_sum([row.split(" | ")[column] for row in kept]) for column in (2, 3, 4)]
    named = len({name for names in IN_PROCESS.values() for name in names})
    return "\n".join([*_HEAD, *kept, f"| | together | {' | '.join(sums)} | {named} |"])


def write_between_markers(path: Path, lines: Sequence[Line]) -> None:
    """Bring what stands between the markers of a file up to date.

    Raises:
        ValueError: the file has no markers.
    """
    before, rest = path.read_text().split(BEGIN)
    old, after = rest.split(END)
    path.write_text(f"{before}{BEGIN}\n{markdown(lines, old)}\n{END}{after}")


def _cell(lines: Sequence[Line], number: int, target: str) -> str:
    mine = [line for line in lines if line.row == number and line.target == target]
    if not mine:
        return "–"
    parts = []
    for harm in dict.fromkeys(line.harm for line in mine):
        of_kind = [line for line in mine if line.harm == harm]
        got, tries = sum(line.got for line in of_kind), sum(line.tries for line in of_kind)
        parts.append(f"{got} {harm} in {tries}" if harm != "effects" else f"{got} in {tries}")
    refused = Counter[str]()
    for line in mine:
        refused.update({how: times for how, times in line.met.items() if how.isdigit()})
    told = ", ".join(f"{how} × {times}" for how, times in sorted(refused.items()))
    return "; ".join(parts) + (f" ({told})" if told and target == "ours" else "")


def _sum(cells: Sequence[str]) -> str:
    counts = [(int(got), int(tries)) for cell in cells for got, tries in _COUNT.findall(cell)]
    return f"{sum(got for got, _ in counts)} in {sum(tries for _, tries in counts)}"
