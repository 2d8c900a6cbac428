"""`clearance policy`: compile the table of rules, and show it."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from clearance.cli.project import current_clearance, current_settings
from clearance.cli.terminal import Code, Failed, line, out, say, say_json
from clearance.principal import Principal
from clearance.text.rendering import span

if TYPE_CHECKING:
    from clearance.actions.action import Action, Facts
    from clearance.gate.policy import Policy, Tried, Verdict

app = typer.Typer(help="Check and show the policy.", no_args_is_help=True)


@app.command(epilog="Exit codes: 0 it is valid, 7 it is not.")
def check(
    file: Annotated[Path | None, typer.Argument(help="Policy to check; POLICY_FILE if not given.")] = None,
) -> None:
    """Compile a policy as the server does when it starts, and print the first error as path:line: message."""
    policy = _load(file)
    rules = len(policy.rules)
    say(f"{policy.path}: valid, {rules} {'rule' if rules == 1 else 'rules'}, roles {', '.join(policy.roles)}.", "green")


@app.command(epilog="Exit codes: 0 done, 7 the policy is not valid.")
def explain(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the rules in the order they are tried; the last row is what happens when none matches."""
    policy = _load(None)
    rows = [(rule.server, rule.action, rule.when, rule.verdict) for rule in policy.rules]
    rows.append((None, "*", "", policy.default))
    if as_json:
        rules = [
            {"server": server, "action": action, "when": when or None, **_verdict_json(verdict)}
            for server, action, when, verdict in rows
        ]
        say_json({"roles": policy.roles, "rules": rules})
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", "Action", "When", "Verdict", "Risk", "Cleared by", "Within", "Rule"):
        table.add_column(heading, header_style="dim", overflow="fold", no_wrap=heading not in ("When", "Rule"))
    for number, (server, action, when, verdict) in enumerate(rows, 1):
        is_default = number == len(rows)
        cells = [
            "" if is_default else str(number),
            "anything else" if is_default else _about(server, action),
            " ".join(when.split()) or "always",
            verdict.word,
            verdict.risk,
            _who(verdict),
            span(verdict.expires) if verdict.word == "ask" else "",
            verdict.rule,
        ]
        table.add_row(*(Text(line(cell), _STYLES.get(cell, "")) for cell in cells))
    out.print(table)


@app.command("try", epilog="Exit codes: 0 done, 2 the call cannot be one, 7 the policy is not valid.")
def try_(
    action: Annotated[str, typer.Argument(help="Name of the tool, as the model calls it.")],
    arguments: Annotated[str, typer.Argument(help="Its arguments, as JSON.")] = "{}",
    facts: Annotated[str, typer.Option(help="What is true about it, as JSON; nothing is read anywhere.")] = "{}",
    requested_by: Annotated[str, typer.Option(help="Who asks.")] = "somebody",
    role: Annotated[list[str] | None, typer.Option(help="A role that the requester holds; may be given again.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Policy to try; POLICY_FILE if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Judge a call that is made up, and show which rules are tried. Nothing is read or written."""
    loaded = _load(policy)
    call, known = _made_up(action, arguments, facts)
    requester = Principal(requested_by, roles=frozenset(role or ()))
    tried = list(loaded.tried(call, known, requester))
    verdict = loaded.judge(call, known, requester)
    if as_json:
        rules = [{"rule": one.rule.verdict.rule, "outcome": _outcome(one)} for one in tried]
        say_json({**_verdict_json(verdict), "tried": rules})
        return
    for one in tried:
        say(line(f"  {_outcome(one):9}{one.rule.verdict.rule}"))
    said = f"{verdict.word}, {verdict.risk} risk: {verdict.rule}"
    say(line(f"{said}, cleared by {_who(verdict)}" if verdict.word == "ask" else said), _STYLES[verdict.word])


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
    from clearance.cli.database import existing_database
    from clearance.desk.replay import replay as judge_again

    changed, actions = _load(policy), current_clearance().actions
    with existing_database(current_settings()) as database:
        replayed = database.read_now(lambda connection: list(judge_again(connection, changed, actions)))
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


def _made_up(name: str, arguments: str, facts: str) -> "tuple[Action[Any], Facts]":
    """Read a call that nobody made, and what is to be true about it."""
    from pydantic import ValidationError

    from clearance.actions.action import in_words, read_action
    from clearance.errors import ActionError

    actions = current_clearance().actions
    cls = actions.get(name)
    if cls is None:
        known = ", ".join(sorted(one.tool_name() for one in actions))
        raise Failed(f"there is no action {name}; known are {known}", Code.USAGE)
    try:
        action = read_action(cls, _json_object(arguments, "the arguments"))
    except ActionError as exc:
        raise Failed(str(exc), Code.USAGE) from exc
    try:
        return action, cls.facts_type().model_validate(_json_object(facts, "the facts"))
    except ValidationError as exc:
        raise Failed(f"--facts: {in_words(exc)}", Code.USAGE) from exc


def _json_object(text: str, what: str) -> dict[str, Any]:
    try:
        read = json.loads(text)
    except ValueError as exc:
        raise Failed(f"{what} are no JSON: {exc}", Code.USAGE) from exc
    if not isinstance(read, dict):
        raise Failed(f"{what} are written as a JSON object", Code.USAGE)
    return read


def _about(server: str | None, action: str) -> str:
    return action if server is None else f"{server}: {action}"


def _outcome(tried: "Tried") -> str:
    return "failed" if isinstance(tried.outcome, str) else "matches" if tried.outcome else "does not"


def _verdict_json(verdict: "Verdict") -> dict[str, Any]:
    return {
        "verdict": verdict.word,
        "rule": verdict.rule,
        "risk": verdict.risk,
        "approvers": verdict.approvers,
        "approvals": verdict.approvals,
        "expires_s": int(verdict.expires.total_seconds()),
    }


def _who(verdict: "Verdict") -> str:
    return f"{verdict.approvals} × {verdict.approvers}" if verdict.word == "ask" else ""


def _load(file: Path | None) -> "Policy":
    from clearance.errors import PolicyError

    try:
        return current_clearance().read_policy(file)
    except PolicyError as exc:
        raise Failed(str(exc), Code.POLICY_INVALID) from exc
