"""The journal's tables: turns, plans, requests, decisions, receipts, audit. Invariants stand here, Python explains.

What is personal is nullable and can be erased; what the audit log needs is ids, digests and times.
"""

import sqlalchemy as sa

from clearance.db.partial import partial_index
from clearance.db.types import UtcTime

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: States of a request that wait for something; of those, the ones that wait for no person; of one whose effect is
#: elsewhere, was started, and has no outcome yet; and those that have a receipt.
OPEN_STATES = ("asked", "approved", "allowed")
CLEARED_STATES = ("approved", "allowed")
IN_FLIGHT_STATES = ("executing", "unknown")
OUTCOMES = ("executed", "failed", "refused", "rejected", "withdrawn", "expired")


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


turns = sa.Table(
    "turns",
    metadata,
    sa.Column("turn_id", sa.Text, primary_key=True),
    sa.Column("thread_id", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False, doc="1 for the first turn of its thread"),
    sa.Column("run_id", sa.Text, nullable=True, doc="the run that began it; None in the library"),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("requester_kind", sa.Text, nullable=False),
    sa.Column("requester_roles", sa.JSON(none_as_null=True), nullable=False),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column(
        "messages",
        sa.JSON(none_as_null=True),
        nullable=False,
        doc="what the person wrote: [{id, content}]; the contents can be erased, the ids stay",
    ),
    sa.Column("is_durable", sa.Boolean, nullable=False, doc="whether its run keeps the thread"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("opened_at", UtcTime, nullable=False),
    sa.Column("closed_at", UtcTime, nullable=True),
    sa.Column("salt", sa.Text, nullable=True, doc="of its and its plans' digests in the audit log; erased with words"),
    sa.Column(
        "version",
        sa.Integer,
        nullable=True,
        doc="grows with each change, the audit log tells the last; None: unchanged since before the log bound rows",
    ),
    sa.Column(
        "place", sa.Text, nullable=False, server_default="", doc="where in its thread: empty for the outermost graph"
    ),
    sa.Column(
        "checkpoint_id",
        sa.Text,
        nullable=True,
        doc="of the graph around it, where it began; None for the outermost graph",
    ),
    sa.Column("graph_id", sa.Text, nullable=True, doc="the server's graph that it runs in; None outside a server"),
    sa.CheckConstraint(_one_of("state", ("open", "answered", "withdrawn")), name="state"),
    sa.CheckConstraint(_one_of("requester_kind", ("person", "local", "system")), name="requester_kind"),
    sa.CheckConstraint("(state = 'open') = (closed_at IS NULL)", name="closed"),
    sa.UniqueConstraint("thread_id", "number"),
)
# One place of a conversation has one turn at a time: a second open turn would let two plans race.
partial_index(
    "uq_turns_open",
    turns.c.thread_id,
    turns.c.place,
    unique=True,
    where=turns.c.state == "open",
)
# Those of nested agents are looked at again and again: of all that is open, a few.
_NESTED = sa.text("state = 'open' AND place <> ''")
partial_index("ix_turns_nested", turns.c.opened_at, where=_NESTED)

plans = sa.Table(
    "plans",
    metadata,
    sa.Column("plan_id", sa.Text, primary_key=True),
    sa.Column("turn_id", sa.ForeignKey("turns.turn_id"), nullable=False),
    sa.Column("position", sa.Integer, nullable=False, doc="0 for the first AI message of the turn"),
    sa.Column("thread_id", sa.Text, nullable=False),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column(
        "message",
        sa.JSON(none_as_null=True),
        nullable=True,
        doc="the AI message as the model gave it; None when erased",
    ),
    sa.Column("digest", sa.Text, nullable=False, doc="of text and calls, to see tampering without loading them"),
    sa.Column("opened", sa.Boolean, nullable=False, doc="whether its requests have been opened"),
    sa.Column("stored_at", UtcTime, nullable=False),
    sa.Column("version", sa.Integer, nullable=True, doc="as in `turns`"),
    sa.UniqueConstraint("turn_id", "position"),
    sa.UniqueConstraint("thread_id", "message_id"),
)

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("request_id", sa.Text, primary_key=True, doc="derived from turn, AI message and tool call"),
    sa.Column("number", sa.BigInteger, nullable=False, unique=True, doc="order in which requests were opened"),
    sa.Column("plan_id", sa.ForeignKey("plans.plan_id"), nullable=False),
    sa.Column("turn_id", sa.ForeignKey("turns.turn_id"), nullable=False),
    sa.Column("thread_id", sa.Text, nullable=False),
    sa.Column("tool_call_id", sa.Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False, doc="index of the call in its AI message"),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column(
        "arguments",
        sa.JSON(none_as_null=True),
        nullable=True,
        doc="None when they did not fit the action, or were erased",
    ),
    sa.Column("digest", sa.Text, nullable=True, doc="sha256 of action and canonical arguments"),
    sa.Column("salt", sa.Text, nullable=True, doc="of the digests in the audit log; erased with the arguments"),
    sa.Column("facts", sa.JSON(none_as_null=True), nullable=True),
    sa.Column("sentence", sa.Text, nullable=True, doc="what will happen, as the reviewer reads it"),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("rule", sa.Text, nullable=False),
    sa.Column("risk", sa.Text, nullable=False),
    sa.Column(
        "approvers",
        sa.JSON(none_as_null=True),
        nullable=True,
        doc="roles a decider must hold, all of them; None unless asked",
    ),
    sa.Column("approvals", sa.Integer, nullable=False, doc="how many different people must approve; 0 unless asked"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, doc="grows with each edit and each asking with other facts"),
    sa.Column("notice", sa.Text, nullable=True, doc="why it is asked again: shown to the reviewer"),
    sa.Column("opened_at", UtcTime, nullable=False),
    sa.Column("expires_at", UtcTime, nullable=False),
    sa.Column(
        "asked_ms", sa.BigInteger, nullable=True, doc="wall clock of the last asking, ms; an older answer is refused"
    ),
    sa.Column("refused_answers", sa.Integer, nullable=False, server_default="0"),
    sa.Column("needs", sa.Text, nullable=False, server_default="", doc="`approvers` as text, to be looked up by"),
    sa.Column("finished_at", UtcTime, nullable=True, doc="when its receipt was written; None while it is open"),
    sa.Column("version", sa.Integer, nullable=True, doc="as in `turns`"),
    sa.Column(
        "business_key",
        sa.Text,
        nullable=True,
        doc="of an external action: what must not be in flight twice; None for others, and when erased",
    ),
    sa.CheckConstraint(_one_of("state", OPEN_STATES + IN_FLIGHT_STATES + OUTCOMES), name="state"),
    sa.CheckConstraint(_one_of("verdict", ("allow", "ask", "deny")), name="verdict"),
    sa.CheckConstraint(_one_of("risk", ("low", "medium", "high", "critical")), name="risk"),
    # Nothing that policy did not allow can stand as allowed, nothing unasked as approved.
    sa.CheckConstraint("state <> 'allowed' OR verdict = 'allow'", name="allowed_by_policy"),
    sa.CheckConstraint(
        "state NOT IN ('asked', 'approved') OR (approvals >= 1 AND approvers IS NOT NULL)", name="asked_of_whom"
    ),
    sa.CheckConstraint("revision >= 1", name="revision"),
    sa.UniqueConstraint("plan_id", "tool_call_id"),
    sa.UniqueConstraint("plan_id", "position"),
)
# Whoever asks and however: what is in flight is not started a second time.
_IN_FLIGHT = sa.text(_one_of("state", IN_FLIGHT_STATES))
partial_index(
    "uq_requests_in_flight",
    requests.c.business_key,
    unique=True,
    where=_IN_FLIGHT,
)
sa.Index("ix_requests_thread", requests.c.thread_id, requests.c.number)
# The same call again: same action, same arguments.
sa.Index("ix_requests_digest", requests.c.digest, requests.c.finished_at)
partial_index(
    "ix_requests_due",
    requests.c.expires_at,
    requests.c.request_id,
    where=requests.c.state.in_(OPEN_STATES),
)

