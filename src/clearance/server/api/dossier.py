"""One request as it is shown, by the approvals API and by the inbox alike: read here once, said there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from clearance.actions.action import Argument
from clearance.actions.review import Concern, Review
from clearance.desk.choices import Panel, panel
from clearance.desk.comparison import (
    Changed,
    Now,
    arguments,
    as_asked,
    as_it_stands,
    changes,
    concerns,
    known,
    labels,
    material_facts,
)
from clearance.desk.detail import Detail
from clearance.journal.requests import Request
from clearance.parts import Parts
from clearance.principal import Principal
from clearance.server.api.conversation import Talk, read_talk
from clearance.server.upkeep.waking import is_thread_there


@dataclass(frozen=True)
class Dossier:
    """All that there is to show of one request."""

    detail: Detail
    now: datetime
    #: In what words it is shown: as things stand where it is open, else as it was asked.
    review: Review
    #: None where it is over, or nothing can be read of it.
    stands: Now | None
    #: Whether its thread exists; None where it is over, or the server does not tell.
    is_thread_there: bool | None
    concerns: Sequence[Concern]
    #: Every argument of the call.
    arguments: Sequence[Argument]
    changes: Sequence[Changed]
    #: Labels of the facts whose change voids an approval.
    material: Sequence[str]
    #: The other facts: (label, text, what it was when it was asked for, where that is another).
    known: Sequence[tuple[str, str, str | None]]
    talk: Talk
    panel: Panel

    @property
    def request(self) -> Request:
        """The request itself."""
        return self.detail.request


async def read_dossier(
    parts: Parts, detail: Detail, viewer: Principal, now: datetime, *, changed: Now | None = None
) -> Dossier:
    """Read what a request looks like to somebody; `changed` is how a change would be, in place of what stands."""
    request, judge = detail.request, parts.gate.judge
    asked, stands, is_there = as_asked(judge.actions, request), changed, None
    if request.is_open:
        if stands is None:
            stands = await parts.gate.read(lambda c: as_it_stands(c, judge, request, detail.question.turn, now))
        is_there = await is_thread_there(parts, detail.question.turn)
    current = stands.shown if stands and stands.shown else asked
    before = current if changed else asked
    called, material = arguments(judge.actions, request), material_facts(judge.actions, request)
    return Dossier(
        detail=detail,
        now=now,
        review=current.review,
        stands=stands,
        is_thread_there=is_there,
        concerns=concerns(request, current.review, stands, called, detail.question.concerns) if request.is_open else [],
        arguments=called,
        changes=changes(before.review, current.review, material),
        material=[label for name, label in labels(judge.actions, request).items() if name in material],
        known=known(before, current, material),
        talk=await read_talk(detail, {cls.tool_name() for cls in judge.actions}),
        panel=panel(detail, current.review, viewer, now, is_gone=is_there is False),
    )
