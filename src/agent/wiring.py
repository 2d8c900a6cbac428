"""Put the parts together, once: settings, database, policy, gate, tools, model."""

import asyncio
import logging
import secrets
import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import sqlalchemy as sa
from langchain_core.language_models import BaseChatModel

from agent.bank.actions import DeleteUser, ReverseTransfer, TransferFunds
from agent.clearance.action import Actions
from agent.clearance.gate import Gate
from agent.clearance.judging import Judge
from agent.clearance.policy import Policy, load_policy
from agent.db.engine import Database
from agent.db.migrate import migrate
from agent.settings import Settings, SettingsError, settings
from agent.tools import Toolbox
from agent.tools.analysis import analysis_tool
from agent.tools.lookups import lookup_tools

logger = logging.getLogger(__name__)

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
    """
    actions = Actions(ACTIONS)
    policy = read_policy(settings, actions)
    database = open_database(settings)
    migrate(database)
    gate = Gate(database, Judge(actions, policy), audit_key(settings), finish_reasons=settings.finish_reasons)
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


def audit_key(settings: Settings, *, may_make: bool = True) -> bytes:
    """Give the audit log's key: AUDIT_KEY, or for SQLite a key file beside the database, made at first if it may be.

    Raises:
        SettingsError: PostgreSQL without AUDIT_KEY, a key that is too short, or no key file where none may be made.
    """
    given = settings.audit_key.get_secret_value()
    if given:
        if len(given) < 32:
            raise SettingsError("AUDIT_KEY: needs at least 32 characters, for example from `openssl rand -hex 32`")
        return given.encode()
    return _key_beside(settings, "AUDIT_KEY", ".audit-key", may_make)


def auth_secret(settings: Settings, *, may_make: bool = True) -> bytes:
    """Give the secret of development tokens: AUTH_SECRET, or for SQLite a file beside the database, made at first.

    Raises:
        SettingsError: PostgreSQL without AUTH_JWKS_URL and AUTH_SECRET, or no file where none may be made.
    """
    given = settings.auth_secret.get_secret_value()
    return given.encode() if given else _key_beside(settings, "AUTH_SECRET", ".auth-secret", may_make)


def _key_beside(settings: Settings, name: str, suffix: str, may_make: bool) -> bytes:
    path = sa.make_url(settings.database_url).database
    if not settings.database_url.startswith("sqlite") or not path or path == ":memory:":
        raise SettingsError(f"{name}: missing; only with a SQLite file a key file is made beside it")
    file = Path(path).with_suffix(suffix)
    if not file.exists():
        if not may_make:
            raise SettingsError(f"{name}: missing, and there is no key file {str(file)!r}")
        file.parent.mkdir(parents=True, exist_ok=True)
        # Written whole, then named: two processes that start at once end with the same key.
        draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_hex(32))
        try:
            file.hardlink_to(draft)
            logger.warning("%s is not set: made %s", name, file)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return file.read_text().strip().encode()


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
