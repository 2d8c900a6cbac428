"""Whether a graph has our steps in it: found in the graph itself, so that nobody has to name which graphs are gated.

A server loads a graph's file by its path, as a module of its own: what that file imported is the same for all, and so
are the classes of ours that a compiled graph refers to, however deep.
"""

import dis
import functools
import sys
import types
from collections.abc import Iterator

from clearance.application import Clearance
from clearance.graph.steps import Steps

#: Nothing that one of these made leads to a graph: what is reached of them is not looked into.
_NO_GRAPHS = sys.stdlib_module_names - {"functools", "types", "collections", "builtins"} | {
    "pydantic", "pydantic_core", "httpx", "httpcore", "openai", "anthropic", "sqlalchemy", "starlette",
}  # fmt: skip
#: What a function of these uses of its module is their own.
_LIBRARIES = sys.stdlib_module_names | {
    "langgraph", "langgraph_api", "aegra_api", "langchain", "langchain_core", "deepagents", "clearance",
}  # fmt: skip
#: Puts our steps into a graph that is made with each run.
_MAKES = {"add_to", "middleware"}
#: Objects that are looked at. A graph that refers to more than that counts as gated: nobody looked at all of it.
_MOST = 200_000


def is_gated(graph: object) -> bool:
    """Tell whether a graph, or a function that makes one, leads to our steps: at its nodes, or inside what they call.

    Not seen is a graph that a node fetches by a name at run time. It is known from its first turn on, which notes it.
    """
    return _look(graph) is not None


def model_node(graph: object) -> str:
    """Give what the node is called in which the model of a gated graph speaks."""
    found = _look(graph)
    return found.model_node if isinstance(found, Steps) else "model"


def _look(graph: object) -> Steps | bool | None:
    """Give the first steps of ours that a graph leads to, True where they are made later, None where there are none."""
    seen: dict[int, object] = {}  # the objects are kept: an id is another's when its object is gone
    rest: list[object] = [graph]
    while rest:
        one = rest.pop()
        if isinstance(one, Steps):
            return one
        if isinstance(one, types.FunctionType) and _makes(one):
            return True
        if id(one) in seen:
            continue
        seen[id(one)] = one
        if len(seen) > _MOST:
            return True
        rest += _referred(one)
    return None


def _referred(one: object) -> Iterator[object]:
    """Give what an object refers to, as far as that may lead to a graph."""
    match one:
        case None | str() | bytes() | int() | float() | type() | types.ModuleType() | Clearance():
            return
        case dict():
            yield from list(one.values())
        case list() | tuple() | set() | frozenset():
            yield from list(one)
        case functools.partial():
            yield from (one.func, one.args, one.keywords)
        case types.MethodType():
            yield from (one.__self__, one.__func__)
        case types.FunctionType():
            yield from _of_function(one)
        case _ if type(one).__module__.partition(".")[0] not in _NO_GRAPHS:
            yield from list(getattr(one, "__dict__", {}).values())
            yield from _of_class(type(one))
            for cls in type(one).__mro__:
                slots = cls.__dict__.get("__slots__", ())
                for name in (slots,) if isinstance(slots, str) else slots:
                    descriptor = cls.__dict__.get(name)
                    if isinstance(descriptor, types.MemberDescriptorType):
                        try:
                            yield descriptor.__get__(one)
                        except AttributeError:
                            continue  # it holds nothing


def _of_function(function: types.FunctionType) -> Iterator[object]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            continue  # it is not filled yet
    yield from (function.__defaults__, function.__kwdefaults__)
    yield from vars(function).values()
    yield from (held for _, held in _used(function))


def _of_class(cls: type) -> Iterator[object]:
    """Give the functions of a project's own class, whose objects are nodes, tools, or make graphs."""
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] not in _LIBRARIES:
            for held in list(vars(base).values()):
                match held:
                    case staticmethod() | classmethod():
                        yield held.__func__
                    case property():
                        yield held.fget
                    case types.FunctionType():
                        yield held


def _used(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    """Give what a function uses of its module by name, and of the modules that it knows."""
    if (function.__module__ or "").partition(".")[0] in _LIBRARIES:
        return
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        codes += [held for held in code.co_consts if isinstance(held, types.CodeType)]
        for name in code.co_names:
            held = function.__globals__.get(name)
            if isinstance(held, types.ModuleType):
                known = vars(held)
                yield from ((other, known[other]) for other in code.co_names if other in known)
            elif held is not None:
                yield name, held
            # Imported inside it: the name is the module's own, and that of what is taken of it stands beside.
            if (module := sys.modules.get(name)) is not None and module is not held:
                known = vars(module)
                yield from ((other, known[other]) for other in code.co_names if other in known)


def _makes(function: types.FunctionType) -> bool:
    """Tell whether a function puts our steps into a graph: one that makes a graph with each run.

    One that imports what nothing has loaded yet, and calls something of that name, counts as such.
    """
    names = {name for code in _codes(function.__code__) for name in code.co_names}
    if not names & _MAKES:
        return False
    return any(isinstance(held, Clearance) for _, held in _used(function)) or _imports_what_is_not_loaded(function)


def _imports_what_is_not_loaded(function: types.FunctionType) -> bool:
    steps = (step for code in _codes(function.__code__) for step in dis.get_instructions(code))
    return any(step.opname == "IMPORT_NAME" and step.argval not in sys.modules for step in steps)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for held in code.co_consts:
        if isinstance(held, types.CodeType):
            yield from _codes(held)