# What is open, first to expire first, and what is decided, last first: a page of either costs the same however many
# there are, with one filter as without; with several no row is looked at that the others leave out. In this order: of
# several that would do SQLite takes the one that was made last, and a person has the fewest rows.
# What waits for somebody is counted beside every page, a thousand at most: that is read without a look at the rows.
_FILTERS = {"risk": ("action", "requested_by"), "action": ("risk", "requested_by"), "requested_by": ("risk", "action")}
_WAITS = {"needs": ("requested_by", "approvals", "revision")}
for _filter, _beside in {**_FILTERS, **_WAITS}.items():
    partial_index(
        f"ix_requests_open_{_filter}",
        requests.c[_filter],
        requests.c.expires_at,
        requests.c.request_id,
        *(requests.c[_name] for _name in ("state", *_beside)),
        where=requests.c.state.in_(OPEN_STATES),
    )
for _filter, _beside in _FILTERS.items():
    partial_index(
        f"ix_requests_decided_{_filter}",
        requests.c[_filter],
        requests.c.finished_at,
        requests.c.request_id,
        *(requests.c[_name] for _name in _beside),
        where=requests.c.finished_at.is_not(None),
    )
partial_index(
    "ix_requests_decided",
    requests.c.finished_at,
    requests.c.request_id,
    where=requests.c.finished_at.is_not(None),
)

