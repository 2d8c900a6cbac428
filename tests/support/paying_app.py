"""The `Clearance` of a server whose agent pays out elsewhere, over `payments`."""

from clearance import Clearance
from tests.support.outside import OUTSIDE

clearance = Clearance(actions=OUTSIDE)
