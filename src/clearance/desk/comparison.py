"""What a reviewer is shown of a request: as it was asked, and as things stand now."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from unicodedata import category

from pydantic import ValidationError
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from clearance.actions.action import (
    Action,
    ActionError,
    Actions,
    Argument,
    Facts,
    Reading,
    label_of,
    read_action,
    read_arguments,
    shown_facts,
)
from clearance.actions.review import Activity, Change, Concern, Id, Name, Review, Words
from clearance.actions.soundness import an
from clearance.db.driver_errors import is_lost
from clearance.db.lent import TransactionEndedError, read_only
from clearance.desk.labels import STATES
from clearance.gate.ended import facts_of
from clearance.gate.judging import Judge, changed_material, requester_of
from clearance.journal.requests import Request
from clearance.journal.turns import Turn
from clearance.loglines import logger_of
from clearance.text.rendering import SENTENCE, is_cut, line

logger = logger_of(__name__)


@dataclass(frozen=True)
class Appearance:
    """An action beside its facts, for people."""

    review: Review
    #: What was shown, and its facts; None where nothing could be read of it.
    action: Action[Any] | None = None
    facts: Facts | None = None

    @property
    def known(self) -> list[tuple[str, str, str]]:
        """List the facts that `review` does not say, as they came: (name, label, text)."""
        # Not written for lists, which show none of them.
        if self.facts is None:
            return []
        named = zip(type(self.facts).model_fields, shown_facts(self.facts), strict=True)
        return [(name, *fact) for name, fact in named if name not in self.review.said]


def as_asked(actions: Actions, request: Request) -> Appearance:
    """Show a request as it was asked; of an action that the program does not have any more, its sentence.

    What could not be carried out has none: its arguments did not fit, or no facts could be read for it.
    """
    read = _read(actions, request)
    if read is None:
        # Erasure takes the salt away with the words.
        sentence = request.sentence or (f"{request.action}, erased" if request.salt is None else request.action)
        return Appearance(Review((sentence,), verb="", past="", line=(sentence,), confirm=request.action))
    return show(*read)


def show(action: Action[Any], facts: Facts) -> Appearance:
    """Show an action with these facts."""
    try:
        review = an(Review, action.review(facts), f"{action.tool_name()}.review")
    except Exception:  # whatever it is, people must be able to see and reject it
        logger.exception("%s cannot say how reviewers see it", action.tool_name())
        review = Review((action.tool_name().replace("_", " "),))
    if not review.confirm:
        # Of critical risk it could never be approved: there would be nothing to type.
        review = replace(review, confirm=action.tool_name(), confirm_is="the name of the action")
    return Appearance(review, action, facts)


@dataclass(frozen=True)
class Now:
    """How things stand with an open request at this moment."""

    #: None when it could not be done now.
    shown: Appearance | None
    #: Why not, in a sentence.
    problem: str
    #: Material facts that are not what they were, as (label, what it was): whoever approves it is asked again.
    changed: list[tuple[str, str]]
    activity: Activity | None


def as_it_stands(connection: Connection, judge: Judge, request: Request, turn: Turn, now: datetime) -> Now | None:
    """Read the facts of an open request afresh, and what went before; None when nothing can be read of it."""
    read = _read(judge.actions, request)
    if read is None:
        return None
    action, before = read
    requester = requester_of(turn)
    try:
        judged = judge.judge(
            connection, now, action, requester=requester, number=request.number, plan_id=request.plan_id
        )
    except ActionError as exc:
        return Now(None, str(exc), [], None)
    changed = changed_material(before.model_dump(mode="json"), judged.facts)
    was = dict(zip(type(before).model_fields, shown_facts(before), strict=True))
    activity = _activity(action, Reading(connection, now, requester.id, lambda _: []))
    return Now(show(action, judged.facts), "", [was[name] for name in changed], activity)


def _activity(action: Action[Any], reading: Reading) -> Activity | None:
    try:
        # Within: on PostgreSQL a statement that fails ends the transaction for all that follow, unless it is undone.
        with read_only(reading.connection, facts_of(action.tool_name())):
            went_on = action.activity(reading)
        return None if went_on is None else an(Activity, went_on, f"{action.tool_name()}.activity")
    except TransactionEndedError:
        raise
    except ActionError:
        return None
    except Exception as exc:  # people must be able to see and reject it, without a chart
        if isinstance(exc, DBAPIError) and is_lost(exc):
            raise
        logger.exception("%s cannot say what went on before", action.tool_name())
        return None


def _read(actions: Actions, request: Request) -> tuple[Action[Any], Facts] | None:
    cls = actions.get(request.action)
    if cls is None or request.arguments is None or request.facts is None:
        return None
    try:
        return read_action(cls, request.arguments), cls.facts_type().model_validate(request.facts)
    except (ActionError, ValidationError):  # stored by a program whose action was another
        return None


# In the words of whoever decides


def plain(words: Words) -> str:
    """Give our words, names and ids as one text; before a mark there is no space."""
    text = ""
    for word in words:
        text += word if not text or word[:1] in ",.;:" else f" {word}"
    return line(text, SENTENCE)


def title(review: Review) -> str:
    """Say an action in one line: `Transfer $5,000.00`."""
    return f"{review.verb} {plain(review.what)}".strip()


def heading(request: Request, review: Review) -> str:
    """Say the verb of the heading: what will be, was, or was not done; or that this is not known."""
    if not review.verb:  # erased, or of an action that the program does not have any more
        return "" if request.state == "asked" else f"{STATES[request.state]}:"
    if request.state == "executed":
        return review.past
    if request.is_open and request.state != "asked":
        return f"Will {review.verb[:1].lower()}{review.verb[1:]}"
    if request.state == "asked":
        return review.verb
    if request.is_in_flight:
        known = "In flight" if request.state == "executing" else "Not known whether done"
        return f"{known}: {review.verb[:1].lower()}{review.verb[1:]}"
    return f"Not {review.past[:1].lower()}{review.past[1:]}:"


@dataclass(frozen=True)
class Changed:
    """A line of what changes, with what it was when it was asked for if that is another."""

    change: Change
    was: str | None = None


def material_facts(actions: Actions, request: Request) -> frozenset[str]:
    """Name the facts whose change voids an approval."""
    cls = actions.get(request.action)
    return cls.facts_type().material() if cls else frozenset()


def labels(actions: Actions, request: Request) -> dict[str, str]:
    """Give what people read in place of the facts' names, in their order."""
    cls = actions.get(request.action)
    fields = cls.facts_type().model_fields if cls else {}
    return {name: field.title or label_of(name) for name, field in fields.items()}


