"""`clearance stats`: how awake reviewers are, and how much policy asks."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from agent.cli.database import current_settings, existing_database
from agent.cli.terminal import line, out, say, say_json


def stats(
    days: Annotated[int, typer.Option(min=1, max=3650, help="How far back.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell of each reviewer how long decisions took and how many were approved within three seconds; and what share of
    actions policy let through, asked and refused."""
    from agent.clearance.statistics import HASTY, read_statistics

    since = datetime.now(UTC) - timedelta(days=days)
    with existing_database(current_settings()) as database:
        found = database.read_now(lambda connection: read_statistics(connection, since))
    if as_json:
        say_json(
            {
                "since": since.isoformat(),
                "hasty_s": HASTY.total_seconds(),
                "reviewers": [
                    {
                        "person": one.person,
                        "decisions": one.decisions,
                        "approved": one.approved,
                        "edited": one.edited,
                        "rejected": one.rejected,
                        "median_s": round(one.median.total_seconds(), 1),
                        "hasty": one.hasty,
                    }
                    for one in found.reviewers
                ],
                "verdicts": found.verdicts,
            }
        )
        return
    from rich.table import Table
    from rich.text import Text

    total = sum(found.totals.values())
    say(f"Of {total} actions in {days} days policy let {_share(found.totals['allow'], total)} through, asked"
        f" {_share(found.totals['ask'], total)} and refused {_share(found.totals['deny'], total)}.")  # fmt: skip
    if not found.reviewers:
        say("Nobody decided anything.")
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("Reviewer", "Decisions", "Approved", "Edited", "Rejected", "Median", "Approved within 3 s"):
        table.add_column(heading, header_style="dim", justify="left" if heading == "Reviewer" else "right")
    for one in found.reviewers:
        hasty = f"{one.hasty} ({_share(one.hasty, one.approved)})" if one.approved else "0"
        table.add_row(
            Text(line(one.person)),
            str(one.decisions),
            f"{one.approved} ({_share(one.approved, one.decisions)})",
            str(one.edited),
            str(one.rejected),
            _took(one.median),
            Text(hasty, "red" if one.hasty * 2 > one.approved else ""),
        )
    out.print(table)


def _took(time: timedelta) -> str:
    seconds = time.total_seconds()
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "0%"
