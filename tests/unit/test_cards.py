"""Requests as a table in a terminal."""

from datetime import UTC, datetime, timedelta

from rich.console import Console

from clearance.cli.cards import table
from clearance.contract import Concern, Entry

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


def test_a_table_of_80_columns_keeps_ids_and_what_is_asked_for_however_long_a_name_is() -> None:
    entry = Entry(
        id="0123456789abcdef01234567", action="transfer_funds", sentence="Transfer $3,000.00 from A-2001 to A-2003",
        line="Transfer $3,000.00 from A-2001 to A-2003", unsaid="Memo: gift for the CFO",
        remark=Concern(text="First payment from A-2001 to A-2003", is_bad=False), not_done="", risk="critical",
        state="asked", requested_by="оlga (look-alike letters: U+043E CYRILLIC SMALL LETTER O)", namesake="olga",
        requested_at=NOW, expires_at=NOW + timedelta(hours=23), finished_at=None, approvers=["approver"],
        approvals_needed=1, approvals_given=[], notice=None, thread_id="t", revision=1, digest="d", rule="transfer",
    )  # fmt: skip
    console = Console(width=80, file=None, color_system=None)

    with console.capture() as drawn:
        console.print(table([entry], NOW))

    lines = drawn.get().splitlines()
    assert max(len(line) for line in lines) <= 80
    assert lines[1].startswith("01234567  critical  Transfer $3,000.00 from")
    assert lines[1].rstrip().endswith("0 of 1    23 h")
    whole = " ".join(" ".join(line[20:48] for line in lines).split())
    assert "gift for the CFO ! First payment from A-2001 to A-2003" in whole
    assert "…" not in drawn.get()
