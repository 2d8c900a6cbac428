"""States of requests and starts, and events of the log, as people read them on every page and in the terminal."""

STATES = {
    "asked": "Asked",
    "approved": "Approved",
    "allowed": "Allowed by policy",
    "executing": "Being done elsewhere",
    "unknown": "Nobody knows yet",
    "executed": "Done",
    "failed": "Failed",
    "refused": "Refused",
    "rejected": "Rejected",
    "withdrawn": "Withdrawn",
    "expired": "Expired",
}
#: Of one start of an effect elsewhere.
ATTEMPTS = {
    "executing": "Being done",
    "unknown": "Nobody knows yet",
    "executed": "It happened",
    "failed": "It did not happen",
    "released": "It surely did not happen, so it could be started again",
}
#: The others are their names, in words.
EVENTS = {
    "requested": "Asked",
    "asked_again": "Asked again",
    "approved": "Approved",
    "edited": "Changed",
    "rejected": "Rejected",
    "started": "Started elsewhere",
    "unknown": "Nobody knows whether it was done",
    "reconciling": "Looked up: not known yet",
    "reconciled": "Looked up: known",
    "released": "Surely not done, cleared again",
    "settled": "A person said what became of it",
    "contradicted": "Known to be otherwise than its receipt says",
    "executed": "Done",
    "failed": "Failed",
    "refused": "Refused",
    "withdrawn": "Withdrawn",
    "expired": "Expired",
    "frozen": "Frozen",
    "unfrozen": "Unfrozen",
    "erased": "Erased",
    "tools_taken": "Tools of a server taken as it listed them first",
    "tool_waits": "A tool is new or changed, and waits",
    "tool_accepted": "A tool accepted as it is now",
    "question_put": "Question put",
    "answer_refused": "Answer refused",
}


def event_label(event: str) -> str:
    """Name an audit event for people."""
    return EVENTS.get(event, event.replace("_", " ").capitalize())
