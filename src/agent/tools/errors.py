"""Errors of tools, as sentences: the model reads what it can act on, the log keeps the cause under an id.

Only for tools without an effect. An action goes through the gate, where nothing is caught around `interrupt()`.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import getdoc
from typing import TYPE_CHECKING, Literal, ParamSpec, TypeVar
from uuid import uuid4

from langchain_core.tools import BaseTool, StructuredTool, ToolException
from langgraph.errors import GraphBubbleUp
from pydantic import ValidationError

from agent.clearance.errors import ActionError
from agent.db.engine import DatabaseUnavailable
from agent.loglines import logger_of

if TYPE_CHECKING:
    from pydantic.v1 import ValidationError as ValidationErrorV1

P = ParamSpec("P")
T = TypeVar("T")

#: Metadata that declares a tool read-only. What does not carry it is an action, and needs an action's class.
READ_ONLY = {"read_only": True}

_log = logger_of(__name__)


def telling_tool(
    function: Callable[P, Awaitable[T]], response_format: Literal["content", "content_and_artifact"] = "content"
) -> BaseTool:
    """Make a tool of an async function, with its name, docstring and arguments; every error is told in a sentence."""

    @wraps(function)
    async def told(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await function(*args, **kwargs)
        except (ToolException, GraphBubbleUp):
            raise
        except ActionError as exc:
            raise ToolException(str(exc)) from exc
        except DatabaseUnavailable as exc:
            raise ToolException(
                f"The database does not answer ({_logged(function.__name__)}); try again later."
            ) from exc
        except Exception as exc:  # the last boundary before the model: whatever it is, the run goes on
            raise ToolException(
                f"{function.__name__} failed unexpectedly ({_logged(function.__name__)}); nothing was changed."
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


def _logged(name: str) -> str:
    """Log the exception that is being handled, and name the id under which it is found."""
    error_id = uuid4().hex[:6]
    _log.exception("%s failed, error id %s", name, error_id)
    return f"error id {error_id}"
