"""What the server asks before it does anything: the handlers of `langgraph_sdk.Auth`, one for each resource and action.

The server loads this file by its path, as a second copy of the module: what has to be one thing stands in `wall`.
"""

from typing import Any

from langgraph_sdk import Auth
from langgraph_sdk.auth.types import StudioUser

from agent.clearance.principal import LOCAL, STUDIO_ID, Principal
from agent.server.cancelling import note_person
from agent.server.closed import studio_may_enter
from agent.server.sizes import check_metadata
from agent.server.wall import GRAPH, SIGN_IN, Wall, wall

auth = Auth()
Result = Auth.types.HandlerResult

#: LangGraph's server hands a thread's metadata down to its runs, and by the run's id their checkpoints tell whose words
#: stand in them.
_NO_RUN_ID = "A run's id is given by the server: leave run_id out of a thread's metadata."


@auth.authenticate
async def authenticate(headers: dict[bytes, bytes]) -> dict[str, Any]:
    """Give who sends a request: name and roles of its token."""
    here = await wall()
    if here.parts.settings.auth == "off":
        return {"identity": LOCAL.id, "is_authenticated": True, "permissions": [], "roles": []}
    known = await here.sign_in(headers)
    # Nothing of a token but these: a claim must not become a field that means something here.
    return {
        "identity": known.name,
        "display_name": known.name,
        "is_authenticated": True,
        "permissions": [],
        "roles": list(known.roles),
    }


async def _arrived(ctx: Any) -> tuple[Wall, Principal]:
    here = await wall()
    person = here.person(ctx.user)
    # `closed` takes Studio's header out; a server that is set up to authenticate before our middleware meets this.
    if (person.id == STUDIO_ID or isinstance(ctx.user, StudioUser)) and not studio_may_enter(here.parts.settings):
        raise Auth.exceptions.HTTPException(status_code=401, detail=SIGN_IN)
    return here, person


@auth.on
async def refuse_what_is_not_known(ctx: Any, value: Any) -> bool:
    """Refuse every resource and action that has no handler here: crons, the store, and what a later server brings."""
    here, person = await _arrived(ctx)
    what = f"{ctx.resource}.{ctx.action}"
    await here.refuse(person, "not allowed", f"{what} is not allowed here.", attempt=what)


@auth.on.threads.create
async def create_thread(ctx: Any, value: Any) -> Result:
    """Let everybody make threads; a thread is its maker's, whatever the metadata say."""
    here, person = await _arrived(ctx)
    if person.kind == "system":
        return None
    if not await here.may_speak(person, str(value.get("thread_id"))):
        await here.refuse(person, "thread", "There is a thread with this id.", status=409)
    metadata = value.get("metadata")
    await here.check_size(person, check_metadata, metadata)
    if metadata is None:
        metadata = value["metadata"] = {}
    if "run_id" in metadata:
        await here.refuse(person, "metadata", _NO_RUN_ID, attempt="run_id in the metadata of a thread")
    metadata.update(owner=person.id, graph_id=GRAPH)
    return here.own_threads(person)


@auth.on.threads.read
async def read_thread(ctx: Any, value: Any) -> Result:
    """Let a person read own threads, and who approves all of this graph."""
    here, person = await _arrived(ctx)
    return here.threads_of(person)


@auth.on.threads.search
async def search_threads(ctx: Any, value: Any) -> Result:
    """List what may be read."""
    here, person = await _arrived(ctx)
    return here.threads_of(person)


@auth.on.threads.update
async def update_thread(ctx: Any, value: Any) -> Result:
    """Let runs be cancelled and metadata be written; the state of a thread is written by nobody.

    But where Studio debugs, by whose thread it is: the gate alone keeps its promises there, and tells in the thread
    what it does not believe. The server gives a state update, and a forged history at the making of a thread, without
    anything but the thread.
    """
    here, person = await _arrived(ctx)
    if person.kind == "system":
        return None
    thread_id = str(value.get("thread_id"))
    # Aegra gives the body of a state update as it came, so anything may stand beside what makes it one.
    is_state = bool({"values", "as_node", "checkpoint", "checkpoint_id"} & value.keys())
    # To cancel, Aegra names the run and nothing else.
    is_cancel = not is_state and (value.get("action") in ("interrupt", "rollback") or "run_id" in value)
    metadata = value.get("metadata")
    is_patch = not is_state and not is_cancel and isinstance(metadata, dict)
    if is_cancel:
        note_person(person)
        return here.threads_of(person)
    if not is_patch and here.may_debug:
        return here.own_threads(person)
    if not is_patch:
        await here.refuse(person, "state", "No client writes the state of a thread.", thread_id=thread_id)
    assert isinstance(metadata, dict)
    await here.check_size(person, check_metadata, metadata, thread_id=thread_id)
    if "run_id" in metadata:
        await here.refuse(person, "metadata", _NO_RUN_ID, thread_id=thread_id)
    fixed = sorted({"owner", "graph_id", "assistant_id"} & metadata.keys())
    if fixed:
        await here.refuse(person, "metadata", f"Nobody changes {' or '.join(fixed)} of a thread.", thread_id=thread_id)
    return here.own_threads(person)


@auth.on.threads.delete
async def delete_thread(ctx: Any, value: Any) -> Result:
    """Let a person delete own threads; what is open in one is withdrawn, see `threads`."""
    here, person = await _arrived(ctx)
    if person.kind == "system":
        return None
    if "thread_id" not in value:
        await here.refuse(person, "prune", "Threads are deleted one by one.")
    note_person(person)
    return here.own_threads(person)


@auth.on.threads.create_run
async def create_run(ctx: Any, value: Any) -> Result:
    """Let in a person's words in own threads and answers of who approves; nothing else."""
    here, person = await _arrived(ctx)
    return await here.let_run(person, value)


@auth.on.assistants.read
async def read_assistant(ctx: Any, value: Any) -> None:
    """Let everybody who is signed in see the graph and its schemas: Studio and other pages draw from them."""
    await _arrived(ctx)


@auth.on.assistants.search
async def search_assistants(ctx: Any, value: Any) -> None:
    """List the assistants, which nobody but the server makes."""
    await _arrived(ctx)
