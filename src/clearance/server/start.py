"""The start of the server. A bad setting or policy stops it here."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from clearance.application import check_alone, the_clearance, the_parts
from clearance.db.files import close_folder
from clearance.errors import ClearanceError, DatabaseUnavailable
from clearance.loglines import guard_handlers, logger_of, tell_no_start
from clearance.parts import Parts
from clearance.server import aegra, graphs
from clearance.server.entry.wall import note_served, wall
from clearance.server.late import NotLoadedError, reviewers
from clearance.server.upkeep.outcomes import Outcomes
from clearance.server.upkeep.recovery import Asker, recover
from clearance.server.upkeep.timekeeping import timekeeper_of
from clearance.server.upkeep.webhooks import sender_of
from clearance.settings import SettingsError

logger = logger_of(__name__)

_SWITCH_S = 0.0005
#: Nobody is kept waiting by then: whoever asks before it has what reviewers reach loaded at once.
_QUIET_S = 1
#: Where the development server keeps threads, runs and their words, relative to where it runs. Its files are 0644.
_PLATFORMS = Path(".langgraph_api")


@asynccontextmanager
async def running() -> AsyncIterator[None]:
    """Wire the parts, warn about what is open; recover, keep time and send notifications in the background.

    Raises:
        SettingsError, PolicyError, SecondClearanceError: the server does not start, and says where.
    """
    guard_handlers()
    try:
        background = await _start()
    except (ClearanceError, DatabaseUnavailable) as exc:
        tell_no_start(exc)
        raise
    try:
        yield
    finally:
        parts = await the_parts()
        # Not ended by the end of their runs: what a provider is doing just now would become unknown.
        await parts.gate.elsewhere.drained(parts.settings.perform_grace_s)
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)


async def _start() -> "list[asyncio.Task[None]]":
    """Wire the parts and give what goes on in the background. Raises: see `lifespan`."""
    await asyncio.to_thread(close_folder, _PLATFORMS)
    project = await asyncio.to_thread(the_clearance)
    parts = await project.parts()
    check_alone(project)
    if project.at_start is not None:
        await asyncio.to_thread(project.at_start)
    # A decision is some dozens of statements, and after each its thread has to get the interpreter back from whatever
    # computes: that is this long each time. By default 5 ms.
    sys.setswitchinterval(_SWITCH_S)
    if parts.settings.auth == "off":
        logger.warning(
            "NO AUTHENTICATION: everybody who reaches this server is the principal 'local', holds every role and may"
            " approve their own requests; each such decision is marked in the audit log"
        )
    if aegra.is_here():
        if parts.settings.auth == "on" and not aegra.has_auth():
            raise SettingsError("AUTH: is on, but Aegra loaded no authentication; its log says why")
        await aegra.end_dead_runs()
    elif parts.settings.auth == "on" and not _has_auth():
        raise SettingsError(
            "AUTH: is on, but the server's configuration names no authentication; write"
            ' "auth": {"path": "clearance.server.auth:auth"} into langgraph.json'
        )
    here = await wall()
    note_served()
    if parts.settings.auth_both_parts:
        logger.warning(
            "BOTH PARTS: AUTH_BOTH_PARTS is on, so people may approve what they asked for, and LangGraph Studio holds"
            " every role without a key; each such decision is marked in the audit log"
        )
    outcomes = Outcomes(parts)
    outcomes.listen()
    sender = sender_of(parts.settings, parts.gate)
    recovery = asyncio.create_task(recover(parts), name="recovery")
    recovery.add_done_callback(_tell_failure)
    background = [recovery, asyncio.create_task(timekeeper_of(parts).run(), name="timekeeping")]
    background.append(asyncio.create_task(outcomes.run(), name="outcomes"))
    background.append(asyncio.create_task(here.counts.keep(), name="counts of refusals"))
    if aegra.is_here():
        background.append(asyncio.create_task(Asker(parts).run(), name="asking"))
    else:
        background.append(asyncio.create_task(_load_rest(), name="loading"))
    if sender:
        await sender.begin()
        background.append(asyncio.create_task(sender.run(), name="notifications"))
    _greet(parts)
    return background


async def _load_rest() -> None:
    """Load what reviewers reach, once the start is over."""
    await asyncio.sleep(_QUIET_S)
    try:
        await reviewers()
    except NotLoadedError:  # told there; the rest is served, and what people answer in their threads is taken
        return
    gc.freeze()  # as at the end of the start, see `collecting`


def _greet(parts: Parts) -> None:
    """Tell what is held, and where people decide: the server's own first lines name its API and Studio only."""
    held = ", ".join(sorted(cls.tool_name() for cls in parts.gate.judge.actions)) or "nothing: there is no action"
    if not aegra.is_here():  # it loads its graphs later
        if not (gated := graphs.gated_here()):
            logger.warning(
                "no graph of this server has the gate in it, so it holds nothing: see Clearance.add_to and .middleware"
            )
        held += f" (in {', '.join(gated)})" if gated else ""
    logger.info("Clearance holds %s", held)
    roles = " or ".join(parts.gate.judge.policy.roles)
    token = f"; `clearance token NAME --role ROLE` makes a token for development, ROLE is {roles}"
    is_signed_here = parts.settings.auth == "on" and not parts.settings.auth_jwks_url
    logger.info("people decide at /inbox of this server%s", token if is_signed_here else "")


def _has_auth() -> bool:
    from langgraph_api.auth.custom import get_auth_instance

    return get_auth_instance() is not None


def _tell_failure(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (exc := task.exception()):
        logger.error("recovery failed: open turns stay as they are until the next start", exc_info=exc)
