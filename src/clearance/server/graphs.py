"""Which graphs this server has, which of them are gated, and in which graph a thread is.

Nobody names them: a graph is gated when our steps are in it, or when it had a turn of ours.
"""

from collections.abc import Mapping
from uuid import UUID, uuid5

from langgraph_sdk import get_client
from langgraph_sdk.errors import NotFoundError, UnprocessableEntityError

from clearance.errors import DatabaseUnavailable
from clearance.server import aegra

#: Of those of this server, by name: the graph, and whether our steps are in it. A graph may be loaded anew.
_looked_at: dict[str, tuple[object, bool]] = {}
#: Graphs that had a turn of ours.
_known: set[str] = set()


def all_graphs() -> Mapping[str, object]:
    """Give the graphs of this server by name, each as it was loaded: a graph, or a function that makes one."""
    if aegra.is_here():
        return aegra.graphs()
    from langgraph_api.graph import GRAPHS

    loaded: Mapping[str, object] = GRAPHS
    return loaded


def note_gated(names: set[str]) -> None:
    """Note graphs that had a turn of ours: they are gated, whatever can be seen of them."""
    _known.update(names)


def gated() -> list[str]:
    """Give the names of the gated graphs, in order."""
    from clearance.graph import reach  # loaded by the start; not with the handlers, which a server loads before it

    loaded = all_graphs()
    for name, graph in loaded.items():
        if name not in _looked_at or _looked_at[name][0] is not graph:
            _looked_at[name] = graph, reach.is_gated(graph)
    return sorted({name for name in loaded if _looked_at[name][1]} | _known)


def others() -> list[str]:
    """Give the names of this server's graphs that are not gated."""
    return sorted(all_graphs().keys() - set(gated()))


def gated_here() -> list[str]:
    """Give the names of the gated graphs that this server has, in order."""
    return [name for name in gated() if name in all_graphs()]


def only_gated() -> str | None:
    """Give the name of the one gated graph of this server; None where it has several, or none."""
    here = gated_here()
    return here[0] if len(here) == 1 else None


def model_node(graph: str) -> str:
    """Give what the node is called in which the model of this graph of the server speaks."""
    from clearance.graph import reach

    return reach.model_node(all_graphs().get(graph))


async def graph_of_assistant(assistant: object) -> str | None:
    """Give the graph of an assistant, which may be named as its graph is; None where there is no such assistant."""
    named = str(assistant)
    loaded = all_graphs()
    if named in loaded:
        return named
    try:
        assistant_id = UUID(named)
    except ValueError:
        return None
    for name in loaded:
        if uuid5(_namespace(), name) == assistant_id:
            return name
    if aegra.is_here():
        return await aegra.graph_of_assistant(str(assistant_id))
    try:
        return str((await get_client(url=None).assistants.get(str(assistant_id)))["graph_id"])
    except NotFoundError:
        return None


async def is_assistant_of_others(assistant: object) -> bool:
    """Tell whether an assistant is of a graph that is not gated."""
    try:
        return await graph_of_assistant(assistant) in others()
    except DatabaseUnavailable:
        return False


def _namespace() -> UUID:
    """Give the namespace in which the server makes an assistant's id of a graph's name."""
    if aegra.is_here():
        from aegra_api.constants import ASSISTANT_NAMESPACE_UUID

        return UUID(str(ASSISTANT_NAMESPACE_UUID))
    from langgraph_api.graph import NAMESPACE_GRAPH

    return UUID(str(NAMESPACE_GRAPH))


async def graph_of_row(thread_id: str) -> str | None:
    """Give the graph that the server's row of a thread names: that of its last run, or one that it was made for."""
    if aegra.is_here():
        return await aegra.graph_of_thread(thread_id)
    try:
        found = (await get_client(url=None).threads.get(thread_id))["metadata"] or {}
    except (NotFoundError, UnprocessableEntityError):  # 422: no id at all
        return None
    named = found.get("graph_id")
    return str(named) if named else None
