"""What reviewers reach: the approvals API and the inbox, as one app. To load it takes as long as much of a start."""

from fastapi import FastAPI
from starlette.types import Lifespan

from clearance.errors import DatabaseUnavailable
from clearance.server.api import routes
from clearance.server.failures import database_unavailable
from clearance.server.inbox import pages


def reviewers_app(lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """Make the app of these routes."""
    app = FastAPI(title="Clearance", lifespan=lifespan, openapi_url=None)
    app.add_exception_handler(DatabaseUnavailable, database_unavailable)
    # As they stand: `include_router` would make each of them anew at every start.
    app.router.routes.extend([*routes.router.routes, *pages.router.routes])
    return app