# What is new, and how many there are by state; what may be approved by somebody and still waits.
partial_index(
    "ix_requests_open_opened",
    requests.c.opened_at,
    requests.c.state,
    where=requests.c.state.in_(OPEN_STATES),
)
_BEGUN = sa.text(f"{_one_of('state', OPEN_STATES)} AND (state <> 'asked' OR approvals > 1)")
partial_index(
    "ix_requests_open_begun",
    requests.c.expires_at,
    requests.c.request_id,
    where=_BEGUN,
)
# What is cleared and not carried out, by which each effect counts what stands before it: of all that is open, a little.
_CLEARED = sa.text(_one_of("state", CLEARED_STATES))
partial_index(
    "ix_requests_cleared",
    requests.c.action,
    requests.c.number,
    where=_CLEARED,
)
# What the policy said of all of a period, without a look at the rows. Of all requests, and for who says so: SQLite
# would take it for any list that is in the order of opening, and read all that is decided for the few in flight.
_EVERY = sa.text(_one_of("verdict", ("allow", "ask", "deny")))
partial_index(
    "ix_requests_opened",
    requests.c.opened_at,
    requests.c.action,
    requests.c.verdict,
    where=_EVERY,
)

request_subjects = sa.Table(
    "request_subjects",
    metadata,
    sa.Column("request_id", sa.ForeignKey("requests.request_id"), primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True, doc="whom it concerns, so that erasure finds it"),
)
sa.Index("ix_request_subjects_subject", request_subjects.c.subject)

erasures = sa.Table(
    "erasures",
    metadata,
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("request_id", sa.ForeignKey("requests.request_id"), nullable=False, doc="the request that erased"),
    sa.Column("erased_at", UtcTime, nullable=False),
    sa.Column("version", sa.Integer, nullable=True, doc="as in `turns`"),
)

# For each receipt that is verified it is asked whether it is an eraser's.
sa.Index("ix_erasures_request", erasures.c.request_id)

