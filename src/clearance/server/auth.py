"""What the server asks before it does anything: the handlers of `langgraph_sdk.Auth`, one for each resource and action.

A server that is given this file by its path loads it as a second copy of the module: what has to be one thing stands in
`wall`.

A server loads it before its start begins, so it leads to little: what the handlers do is loaded by the start.
"""

import asyncio
import importlib
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from langgraph_sdk import Auth
from langgraph_sdk.auth.types import StudioUser

from clearance.principal import LOCAL, STUDIO_ID, Principal
from clearance.server import aegra, graphs
from clearance.server.entry.asked import note_person
from clearance.server.entry.closed_routes import studio_may_enter
from clearance.server.entry.later_runs import deleting, has_later
from clearance.server.entry.sizes import check_metadata

if TYPE_CHECKING:
    from clearance.server.entry.wall import Wall

_WALL = "clearance.server.entry.wall"
_GONE_ON = "Later runs of this thread go on from this one: delete those first, or the thread as a whole."

auth = Auth()
Result = Auth.types.HandlerResult

#: By this everybody sees and runs the assistants that the server made of its graphs.
_MADE_BY = "created_by"


async def _wall() -> "Wall":
    """Give the wall of this process."""
    if _WALL not in sys.modules:  # a server that was set up without our app, whose start loads it: see there
        await asyncio.to_thread(importlib.import_module, _WALL)
    from clearance.server.entry.wall import wall

    return await wall()


@auth.authenticate
async def authenticate(headers: dict[bytes, bytes]) -> dict[str, Any]:
    """Give who sends a request: name and roles of its token."""
    here = await _wall()
    from clearance.server.entry.wall import tell_unless_served

    tell_unless_served()
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


async def _arrived(ctx: Any) -> "tuple[Wall, Principal]":
    here = await _wall()
    person = here.person(ctx.user)
    # `closed_routes` takes Studio's header out; a server set up to authenticate before our middleware meets this.
    if (person.id == STUDIO_ID or isinstance(ctx.user, StudioUser)) and not studio_may_enter(here.parts.settings):
        from clearance.server.entry.wall import SIGN_IN

        raise Auth.exceptions.HTTPException(status_code=401, detail=SIGN_IN)
    return here, person


@auth.on
async def refuse_what_is_not_known(ctx: Any, value: Any) -> bool:
    """Refuse every resource and action that has no handler here: what a later server brings."""
    here, person = await _arrived(ctx)
    await _refuse(ctx, here, person)


async def _refuse(ctx: Any, here: "Wall", person: Principal) -> NoReturn:
    what = f"{ctx.resource}.{ctx.action}"
    await here.refuse(person, "not allowed", f"{what} is not allowed here.", attempt=what)


@auth.on.threads.create
async def create_thread(ctx: Any, value: Any) -> Result:
    """Let everybody make threads; a thread is its maker's, whatever the metadata say.

    They may name the graph that it is for, and else its first run does: none of another runs in it then.
    """
    here, person = await _arrived(ctx)
    if person.kind == "system":
        return None
    if not await here.may_speak(person, str(value.get("thread_id"))):
        await here.refuse(person, "thread", "There is a thread with this id.", status=409)
    metadata = value.get("metadata")
    await here.check_size(person, check_metadata, metadata)
    if metadata is None:
        metadata = value["metadata"] = {}
    await _refuse_told_by_server(here, person, metadata)
    metadata["owner"] = person.id
    if "graph_id" in metadata and metadata["graph_id"] not in graphs.all_graphs():
        metadata["graph_id"] = None
    return here.own_threads(person)


async def _refuse_told_by_server(here: "Wall", person: Principal, metadata: dict[str, Any], **about: Any) -> None:
    from clearance.server.entry.run_options import TOLD_BY_SERVER

    # LangGraph's server hands a thread's metadata down to its runs.
    for name in TOLD_BY_SERVER:
        if name in metadata:
            sentence = f"What a run is and whose, the server tells: leave {name} out of a thread's metadata."
            await here.refuse(person, "metadata", sentence, attempt=f"{name} in the metadata of a thread", **about)