def changes(asked: Review, current: Review, material: frozenset[str]) -> list[Changed]:
    """Pair what changes with what was said of it when it was asked for, where that is a material fact.

    Others move all day: to tell of each would teach people to skip what is told.
    """
    before = {plain(change.label): change.before for change in asked.changes if change.fact in material}
    return [
        Changed(change, was if (was := before.get(plain(change.label))) not in (None, change.before) else None)
        for change in current.changes
    ]


def known(asked: Appearance, current: Appearance, material: frozenset[str]) -> list[tuple[str, str, str | None]]:
    """Pair the other facts with what they were when it was asked for, where they are material."""
    before = {name: text for name, _, text in asked.known if name in material}
    return [
        (label, text, was if (was := before.get(name)) not in (None, text) else None)
        for name, label, text in current.known
    ]


def arguments(actions: Actions, request: Request, action: Action[Any] | None = None) -> list[Argument]:
    """List every argument that runs, whatever the action says of itself; none when they were erased.

    `action` is what was read of them, where that was done.
    """
    return read_arguments(actions.get(request.action), request.arguments or {}, action)


def unsaid(called: Sequence[Argument], said: Words) -> list[Argument]:
    """List the arguments that these words do not say: no id, name or amount in them is the argument's whole text.

    Our own words do not count, nor parts of any: a memo "to" would be hidden by "to Mei".
    """
    texts = {one.text.casefold() for one in called}
    # Whether a word is a number is asked of few: it takes longer than to see that it is no argument.
    alike = [word for word in said if word.casefold() in texts]
    values = {word.casefold() for word in alike if isinstance(word, Id | Name) or _is_amount(word)}
    return [one for one in called if one.text and one.text.casefold() not in values]


def _is_amount(word: str) -> bool:
    """Tell whether a word is a number alone, with or without a currency: `$5,000.00`, `−5`, `12.50 EUR`."""
    parts = "".join(one for one in word if category(one) != "Sc").strip("−- ").split()
    number = parts[0].replace(",", "").replace(".", "") if parts else ""
    return number.isdigit() and all(len(unit) == 3 and unit.isalpha() and unit.isupper() for unit in parts[1:])


def concerns(
    request: Request, review: Review, stands: Now | None, called: list[Argument], known: Sequence[Concern]
) -> list[Concern]:
    """List what to look at first, worst first, three at most.

    `called` are the arguments, `known` what the journal knows of the same call elsewhere.
    """
    found: list[Concern] = [concern for concern in known if concern.is_bad]
    if stands and stands.problem:
        found.append(Concern(("As things stand it cannot be done.",), (stands.problem,), is_bad=True))
    if stands and stands.changed:
        names, were = (
            ", ".join(label for label, _ in stands.changed),
            ", ".join(was or "none" for _, was in stands.changed),
        )
        before = f"{'It was' if len(stands.changed) == 1 else 'They were'} {were}."
        text = f"{names}. {before} Approved as it is, it does not run: it is asked again with the new facts."
        found.append(Concern(("Not as it was when it was asked for:",), (text,), is_bad=True))
    if request.notice:
        found.append(Concern(("Asked again.",), (request.notice,)))
    long = [
        Concern((f"{one.label} has {len(one.text):,} characters.",), ("Read all of it before you decide.",))
        for one in called
        if is_cut(one.text)
    ]
    lesser = [concern for concern in known if not concern.is_bad]
    ordered = sorted([*review.concerns, *lesser, *long], key=lambda concern: not concern.is_bad)
    return [*found, *ordered][:3]
