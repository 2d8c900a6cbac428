"""A route of the approvals API whose failures are told."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import sqlalchemy as sa
from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException as AnyHTTPException  # what FastAPI itself raises, too

from clearance.canonical import clean
from clearance.errors import DatabaseUnavailable
from clearance.loglines import logger_of
from clearance.server.failures import failed, recorded

logger = logger_of(__name__)

#: What no column can hold: numbers beyond 64 bits, half characters, NUL, more levels than a stack has.
_NO_VALUE = (OverflowError, UnicodeError, RecursionError, sa.exc.DataError)


class TellingRoute(APIRoute):
    """A route of ours whose failures are told."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the route's own handler, dependencies included."""
        inner = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await inner(request)
            except RequestValidationError as exc:
                # What is wrong is told with what came, and half a character cannot be sent back.
                raise RequestValidationError(clean(list(exc.errors()))) from exc
            except (AnyHTTPException, DatabaseUnavailable, asyncio.CancelledError):
                raise
            except _NO_VALUE as exc:
                logger.info("%s holds what cannot be stored: %s", request.url.path, type(exc).__name__)
                raise HTTPException(422, f"A number or text of this request cannot be one. {recorded()}") from exc
            except Exception as exc:  # noqa: BLE001  callers get a sentence with an id, the log gets the cause
                return failed(request, exc)

        return handle