@auth.on.threads.read
async def read_thread(ctx: Any, value: Any) -> Result:
    """Let a person read own threads, and who approves all of gated graphs."""
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
    anything but the thread. And but in threads of graphs that are not gated.
    """
    here, person = await _arrived(ctx)
    if person.kind == "system":
        return None
    thread_id = str(value.get("thread_id"))
    # Aegra gives the body of a state update as it came, so anything may stand beside what makes it one.
    is_state = bool({"values", "as_node", "checkpoint", "checkpoint_id"} & value.keys())
    # To cancel, Aegra names the run, or runs, and nothing else; or no thread, but which of one's own by their status.
    is_cancel = not is_state and (
        value.get("action") in ("interrupt", "rollback")
        or not {"run_id", "run_ids"}.isdisjoint(value)
        or ("status" in value and "thread_id" not in value)
    )
    metadata = value.get("metadata")
    is_patch = not is_state and not is_cancel and isinstance(metadata, dict)
    if is_cancel:
        note_person(person)
        return here.threads_of(person)
    if not is_patch and (here.may_debug or await here.is_others(thread_id)):
        return here.own_threads(person)
    if not is_patch:
        await here.refuse(person, "state", "No client writes the state of a thread.", thread_id=thread_id)
    assert isinstance(metadata, dict)
    await here.check_size(person, check_metadata, metadata, thread_id=thread_id)
    await _refuse_told_by_server(here, person, metadata, thread_id=thread_id)
    fixed = sorted({"owner", "graph_id", "assistant_id"} & metadata.keys())
    if fixed:
        await here.refuse(person, "metadata", f"Nobody changes {' or '.join(fixed)} of a thread.", thread_id=thread_id)
    return here.own_threads(person)


@auth.on.threads.delete
async def delete_thread(ctx: Any, value: Any) -> Result:
    """Let a person delete own threads, and the last run of one; what is open in one is withdrawn, see `threads`."""
    here, person = await _arrived(ctx)
    if person.kind == "system":
        return None
    if "thread_id" not in value:
        await here.refuse(person, "prune", "Threads are deleted one by one.")
    thread_id = str(value["thread_id"])
    # Aegra deletes the run alone.
    is_run = deleting.get() and value.get("run_id") is not None and not aegra.is_here()
    is_ours = is_run and await here.may_speak(person, thread_id) and not await here.is_others(thread_id)
    if is_ours and await has_later(thread_id, str(value["run_id"])):
        await here.refuse(person, "run", _GONE_ON, thread_id=thread_id, status=409)
    note_person(person)
    return here.own_threads(person)


@auth.on.threads.create_run
async def create_run(ctx: Any, value: Any) -> Result:
    """Let in a person's words in own threads and answers of who approves; nothing else."""
    here, person = await _arrived(ctx)
    return await here.let_run(person, value)


# What is of graphs that are not gated is let through as the server has it. Of gated ones nobody makes assistants, whose
# config a run would take on unread, nor crons, whose words nobody says; and without others there is no need of a store.


@auth.on.assistants.read
async def read_assistant(ctx: Any, value: Any) -> Result:
    """Let everybody who is signed in see the graphs and their schemas: Studio and other pages draw from them.

    What a person made of one, with prompts and keys in its config, is theirs alone, to read and to run.
    """
    return _seen_assistants((await _arrived(ctx))[1])


@auth.on.assistants.search
async def search_assistants(ctx: Any, value: Any) -> Result:
    """List the assistants that may be read."""
    return _seen_assistants((await _arrived(ctx))[1])


@auth.on.assistants.create
async def create_assistant(ctx: Any, value: Any) -> Result:
    """Let a person make assistants of graphs that are not gated; they are their maker's."""
    here, person = await _arrived(ctx)
    if value.get("graph_id") not in graphs.others():
        await _refuse(ctx, here, person)
    return _made_own(person, value)


