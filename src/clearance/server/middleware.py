"""All that stands around the routes, the platform's and ours, in order."""

from starlette.types import ASGIApp

from clearance.server import aegra, graphs
from clearance.server.entry.closed_routes import ClosedRoutes
from clearance.server.entry.ids import ReadIds
from clearance.server.entry.received import NoteReceived
from clearance.server.entry.sizes import BoundBodies
from clearance.server.entry.stale_answers import TellStale
from clearance.server.entry.token_lifetimes import EndWithToken
from clearance.server.entry.unfinished_runs import NoteAnswered
from clearance.server.failures import NoteWritten
from clearance.server.upkeep.cancelling import WithdrawCancelled
from clearance.server.upkeep.deleted_threads import NoteDeletedThreads


def around(app: ASGIApp) -> ASGIApp:
    """Give an app with all of them around it; the last line is the outermost."""
    app = NoteDeletedThreads(app)
    app = WithdrawCancelled(app)
    app = TellStale(app)
    app = ReadIds(app)
    app = ClosedRoutes(app)
    app = aegra.NoStatelessRuns(app, is_others=graphs.is_assistant_of_others)
    app = EndWithToken(app)
    app = NoteWritten(app)
    app = NoteAnswered(app)
    app = BoundBodies(app)
    return NoteReceived(app)
