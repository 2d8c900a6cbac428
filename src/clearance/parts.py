"""The parts of one process: settings, database, gate. Opened once by the `Clearance` of a project, at first use."""

from collections.abc import Sequence
from dataclasses import dataclass

from clearance.actions.action import Actions
from clearance.db.chain import Migrations
from clearance.db.engine import Database
from clearance.db.migrate import migrate
from clearance.db.opening import open_database
from clearance.errors import AuditKeyError
from clearance.gate.gate import Gate
from clearance.gate.judging import Judge
from clearance.gate.policy import Policy
from clearance.key_files import audit_keys, left_by_change
from clearance.settings import Settings


@dataclass(frozen=True)
class Parts:
    """What stands behind every way in."""

    settings: Settings
    database: Database
    gate: Gate


def open_parts(settings: Settings, actions: Actions, policy: Policy, chains: Sequence[Migrations] = ()) -> Parts:
    """Open the database and bring it up to date, the project's own `chains` after ours. Blocks.

    Raises:
        SettingsError: a setting is missing or cannot be.
        AuditKeyError: the audit log is under another key.
    """
    database = open_database(settings)
    try:
        migrate(database, chains)
        gate = Gate(
            database,
            Judge(actions, policy),
            audit_keys(settings),
            finish_reasons=settings.finish_reasons,
            max_performing=settings.max_performing,
        )
        gate.check_log()
    except AuditKeyError as exc:
        database.close()
        raise AuditKeyError(exc.expected, exc.given, left_by_change(settings, exc.expected)) from None
    except BaseException:
        database.close()
        raise
    return Parts(settings, database, gate)
