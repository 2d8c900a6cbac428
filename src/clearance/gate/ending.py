"""What ends a turn beside its own words: whatever of it is not carried out is withdrawn."""

from collections.abc import Collection

from clearance.canonical import key
from clearance.gate import deadlines
from clearance.gate.notices import tell_given_up
from clearance.gate.transitions import SYSTEM_ACTOR, answer_turn, withdraw_turn
from clearance.journal.audit import Log
from clearance.journal.plans import plans_of_turn
from clearance.journal.requests import is_any_unfinished
from clearance.journal.tries import MOST_TRIES, count_try
from clearance.journal.turns import open_turns_of, read_turn, turns_of
from clearance.principal import Principal

#: Why what a nested agent asked for is withdrawn when nothing can go on with it any more.
_ORPHANED = "the conversation around the agent that asked for it went on without it"


def end_turn(log: Log, thread_id: str, turn_id: str) -> None:
    """End a turn that something else than the model's words has answered; not while a request of it has no receipt."""
    turn = read_turn(log.connection, turn_id)
    if turn is None or turn.thread_id != thread_id or turn.state != "open":
        return
    if not is_any_unfinished(log.connection, turn_id):
        answer_turn(log, turn, has_requests=True)


def withdraw_thread(log: Log, thread_id: str, *, by: Principal | None = None) -> None:
    """Withdraw what is open in a thread that was deleted; None where nobody knows by whom."""
    because = "its thread was deleted"
    if by is not None:
        because += f" by {by.id}"
    for turn in open_turns_of(log.connection, thread_id):
        withdraw_turn(log, turn, actor=by.id if by else SYSTEM_ACTOR, because=because, cause="deleted")


def withdraw_orphan(log: Log, turn_id: str) -> bool:
    """Withdraw an open turn that its thread has gone on without; tell whether it was open.

    In the outermost graph that is a new message, which its gate has not heard yet.
    """
    turn = read_turn(log.connection, turn_id)
    if turn is None or turn.state != "open":
        return False
    if turn.place:
        withdraw_turn(log, turn, actor=SYSTEM_ACTOR, because=_ORPHANED, cause="orphaned")
    else:
        withdraw_turn(log, turn, actor=SYSTEM_ACTOR)
    return True


def cancel_run(
    log: Log, thread_id: str, run_id: str, *, by: Principal, goes_on_with: str | Collection[str] | None
) -> bool:
    """Withdraw what is open in a thread since its owner cancelled a run; tell whether anything was.

    The run counts for the turns that it opened, and for those that it goes on with, whoever opened them. One that
    somebody else cancelled counts for nothing: an approver must not void what others cleared.
    """
    goes_on = {goes_on_with} if isinstance(goes_on_with, str) else set(goes_on_with or ())
    turns = turns_of(log.connection, thread_id)
    if not turns or turns[0].requested_by != by.id:
        return False
    cancelled = [one for one in turns if one.state == "open" and (one.run_id == run_id or one.turn_id in goes_on)]
    for turn in cancelled:
        withdraw_turn(log, turn, actor=by.id, because=f"{by.id} cancelled the run", cause="cancelled")
    return bool(cancelled)


def begin_run(log: Log, turn_id: str) -> tuple[str, str] | None:
    """Count a run that is to carry on a turn of which nothing is to be decided; None while it may.

    After too many that changed nothing of it the turn ends, and what its thread is told is given: (id, text).
    """
    turn = read_turn(log.connection, turn_id)
    if turn is None or turn.state != "open":
        return None
    plans = plans_of_turn(log.connection, turn_id)
    mark = key(deadlines.mark_of(log.connection, turn), str(len(plans)))
    if count_try(log.connection, turn_id, mark) <= MOST_TRIES:
        return None
    withdraw_turn(log, turn, actor=SYSTEM_ACTOR, because="it could not be carried on", cause="tries")
    return tell_given_up(log, turn)