decisions = sa.Table(
    "decisions",
    metadata,
    sa.Column("decision_id", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False, doc="1 for the first decision on its request"),
    sa.Column("request_id", sa.ForeignKey("requests.request_id"), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, doc="the revision that was decided on"),
    sa.Column("digest", sa.Text, nullable=True, doc="of what was decided on; None when erased"),
    sa.Column("decision", sa.Text, nullable=False),
    sa.Column("decided_by", sa.Text, nullable=False),
    sa.Column("decider_kind", sa.Text, nullable=False),
    sa.Column("decider_roles", sa.JSON(none_as_null=True), nullable=False, doc="as they were then"),
    sa.Column("reason", sa.Text, nullable=True),
    sa.Column(
        "edited",
        sa.JSON(none_as_null=True),
        nullable=True,
        doc="the arguments that an edit put; None otherwise or when erased",
    ),
    sa.Column("counts", sa.Boolean, nullable=False, doc="whether it counts as an approval of the current revision"),
    sa.Column("lapsed", sa.Text, nullable=True, doc="why it counts no more; None while it does"),
    sa.Column("decided_at", UtcTime, nullable=False),
    sa.Column("version", sa.Integer, nullable=True, doc="as in `turns`"),
    sa.CheckConstraint(_one_of("decision", ("approve", "edit", "reject")), name="decision"),
    sa.CheckConstraint(_one_of("decider_kind", ("person", "local")), name="decider_kind"),
    sa.CheckConstraint("NOT (counts AND lapsed IS NOT NULL)", name="lapsed"),
    sa.CheckConstraint("NOT counts OR decision IN ('approve', 'edit')", name="counts"),
    sa.UniqueConstraint("request_id", "number"),
)
# Two approvals are two people.
partial_index(
    "uq_decisions_one_approval_each",
    decisions.c.request_id,
    decisions.c.decided_by,
    unique=True,
    where=sa.text("counts"),
)

