"""The table of attempts: what came of each on a stock agent, on ours, and on our gate alone in both its ways in."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.attacks.rows import IN_PROCESS, ROWS

BEGIN = "<!-- attacks: begin, written by `ATTACKS_TABLE=docs/security.md make attacks` -->"
END = "<!-- attacks: end -->"
_HEAD = [
    "| | attempt | stock agent | ours | our gate alone | as a middleware | tests in one process |",
    "| --- | --- | --- | --- | --- | --- | --- |",
]
#: In the order of the columns; as `targets.TARGETS`, which brings servers along.
TARGETS = ("stock", "ours", "gate", "middleware")
_ROW = re.compile(r"^\| (\d+) \|.*$", re.MULTILINE)
_COUNT = re.compile(r"(\d+) (?:[a-z][a-z ]*)?in (\d+)")


def column_of(way: str) -> str:
    """Give the column of what is tried in one process, by the way in that the gate has there."""
    return "middleware" if way == "middleware" else "gate"


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
    """Write what was run, what an earlier table has of the rest, and the sums."""
    rows = {int(found[1]): found[0] for found in _ROW.finditer(before)}
    for number, attempt in ROWS.items():
        if any(line.row == number for line in lines):
            earlier = rows.get(number, "").split(" | ")[2:-1] or ["–"] * len(TARGETS)
            cells = [_cell(lines, number, target) or was for target, was in zip(TARGETS, earlier, strict=True)]
            rows[number] = (
                f"| {' | '.join([str(number), attempt, *cells, str(len(IN_PROCESS.get(number, ())) or '–')])} |"
            )
    kept = [rows[number] for number in sorted(rows)]
    sums = [_sum([row.split(" | ")[column] for row in kept]) for column in range(2, 2 + len(TARGETS))]
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
        return ""
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