@auth.on.assistants.update
async def update_assistant(ctx: Any, value: Any) -> Result:
    """Let a person change own assistants of graphs that are not gated, and to such."""
    here, person = await _arrived(ctx)
    await _let_others_assistant(ctx, here, person, value.get("assistant_id"))
    if value.get("graph_id") is not None and value["graph_id"] not in graphs.others():
        await _refuse(ctx, here, person)
    return _kept_own(person, value)


@auth.on.assistants.delete
async def delete_assistant(ctx: Any, value: Any) -> Result:
    """Let a person delete own assistants of graphs that are not gated."""
    here, person = await _arrived(ctx)
    await _let_others_assistant(ctx, here, person, value.get("assistant_id"))
    return {"owner": person.id}


@auth.on.crons.create
async def create_cron(ctx: Any, value: Any) -> Result:
    """Let a person make crons of graphs that are not gated, in threads that are none of ours."""
    here, person = await _arrived(ctx)
    payload = value.get("payload")
    run = payload if isinstance(payload, dict) else value  # Aegra gives it flat
    await _let_others_assistant(ctx, here, person, run.get("assistant_id"))
    if value.get("thread_id") is not None:
        graph = await graphs.graph_of_assistant(run.get("assistant_id"))
        await here.check_graph(person, str(value["thread_id"]), graph)
    return _made_own(person, value)


@auth.on.crons.update
async def update_cron(ctx: Any, value: Any) -> Result:
    """Let a person change own crons. Neither server lets the assistant be changed."""
    here, person = await _arrived(ctx)
    if not graphs.others():
        await _refuse(ctx, here, person)
    # Aegra asks nobody when a cron is due: one that was off may be of a thread that has become another graph's since.
    made = await aegra.cron_of(str(value.get("cron_id"))) if aegra.is_here() else None
    if made is not None and made[1] is not None:
        await here.check_graph(person, made[1], await graphs.graph_of_assistant(made[0]))
    return _kept_own(person, value)


@auth.on(resources="crons", actions=("read", "search", "delete"))
async def reach_crons(ctx: Any, value: Any) -> Result:
    """Let a person at own crons."""
    return await _own_where_others_are(ctx)


@auth.on.store(actions=("put", "get", "search", "delete", "list_namespaces"))
async def reach_store(ctx: Any, value: Any) -> None:
    """Let people at the store, which knows neither graphs nor owners, where a graph is that is not gated."""
    await _own_where_others_are(ctx)


async def _own_where_others_are(ctx: Any) -> Result:
    here, person = await _arrived(ctx)
    if not graphs.others():
        await _refuse(ctx, here, person)
    return {"owner": person.id}


async def _let_others_assistant(ctx: Any, here: "Wall", person: Principal, assistant: Any) -> None:
    graph = await graphs.graph_of_assistant(assistant)
    if graph is None:  # none that this person may see
        raise Auth.exceptions.HTTPException(status_code=404, detail="There is no such assistant.")
    if graph not in graphs.others():
        await _refuse(ctx, here, person)


def _seen_assistants(person: Principal) -> dict[str, Any] | None:
    """Filter for the assistants that the server made of its graphs, and somebody's own."""
    return None if person.kind == "system" else {"$or": [{"owner": person.id}, {_MADE_BY: "system"}]}


def _made_own(person: Principal, value: Any) -> Result:
    """Say whose something is, and that it is none of the server's, whatever its metadata say."""
    if not isinstance(value.get("metadata"), dict):
        value["metadata"] = {}
    value["metadata"].pop(_MADE_BY, None)
    value["metadata"]["owner"] = person.id
    return {"owner": person.id}


def _kept_own(person: Principal, value: Any) -> Result:
    """Let nobody give away what is theirs, nor pass it off as the server's."""
    if isinstance(value.get("metadata"), dict):
        for name in ("owner", _MADE_BY):
            value["metadata"].pop(name, None)
    return {"owner": person.id}