sa.Index("ix_decisions_decided", decisions.c.decided_at)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("attempt_id", sa.Text, primary_key=True, doc="derived from request and number"),
    sa.Column("request_id", sa.ForeignKey("requests.request_id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False, doc="1 for the first start of its request"),
    sa.Column("revision", sa.Integer, nullable=False, doc="the revision that was cleared"),
    sa.Column("idempotency_key", sa.Text, nullable=False, doc="of request and revision: the same when sent again"),
    sa.Column("cleared_as", sa.Text, nullable=False, doc="the request's state before: approved or allowed"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("holder", sa.Text, nullable=False, doc="the process that started it"),
    sa.Column("started_at", UtcTime, nullable=False),
    sa.Column("late_at", UtcTime, nullable=False, doc="when it ought to have ended"),
    sa.Column("absent_at", UtcTime, nullable=False, doc="from when on what is not known there did not happen"),
    sa.Column("cause", sa.Text, nullable=True, doc="why its outcome is unknown, in a word; None while it is not"),
    sa.Column("looks", sa.Integer, nullable=False, doc="how often it was looked up"),
    sa.Column("last_look", sa.Text, nullable=True, doc="what the last look-up said, words of ours"),
    sa.Column("next_look_at", UtcTime, nullable=True, doc="None while it is not looked up"),
    sa.Column("ended_at", UtcTime, nullable=True, doc="None while it is in flight"),
    sa.Column("settled_by", sa.Text, nullable=True, doc="the person who said what became of it; None otherwise"),
    sa.Column("reason", sa.Text, nullable=True, doc="theirs; None otherwise, and when erased"),
    sa.Column("told_at", UtcTime, nullable=True, doc="when a thread was told that had gone on without it"),
    sa.Column("version", sa.Integer, nullable=True, doc="as in `turns`"),
    sa.CheckConstraint(_one_of("state", ("executing", "unknown", "executed", "failed", "released")), name="state"),
    sa.CheckConstraint(_one_of("cleared_as", ("approved", "allowed")), name="cleared_as"),
    sa.CheckConstraint(f"({_one_of('state', IN_FLIGHT_STATES)}) = (ended_at IS NULL)", name="ended"),
    sa.UniqueConstraint("request_id", "number"),
)
# A request is started again only once what became of the attempt before is known.
_FLYING = sa.text(_one_of("state", IN_FLIGHT_STATES))
partial_index("uq_attempts_in_flight", attempts.c.request_id, unique=True, where=_FLYING)

receipts = sa.Table(
    "receipts",
    metadata,
    # The primary key is what makes it once: a second effect of the same request cannot commit its receipt.
    sa.Column("request_id", sa.ForeignKey("requests.request_id"), primary_key=True),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("sentence", sa.Text, nullable=True, doc="what the model and people are told; None when erased"),
    sa.Column("finished_at", UtcTime, nullable=False),
    sa.Column("version", sa.Integer, nullable=True, doc="as in `turns`"),
    sa.CheckConstraint(_one_of("outcome", OUTCOMES), name="outcome"),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False),
    sa.Column("at", sa.Text, nullable=False, doc="UTC, ISO 8601 with microseconds: text, as it was signed"),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("thread_id", sa.Text, nullable=True),
    sa.Column("turn_id", sa.Text, nullable=True),
    sa.Column("request_id", sa.Text, nullable=True),
    sa.Column("details", sa.Text, nullable=False, doc="canonical JSON: ids, salted digests, words of ours"),
    sa.Column("mac", sa.Text, nullable=False, doc="HMAC-SHA256 over the row and the mac before it"),
)
# The newest rows of a kind, of somebody, of both, or about one request: a page costs the same however long the log is.
sa.Index("ix_audit_request", audit.c.request_id, audit.c.seq)
sa.Index("ix_audit_turn", audit.c.turn_id, audit.c.seq)
sa.Index("ix_audit_event", audit.c.event, audit.c.seq)
sa.Index("ix_audit_actor", audit.c.actor, audit.c.seq)
sa.Index("ix_audit_actor_event", audit.c.actor, audit.c.event, audit.c.seq)

audit_head = sa.Table(
    "audit_head",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, doc="always 1: the row that every gate write locks first"),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("mac", sa.Text, nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("requests", sa.BigInteger, nullable=False, doc="how many requests were ever opened"),
    sa.Column("key_id", sa.Text, nullable=True, doc="fingerprint of the key that signs; None until the next row"),
    sa.Column("bound_from", sa.BigInteger, nullable=True, doc="row from which on the log binds; None until the next"),
    sa.Column("frozen", sa.Boolean, nullable=False),
    sa.Column("frozen_at", UtcTime, nullable=True),
    sa.Column("frozen_by", sa.Text, nullable=True),
    sa.Column("frozen_reason", sa.Text, nullable=True),
    sa.CheckConstraint("id = 1", name="single"),
    sa.CheckConstraint("frozen = (frozen_by IS NOT NULL)", name="frozen"),
)

_ACCEPTED, _WAITING = sa.text("state = 'accepted'"), sa.text("state = 'waiting'")
tool_definitions = sa.Table(
    "tool_definitions",
    metadata,
    # What tools are that are not written here, by every definition that was seen of them.
    sa.Column("tool_id", sa.Text, primary_key=True, doc="derived from server, name and number"),
    sa.Column("server", sa.Text, nullable=False, doc="as the project calls it"),
    sa.Column("name", sa.Text, nullable=False, doc="as the server calls the tool"),
    sa.Column("number", sa.Integer, nullable=False, doc="1 for the first definition of its tool"),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("definition", sa.JSON(none_as_null=True), nullable=False, doc="description, schema and hints"),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("seen_at", UtcTime, nullable=False),
    sa.Column("decided_at", UtcTime, nullable=True),
    sa.Column("decided_by", sa.Text, nullable=True, doc="who looked; 'system' for what a server listed first"),
    sa.Column("version", sa.Integer, nullable=True, doc="as in `turns`"),
    sa.CheckConstraint(_one_of("state", ("waiting", "accepted", "replaced")), name="state"),
    sa.CheckConstraint("(state = 'waiting') = (decided_by IS NULL)", name="decided"),
    sa.UniqueConstraint("server", "name", "number"),
)
# Of one tool one definition is the one that is called, and one waits.
partial_index(
    "uq_tool_definitions_accepted", tool_definitions.c.server, tool_definitions.c.name, unique=True, where=_ACCEPTED
)
partial_index(
    "uq_tool_definitions_waiting", tool_definitions.c.server, tool_definitions.c.name, unique=True, where=_WAITING
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("until", UtcTime, nullable=False),
)

questions = sa.Table(
    "questions",
    metadata,
    sa.Column("thread_id", sa.Text, primary_key=True),
    sa.Column("interrupt_id", sa.Text, primary_key=True, doc="the id that clients answer by"),
    sa.Column("request_id", sa.ForeignKey("requests.request_id"), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False, doc="the revision that it shows"),
    sa.Column("checkpoint_id", sa.Text, nullable=True, doc="where the thread waits with it; None where nobody tells"),
    sa.Column("asked_ms", sa.BigInteger, nullable=False, doc="wall clock when it was put, ms since 1970"),
    sa.Column("version", sa.Integer, nullable=True, doc="as in `turns`"),
)
sa.Index("ix_questions_thread", questions.c.thread_id, questions.c.asked_ms)
sa.Index("ix_questions_request", questions.c.request_id)
sa.Index("ix_questions_interrupt", questions.c.interrupt_id)

notices = sa.Table(
    "notices",
    metadata,
    sa.Column("thread_id", sa.Text, primary_key=True),
    sa.Column("message_id", sa.Text, primary_key=True, doc="of the message that tells it in the thread"),
    sa.Column("text", sa.Text, nullable=False, doc="words of ours, nothing personal; or the notice they are told in"),
    sa.Column("at", UtcTime, nullable=False),
)

tries = sa.Table(
    "tries",
    metadata,
    sa.Column("subject", sa.Text, primary_key=True, doc="the turn or the request that was tried"),
    sa.Column("mark", sa.Text, nullable=False, doc="how it stood then; with another one it got somewhere"),
    sa.Column("count", sa.Integer, nullable=False, doc="tries with this mark"),
)

refusals = sa.Table(
    "refusals",
    metadata,
    # Outside the chain, and few of each person in a minute: a flood cannot grow the log. The totals are chained.
    sa.Column("refusal_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("person", sa.Text, nullable=False, doc="as the server authenticated them; 'nobody' when it did not"),
    sa.Column("cause", sa.Text, nullable=False),
    sa.Column("thread_id", sa.Text, nullable=True),
    sa.Column("attempt", sa.Text, nullable=True, doc="what was tried, cut; None where only the cause is known"),
)
sa.Index("ix_refusals_person", refusals.c.person, refusals.c.refusal_id)

refusal_totals = sa.Table(
    "refusal_totals",
    metadata,
    sa.Column("minute", UtcTime, primary_key=True, doc="its beginning"),
    sa.Column("person", sa.Text, primary_key=True),
    sa.Column("cause", sa.Text, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("chained", sa.BigInteger, nullable=False, doc="how many of them the audit log tells of"),
    sa.Column("salt", sa.Text, nullable=True, doc="of the digest in the audit log; one for each person and minute"),
    sa.Column("version", sa.Integer, nullable=True, doc="how often it was told; as in `turns`"),
    sa.CheckConstraint("chained <= count", name="chained"),
)
partial_index(
    "ix_refusal_totals_unchained",
    refusal_totals.c.minute,
    where=refusal_totals.c.chained < refusal_totals.c.count,
)

cursors = sa.Table(
    "cursors",
    metadata,
    sa.Column("name", sa.Text, primary_key=True, doc="who reads the audit log"),
    sa.Column("seq", sa.BigInteger, nullable=False, doc="the last row that was read"),
)

notifications = sa.Table(
    "notifications",
    metadata,
    # The outbox: filled from the audit log, whose rows commit with what they tell of, so a crash loses none. What is
    # personal is read from the request when it is sent, so that erasure need not know this table.
    sa.Column("notification_id", sa.Text, primary_key=True, doc="receivers tell a repeated delivery by it"),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("request_id", sa.ForeignKey("requests.request_id"), nullable=True),
    sa.Column("details", sa.JSON(none_as_null=True), nullable=False, doc="words of ours and ids, nothing personal"),
    sa.Column("created_at", UtcTime, nullable=False),
    sa.Column("next_at", UtcTime, nullable=True, doc="when it is tried next; None when it is over"),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("delivered_at", UtcTime, nullable=True),
    sa.Column("last_error", sa.Text, nullable=True),
    sa.CheckConstraint("delivered_at IS NULL OR next_at IS NULL", name="over"),
)
partial_index(
    "ix_notifications_next",
    notifications.c.next_at,
    where=notifications.c.next_at.is_not(None),
)
