"""Put the parts together, once: settings, database, policy, gate, tools, model."""

import asyncio
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import sqlalchemy as sa
from langchain_core.language_models import BaseChatModel

from agent.bank.actions import DeleteUser, ReverseTransfer, TransferFunds
from agent.clearance.action import Actions
from agent.clearance.errors import AuditKeyError
from agent.clearance.gate import Gate
from agent.clearance.judging import Judge
from agent.clearance.policy import Policy, load_policy
from agent.clearance.signing import Keys
from agent.db.engine import Database
from agent.db.files import make_folder, open_private, tighten
from agent.db.migrate import migrate
from agent.loglines import logger_of
from agent.settings import Settings, SettingsError, settings
from agent.tools import Toolbox
from agent.tools.analysis import analysis_tool
from agent.tools.lookups import lookup_tools

logger = logger_of(__name__)

#: Your actions: a class here and a rule in policy.toml is all it takes.
ACTIONS = (TransferFunds, ReverseTransfer, DeleteUser)


@dataclass(frozen=True)
class Wiring:
    """The parts of one process."""

    settings: Settings
    database: Database
    gate: Gate
    toolbox: Toolbox

    @cached_property
    def model(self) -> BaseChatModel:
        """The chat model; made at its first use, so that the command line does not need one."""
        from agent.model import chat_model  # heavy, and the command line does without

        return chat_model(self.settings)

    @cached_property
    def prompt(self) -> str:
        """What the model is told before every conversation."""
        from agent.prompts import system_prompt

        return system_prompt(self.settings)


def wire(settings: Settings) -> Wiring:
    """Open the database, bring it up to date, load the policy. Blocks: not for the event loop.

    Raises:
        SettingsError: a setting is missing or cannot be.
        PolicyError: the policy is missing or invalid; says where.
        AuditKeyError: the audit log is under another key.
    """
    actions = Actions(ACTIONS)
    policy = read_policy(settings, actions)
    database = open_database(settings)
    migrate(database)
    gate = Gate(database, Judge(actions, policy), audit_keys(settings), finish_reasons=settings.finish_reasons)
    try:
        gate.check_log()
    except AuditKeyError:
        database.close()
        raise
    lookups = [*lookup_tools(database), analysis_tool(database, settings.analysis_chunk)]
    return Wiring(settings, database, gate, Toolbox(lookups, gate))


def read_policy(settings: Settings, actions: Actions | None = None) -> Policy:
    """Load the policy these settings name.

    Raises:
        PolicyError: missing or invalid; says where.
    """
    return load_policy(settings.policy_file, actions or Actions(ACTIONS), {"usd": _cents})


def open_database(settings: Settings) -> Database:
    """Open the database these settings name.

    Raises:
        SettingsError: DATABASE_URL is neither SQLite nor PostgreSQL.
    """
    try:
        return Database(settings.database_url)
    except (ValueError, sa.exc.ArgumentError) as exc:
        raise SettingsError(f"DATABASE_URL: {exc}") from exc


def audit_keys(settings: Settings, *, may_make: bool = True) -> Keys:
    """Give the audit log's key, and those that signed before it was changed.

    The key is AUDIT_KEY, or in AUDIT_KEY_FILE, or with SQLite in a file beside the database, made at first if it may.

    Raises:
        SettingsError: no key, one that is too short, or no key file where none may be made.
    """
    before = settings.audit_old_keys.get_secret_value().splitlines()
    given = settings.audit_key.get_secret_value()
    if not given:
        file = audit_key_file(settings)
        given = _read_or_make(file, "AUDIT_KEY", may_make=may_make and settings.audit_key_file is None)
        with suppress(FileNotFoundError):
            before += old_keys_file(file).read_text().splitlines()
    for key in (given, *before):
        if len(key) < 32:
            raise SettingsError("AUDIT_KEY: needs at least 32 characters, for example from `openssl rand -hex 32`")
    return Keys(given.encode(), tuple(key.encode() for key in dict.fromkeys(before)))


def audit_key_file(settings: Settings) -> Path:
    """Give the file that holds the audit log's key when AUDIT_KEY does not.

    Raises:
        SettingsError: none is named, and there is no SQLite file that it could lie beside.
    """
    return settings.audit_key_file or _beside(settings, "AUDIT_KEY", ".audit-key")


def old_keys_file(file: Path) -> Path:
    """Give the file beside a key file that notes the keys before, one a line."""
    return file.with_name(f"{file.name}.old")


def auth_secret(settings: Settings, *, may_make: bool = True) -> bytes:
    """Give the secret of development tokens: AUTH_SECRET, or for SQLite a file beside the database, made at first.

    Raises:
        SettingsError: PostgreSQL without AUTH_JWKS_URL and AUTH_SECRET, or no file where none may be made.
    """
    given = settings.auth_secret.get_secret_value()
    if not given:
        given = _read_or_make(_beside(settings, "AUTH_SECRET", ".auth-secret"), "AUTH_SECRET", may_make=may_make)
    return given.encode()


def _beside(settings: Settings, name: str, suffix: str) -> Path:
    path = sa.make_url(settings.database_url).database
    if not settings.database_url.startswith("sqlite") or not path or path == ":memory:":
        raise SettingsError(f"{name}: missing; only with a SQLite file a key file is made beside it")
    return Path(path).with_suffix(suffix)


def _read_or_make(file: Path, name: str, *, may_make: bool) -> str:
    if not file.exists():
        if not may_make:
            raise SettingsError(f"{name}: missing, and there is no key file {str(file)!r}")
        make_folder(file.parent)
        # Written whole, then named: two processes that start at once end with the same key.
        draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        with open_private(draft) as stream:
            stream.write(secrets.token_hex(32))
        try:
            file.hardlink_to(draft)
            logger.warning("%s is not set: made %s", name, file)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    tighten(file)
    try:
        return file.read_text().strip()
    except OSError as exc:
        raise SettingsError(f"{name}: the key file {str(file)!r} cannot be read: {exc.strerror}") from exc


_made: list[Wiring] = []
_making = threading.Lock()


async def wired() -> Wiring:
    """Give the parts of this process, made at the first call.

    Raises:
        SettingsError, PolicyError: see `wire`; the next call tries again.
    """
    return _made[0] if _made else await asyncio.to_thread(wired_now)


def wired_now() -> Wiring:
    """`wired`, blocking."""
    with _making:
        if not _made:
            _made.append(wire(settings()))
        return _made[0]


def _cents(dollars: int) -> int:
    return dollars * 100
