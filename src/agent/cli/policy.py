"""`clearance policy`: compile the table of rules, and show it."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from agent.clearance.rendering import span
from agent.cli.database import current_settings
from agent.cli.terminal import Code, Failed, line, out, say, say_json

if TYPE_CHECKING:
    from agent.clearance.policy import Policy, Verdict

app = typer.Typer(help="Check and show the policy.", no_args_is_help=True)


@app.command(epilog="Exit codes: 0 it is valid, 7 it is not.")
def check(
    file: Annotated[Path | None, typer.Argument(help="Policy to check; POLICY_FILE if not given.")] = None,
) -> None:
    """Compile a policy as the server does when it starts, and print the first error as path:line: message."""
    policy = _load(file)
    rules = len(policy.explain()) - 1
    say(f"{policy.path}: valid, {rules} {'rule' if rules == 1 else 'rules'}, roles {', '.join(policy.roles)}.", "green")


@app.command(epilog="Exit codes: 0 done, 7 the policy is not valid.")
def explain(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the rules in the order they are tried; the last row is what happens when none matches."""
    policy = _load(None)
    rules = policy.explain()
    if as_json:
        say_json(
            {
                "roles": policy.roles,
                "rules": [
                    {
                        "action": action,
                        "when": when or None,
                        "verdict": verdict.word,
                        "rule": verdict.rule,
                        "risk": verdict.risk,
                        "approvers": verdict.approvers,
                        "approvals": verdict.approvals,
                        "expires_s": int(verdict.expires.total_seconds()),
                    }
                    for action, when, verdict in rules
                ],
            }
        )
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "Action", "When", "Verdict", "Risk", "Cleared by", "Within", "Rule"):
        table.add_column(heading, header_style="dim", overflow="fold", no_wrap=heading not in ("When", "Rule"))
    for number, (action, when, verdict) in enumerate(rules, 1):
        cells = [
            str(number) if action != "*" else "",
            "anything else" if action == "*" else action,
            " ".join(when.split()) or "always",
            verdict.word,
            verdict.risk,
            _who(verdict),
            span(verdict.expires) if verdict.word == "ask" else "",
            verdict.rule,
        ]
        table.add_row(*(Text(line(cell), _STYLES.get(cell, "")) for cell in cells))
    out.print(table)


@app.command(epilog="Exit codes: 0 done, 7 the policy is not valid.")
def replay(
    policy: Annotated[Path, typer.Option(help="The policy to try.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    show: Annotated[int, typer.Option(min=0, help="List at most so many requests that would end otherwise.")] = 20,
) -> None:
    """Judge every recorded request under a changed policy, on its stored facts. Nothing is written.

    Shows what it would have asked, let through and refused instead: how many questions it spares, and whether it loses
    one that people answered with no.
    """
    from agent.clearance.action import Actions
    from agent.clearance.replay import replay as judge_again
    from agent.cli.database import existing_database
    from agent.wiring import ACTIONS

    changed = _load(policy)
    with existing_database(current_settings()) as database:
        replayed = database.read_now(lambda connection: list(judge_again(connection, changed, Actions(ACTIONS))))
    judged = [one for one in replayed if one.verdict is not None]
    moves = Counter((one.request.verdict, one.verdict.word) for one in judged if one.verdict)
    others = [one for one in judged if one.is_other]
    spared, lost = sum(one.is_spared for one in judged), [one for one in judged if one.is_lost]
    if as_json:
        say_json(
            {
                "requests": len(replayed),
                "not_judged": len(replayed) - len(judged),
                "verdicts": [{"was": was, "would": would, "requests": n} for (was, would), n in sorted(moves.items())],
                "otherwise": len(others),
                "spared": spared,
                "lost": [one.request.request_id for one in lost],
            }
        )
        return
    say(f"{len(judged)} recorded requests judged under {changed.path}; {len(replayed) - len(judged)} cannot be: erased,"
        " refused before they were judged, or of another program.")  # fmt: skip
    for (was, would), number in sorted(moves.items()):
        say(f"  {_PAST[was]} {number}, would be {_PAST[would]}" if was != would else f"  {_PAST[was]} {number}, as now")
    say(f"Questions it spares, which people only approved: {spared}.", "green" if spared else "")
    say(f"Questions it loses, which people rejected or changed: {len(lost)}.", "bold red" if lost else "green")
    for one in sorted(others, key=lambda one: not one.is_lost)[:show]:
        assert one.verdict is not None
        mark = "LOST " if one.is_lost else ""
        sentence = one.request.sentence or one.request.action
        say(line(f"  {mark}{one.request.request_id[:8]} {one.request.verdict} → {one.verdict.word}"
                 f" ({one.verdict.rule}): {sentence}"))  # fmt: skip
    if len(others) > show:
        say(f"  and {len(others) - show} more.")


_PAST = {"allow": "let through", "ask": "asked", "deny": "refused"}
_STYLES = {"allow": "green", "ask": "yellow", "deny": "red"}


def _who(verdict: "Verdict") -> str:
    return f"{verdict.approvals} × {verdict.approvers}" if verdict.word == "ask" else ""


def _load(file: Path | None) -> "Policy":
    from agent.clearance.errors import PolicyError
    from agent.wiring import read_policy

    settings = current_settings()
    try:
        return read_policy(settings.model_copy(update={"policy_file": file}) if file else settings)
    except PolicyError as exc:
        raise Failed(str(exc), Code.POLICY_INVALID) from exc
