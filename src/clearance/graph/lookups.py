"""Look-ups: tools that are declared read-only. Errors become sentences for the model; the log has the cause.

Only for tools without an effect. An action goes through the gate, where nothing is caught around `interrupt()`.
"""

import asyncio
from collections.abc import Callable
from functools import wraps
from inspect import getdoc, iscoroutinefunction
from typing import TYPE_CHECKING, Any, Literal, overload
from uuid import uuid4

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langgraph.errors import GraphBubbleUp
from pydantic import ValidationError

from clearance.errors import ActionError, DatabaseUnavailable
from clearance.loglines import logger_of

if TYPE_CHECKING:
    from pydantic.v1 import ValidationError as ValidationErrorV1

ResponseFormat = Literal["content", "content_and_artifact"]

#: Metadata that declares a tool read-only. What does not carry it is an action, and needs an action's class.
READ_ONLY = {"read_only": True}

_log = logger_of(__name__)


@overload
def lookup(function: Callable[..., Any], *, response_format: ResponseFormat = "content") -> BaseTool: ...
@overload
def lookup(*, response_format: ResponseFormat = "content") -> Callable[[Callable[..., Any]], BaseTool]: ...
def lookup(
    function: Callable[..., Any] | None = None, *, response_format: ResponseFormat = "content"
) -> BaseTool | Callable[[Callable[..., Any]], BaseTool]:
    """Declare a function read-only: a tool that runs at once, with its name, docstring and arguments.

    To declare what has an effect is to let it past the gate. A function that is not async runs in a thread. Every error
    is told to the model in a sentence: the text of an `ActionError`, of anything else an id that the log has, too.

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

    @wraps(function)
    async def told(*args: Any, **kwargs: Any) -> Any:
        try:
            if not iscoroutinefunction(function):
                return await asyncio.to_thread(function, *args, **kwargs)
            return await function(*args, **kwargs)
        except (ToolException, GraphBubbleUp):
            raise
        except ActionError as exc:
            raise ToolException(str(exc)) from exc
        except DatabaseUnavailable as exc:
            raise ToolException(
                f"The database does not answer ({logged(function.__name__)}); try again later."
            ) from exc
        except Exception as exc:  # the last boundary before the model: whatever it is, the run goes on
            raise ToolException(
                f"{function.__name__} failed unexpectedly ({logged(function.__name__)}); nothing was changed."
            ) from exc

    return StructuredTool.from_function(
        coroutine=told,
        description=getdoc(function),
        metadata=READ_ONLY,
        response_format=response_format,
        handle_tool_error=True,
        handle_validation_error=tell_validation_error,
    )


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
