"""What the inbox says, and how. Every text from outside becomes `Content`, so that nothing in it is read as markup."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from textual.content import Content

from agent.clearance.rendering import visible
from agent.cli.cards import duration, moment
from agent.contract import Checked, Entry, Event, Freeze

#: By risk: the style of its word. The word is always there, too.
RISKS = {"low": "", "medium": "bold", "high": "bold $warning", "critical": "bold reverse $error"}

_STATES = {
    "asked": "to decide",
    "approved": "approved, waits to be carried out",
    "allowed": "allowed by policy, waits to be carried out",
    "executed": "done",
    "rejected": "rejected",
    "refused": "refused, not done",
    "failed": "failed, not done",
    "expired": "expired, not done",
    "withdrawn": "withdrawn, not done",
}
_GONE = "what it said was erased"
_LONGEST_EFFECT = 60
_AMOUNT = re.compile(r"\$[\d,]+\.\d\d")


def text(said: Any, style: str = "") -> Content:
    """Give a text from anywhere as it is: no markup, nothing hidden."""
    return Content.styled(visible(str(said)), style)


def joined(*parts: Content | str) -> Content:
    """Put texts side by side; a `str` is ours."""
    return Content("").join([part if isinstance(part, Content) else Content(part) for part in parts])


def state(word: str) -> str:
    """Say how a request stands."""
    return _STATES.get(word, word)


def sentence(entry: Entry) -> str:
    """Say what a request is about."""
    return visible(entry.sentence or f"{entry.action}: {_GONE}")


def left(until: datetime, now: datetime) -> Content:
    """Say how long there is, with caution in the last hour."""
    if until <= now:
        return Content.styled("too late", "$error")
    return Content.styled(f"{duration(until - now)} left", "$warning" if until - now < timedelta(hours=1) else "")


def needs(approvers: Sequence[str] | None, needed: int) -> str:
    """Say who has to approve: `2 × treasurer`."""
    return visible(f"{needed} × {' and '.join(approvers or []) or 'anybody'}")


def row(entry: Entry, now: datetime, *, is_stale: bool) -> Content:
    """Write a request as two lines of the list; `is_stale` when it left the list meanwhile."""
    style = "dim strike" if is_stale else ""
    risk = Content.styled(f" {visible(entry.risk)} ", "dim" if is_stale else RISKS.get(entry.risk, ""))
    if entry.finished_at is not None:
        when = Content(f"{state(entry.state)}, {moment(entry.finished_at)}")
    elif is_stale:
        when = Content(state(entry.state) if entry.state != "asked" else "no longer in this list")
    elif entry.state != "asked":
        when = Content(state(entry.state))
    else:
        when = joined(left(entry.expires_at, now), f" · needs {needs(entry.approvers, entry.approvals_needed)}")
    below = joined("   ", "asked by ", text(entry.requested_by), " · ", when)
    return joined(risk, " ", text(sentence(entry), style or "bold"), "\n", below.stylize("dim"))


def effect(said: str) -> str:
    """Say what a button does: the sentence up to its particulars, such as `Transfer $48,250.00`."""
    short = re.split(r" from |: | \(", said, maxsplit=1)[0]
    return short if len(short) <= _LONGEST_EFFECT else f"{short[:_LONGEST_EFFECT]}…"


@dataclass(frozen=True)
class Confirmation:
    """What a person types before something critical."""

    #: What to type, as it is shown: an amount, a name, an id.
    wanted: str
    is_amount: bool

    def fits(self, typed: str) -> bool:
        """Tell whether this is it: an amount with or without separators and $, a name in any case."""
        if self.is_amount:
            return _amount(typed) is not None and _amount(typed) == _amount(self.wanted)
        return " ".join(typed.split()).casefold() == self.wanted.casefold()


def confirmation(said: str, arguments: dict[str, Any], facts: dict[str, Any] | None, request_id: str) -> Confirmation:
    """Give what confirms a critical request: its amount, else the name it concerns, else an id."""
    amount = _amount(str(arguments.get("amount", "")))
    if amount is not None:
        return Confirmation(f"${amount:,.2f}", is_amount=True)
    found = _AMOUNT.search(said)
    if found is not None:
        return Confirmation(found[0], is_amount=True)
    name = str((facts or {}).get("name", ""))
    # A name that holds hidden or look-alike characters cannot be typed from what one sees.
    if name and name.isascii() and name.isprintable() and not name.startswith('"') and len(name) <= _LONGEST_EFFECT:
        return Confirmation(name, is_amount=False)
    ids = [str(value) for key, value in arguments.items() if key.endswith("_id")]
    return Confirmation(ids[0] if ids else request_id[:8], is_amount=False)


def facts_table(shown: Sequence[dict[str, str]]) -> list[tuple[str, str]]:
    """List facts as (label, text), before and after in one: `Payer has` and `Payer then has` become `… → …`."""
    after = {one["label"].replace(" then ", " ", 1): one for one in shown if " then " in one["label"]}
    before = {one["label"] for one in shown}
    rows = []
    for one in shown:
        label = one["label"]
        if label in after and after[label]["label"] != label:
            rows.append((visible(label), visible(f"{one['text']} → {after[label]['text']}")))
        elif " then " not in label or label.replace(" then ", " ", 1) not in before:
            rows.append((visible(label), visible(one["text"])))
    return rows


def changed_facts(before: Sequence[dict[str, str]], after: Sequence[dict[str, str]]) -> list[tuple[str, str]]:
    """List what an edit changes of the facts, as (label, `before → after`)."""
    was = {one["label"]: one["text"] for one in before}
    return [
        (visible(one["label"]), visible(f"{was.get(one['label'], '–')} → {one['text']}"))
        for one in after
        if was.get(one["label"]) != one["text"]
    ]


def grid(rows: Sequence[tuple[str, str]]) -> Content:
    """Draw (label, text) rows in two columns; what is longer than its line goes on in the next."""
    width = min(max((len(label) for label, _ in rows), default=0), 28)
    lines = [joined(Content.styled(label.ljust(width), "dim"), "  ", Content(said)) for label, said in rows]
    return Content("\n").join(lines)


def event_line(event: Event) -> Content:
    """Write an audit row as one line."""
    details = " ".join(f"{name}={_short(value)}" for name, value in event.details.items())
    return joined(
        Content.styled(f"{event.seq:>6}  {visible(event.at[:19].replace('T', ' '))}  ", "dim"),
        text(event.event, "bold"),
        "  ",
        text(event.actor),
        f"  {visible(event.request_id[:8])}" if event.request_id else "",
        "  ",
        text(details, "dim"),
    )


def frozen_band(switch: Freeze) -> str:
    """Say that effects are stopped, since when, by whom and why."""
    since = f" since {moment(switch.since)}" if switch.since else ""
    return visible(f"Frozen by {switch.by}{since}: {switch.reason}")


def open_requests(switch: Freeze) -> str:
    """Say how many requests are open."""
    total = sum(switch.open.values())
    return "1 request is open" if total == 1 else f"{total or 'no'} requests are open"


def check_report(checked: Checked) -> str:
    """Say whose word a change still needs."""
    if checked.is_enough:
        return "This does less than what was asked, so your change is your approval."
    return f"It then waits for somebody else: it needs {needs(checked.approvers, checked.approvals_needed)}."


def _amount(typed: str) -> Decimal | None:
    try:
        amount = Decimal(typed.strip().removeprefix("$").strip().replace(",", ""))
    except InvalidOperation:
        return None
    return amount if amount.is_finite() and abs(amount) < 10**15 else None


def _short(value: Any) -> str:
    said = value if isinstance(value, str) else str(value)
    return f"{said[:8]}…" if re.fullmatch(r"[0-9a-f]{32,}", said) else said[:200]
