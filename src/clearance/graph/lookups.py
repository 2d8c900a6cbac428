"""Look-ups: tools that are declared read-only. Errors become sentences for the model; the log has the cause.

Only for tools without an effect. An action goes through the gate, where nothing is caught around `interrupt()`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from inspect import getdoc, iscoroutinefunction
from typing import TYPE_CHECKING, Any, Literal, overload
from uuid import uuid4

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langgraph.errors import GraphBubbleUp
from pydantic import ValidationError

from clearance.actions.soundness import described
from clearance.errors import ActionError, DatabaseUnavailable
from clearance.loglines import logger_of

if TYPE_CHECKING:
    from pydantic.v1 import ValidationError as ValidationErrorV1

ResponseFormat = Literal["content", "content_and_artifact"]

#: Metadata that declares a tool read-only. What does not carry it is an action, and needs an action's class.
READ_ONLY = {"read_only": True}

_log = logger_of(__name__)


@overload
def lookup(function: Callable[..., Any] | BaseTool, *, response_format: ResponseFormat = "content") -> BaseTool: ...
@overload
def lookup(*, response_format: ResponseFormat = "content") -> Callable[[Callable[..., Any]], BaseTool]: ...
def lookup(
    function: Callable[..., Any] | BaseTool | None = None, *, response_format: ResponseFormat = "content"
) -> BaseTool | Callable[[Callable[..., Any]], BaseTool]:
    """Declare a function or a tool read-only: a tool that runs at once, with its name, description and arguments.

    To declare what has an effect is to let it past the gate. What is not async runs in a thread. Every error is told to
    the model in a sentence: the text of an `ActionError` or a `ToolException`, of anything else an id that the log has,
    too.

    Raises:
        TypeError: it is neither a function nor a tool.

    Example:
        >>> from clearance import lookup
        >>> @lookup
        ... async def get_order(order_id: str) -> str:
        ...     '''Give one order by id, for example O-1001.'''
        ...     return f"{order_id}: shipped"
        >>> get_order.name
        'get_order'
    """
    if function is None:
        return lambda given: lookup(given, response_format=response_format)
    if isinstance(function, BaseTool):
        return _declared(function)
    if isinstance(function, type) or not callable(function):
        raise TypeError(f"lookup: {described(function)} is neither a function nor a tool")

    async def run(*args: Any, **kwargs: Any) -> Any:
        if not iscoroutinefunction(function):
            return await asyncio.to_thread(function, *args, **kwargs)
        return await function(*args, **kwargs)

    return StructuredTool.from_function(
        coroutine=wraps(function)(_told(run, function.__name__, response_format)),
        description=getdoc(function),
        metadata=READ_ONLY,
        response_format=response_format,
        handle_tool_error=True,
        handle_validation_error=tell_validation_error,
    )


def _declared(tool: BaseTool) -> BaseTool:
    """Give somebody's tool as a look-up; the tool itself stays as it is."""
    declared = tool.model_copy(update={
        "metadata": {**(tool.metadata or {}), **READ_ONLY},
        "handle_tool_error": tool.handle_tool_error or True,
        "handle_validation_error": tool.handle_validation_error or tell_validation_error,
    })  # fmt: skip
    run, arun = declared._run, declared._arun

    @wraps(run)
    def told(*args: Any, **kwargs: Any) -> Any:
        with as_sentences(tool.name):
            return _checked(run(*args, **kwargs), tool.response_format)

    # Not as fields, which they are not.
    object.__setattr__(declared, "_run", told)
    object.__setattr__(declared, "_arun", wraps(arun)(_told(arun, tool.name, tool.response_format)))
    return declared


def _told(run: Callable[..., Awaitable[Any]], name: str, response_format: str) -> Callable[..., Awaitable[Any]]:
    async def told(*args: Any, **kwargs: Any) -> Any:
        with as_sentences(name):
            return _checked(await run(*args, **kwargs), response_format)

    return told


def _checked(came: Any, response_format: str) -> Any:
    # langchain raises past the tool for what is none, and the run would fail.
    if response_format == "content_and_artifact" and not (isinstance(came, tuple) and len(came) == 2):
        raise TypeError(f"it returned {type(came).__name__}, not content and artifact")
    return came


@contextmanager
def as_sentences(name: str) -> Iterator[None]:
    """Make a sentence for the model of every error of a look-up.

    Raises:
        ToolException: with it.
    """
    try:
        yield
    except (ToolException, GraphBubbleUp):
        raise
    except ActionError as exc:
        raise ToolException(str(exc)) from exc
    except DatabaseUnavailable as exc:
        raise ToolException(f"The database does not answer ({logged(name)}); try again later.") from exc
    except BaseException as exc:  # the last boundary before the model: whatever it is, the run and the server go on
        if _is_of_the_run(exc):
            raise
        raise ToolException(f"{name} failed unexpectedly ({logged(name)}); nothing was changed.") from exc


def _is_of_the_run(exc: BaseException) -> bool:
    """Tell whether somebody stops the run or this process, where a tool may have raised the same itself."""
    from clearance.db.driver_errors import is_from_outside  # which loads what a look-up may do without

    if isinstance(exc, asyncio.CancelledError):
        task = _task()
        return task is not None and task.cancelling() > 0
    return isinstance(exc, GeneratorExit) or is_from_outside(exc)


def _task() -> "asyncio.Task[Any] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:  # in a thread
        return None


def tell_validation_error(exc: "ValidationError | ValidationErrorV1") -> str:
    """Say what is wrong with a call's arguments, one clause for each."""
    problems = "; ".join(
        f"{'.'.join(str(part) for part in error['loc']) or 'arguments'}: {error['msg']}" for error in exc.errors()
    )
    return f"The call was not made, its arguments do not fit: {problems}."


def logged(name: str) -> str:
    """Log the exception that is being handled, and name the id under which it is found."""
    error_id = uuid4().hex[:6]
    _log.exception("%s failed, error id %s", name, error_id)
    return f"error id {error_id}"
