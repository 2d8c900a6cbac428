"""The one settings object, read once: from the environment, `.env`, and `[tool.clearance]` of `pyproject.toml`.

Every name stands in `.env.example`.
"""

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    PyprojectTomlConfigSettingsSource,
    SettingsConfigDict,
)

from clearance.errors import ClearanceError

S = TypeVar("S", bound=BaseSettings)


#: In MODEL_FINISH_REASONS: that an endpoint gives no reason at all.
NO_REASON = "none"


class SettingsError(ClearanceError):
    """A setting is missing or cannot be; the text names the variable."""


class Settings(BaseSettings):
    """What this deployment is told. Field `database_url` is the variable `DATABASE_URL`, and so on.

    What belongs to the project rather than to a deployment may stand in its `pyproject.toml`, under the field's name.
    """

    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, pyproject_toml_table_header=("tool", "clearance")
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over `.env`, and both over `pyproject.toml`."""
        return init_settings, env_settings, dotenv_settings, PyprojectTomlConfigSettingsSource(settings_cls)

    #: Where the project's `Clearance` is made: `module:variable`.
    clearance: str = ""
    #: The project's own commands, a typer app: `module:variable`. Empty: its `Clearance` is loaded, and asked for them.
    commands: str = ""

    #: The journal, and what the actions keep: `sqlite:///path` or `postgresql://…`.
    database_url: str = "sqlite:///.clearance/clearance.db"
    #: Checkpoints of `langgraph.dev.json`: a SQLite file. A deployed server keeps its own.
    checkpoint_file: Path = Path(".clearance/checkpoints.db")
    #: The policy; relative to the working directory.
    policy_file: Path = Path("policy.toml")
    #: Key of the audit log's HMAC. With SQLite it may be empty: a key file is made beside the database.
    audit_key: SecretStr = SecretStr("")
    #: A file that holds it instead, where the database's owner cannot write. Empty: beside the SQLite file.
    audit_key_file: Path | None = None
    #: Keys that signed before, one a line. `audit rotate-key` notes them beside a key file by itself.
    audit_old_keys: SecretStr = SecretStr("")
    #: `on`: who acts comes from the server's authentication. `off`: one local principal with all roles.
    auth: Literal["on", "off"] = "on"

    #: Whose signatures count: the JWKS of the identity provider. Empty: development, tokens of `clearance token`.
    auth_jwks_url: str = ""
    #: The issuer that tokens must name; required with AUTH_JWKS_URL.
    auth_issuer: str = ""
    #: The audience that tokens must name.
    auth_audience: str = "clearance"
    #: The claim that holds a person's roles, a list of names or one text with spaces between them.
    auth_roles_claim: str = "roles"
    #: HS256 secret of development tokens. With SQLite it may be empty: a file is made beside the database.
    auth_secret: SecretStr = SecretStr("")
    #: One person may play both parts, to debug in Studio: approve what they asked for themselves.
    auth_both_parts: bool = False
    #: `off`: answers on loopback only. `on`: on every address. Empty: on with AUTH_JWKS_URL, else off.
    remote: Literal["on", "off", ""] = ""

    #: Where notifications are posted; empty: none are sent.
    webhook_url: str = ""
    #: Key of their signature, at least 32 characters; required with WEBHOOK_URL.
    webhook_secret: SecretStr = SecretStr("")

    #: Further reasons that mean an answer was finished, with commas between; `none` where an endpoint gives none.
    model_finish_reasons: str = ""
    #: Seconds one call of the model may take.
    model_timeout_s: float = Field(default=60, gt=0)
    #: Tokens of history that the model is given; older turns are left out whole.
    model_context_tokens: int = Field(default=24_000, ge=1_000)
    #: How often the model may speak in one turn: one that calls a look-up without end ends there, and says so.
    model_steps: int = Field(default=50, ge=1, le=1_000)
    #: How many calls the model may make in one turn, before it is ended in the same way.
    model_calls: int = Field(default=200, ge=1, le=20_000)

    #: Runs of one person that may wait or run at a time; below the server's ten workers, so that some stay free.
    max_unfinished_runs: int = Field(default=8, ge=1)
    #: Bytes that the body of a request, or a message of a WebSocket, may have.
    max_body_bytes: int = Field(default=4_000_000, ge=100_000)
    #: Bytes that the text of what a run brings may have.
    max_text_bytes: int = Field(default=200_000, ge=1_000)
    #: Bytes that pictures and files in it may have together, as they are sent: in base64.
    max_image_bytes: int = Field(default=2_000_000, ge=0)
    #: Bytes of people's messages after which a thread takes no more: each checkpoint of it holds all of them.
    max_thread_bytes: int = Field(default=4_000_000, ge=1_000)

    #: External actions that may be in flight in one process at a time; what is over that waits, and can be withdrawn.
    max_performing: int = Field(default=16, ge=1)
    #: Seconds for which a server that ends waits for what is in flight.
    perform_grace_s: float = Field(default=10, ge=0)

    @field_validator("audit_key_file", mode="before")
    @classmethod
    def _read_empty(cls, given: object) -> object:
        return given or None

    @model_validator(mode="after")
    def _check_pairs(self) -> "Settings":
        if self.auth_jwks_url and not self.auth_issuer:
            raise ValueError("AUTH_ISSUER: required with AUTH_JWKS_URL, else any token of that provider's would count")
        secret = self.auth_secret.get_secret_value()
        if secret and len(secret) < 32:
            raise ValueError("AUTH_SECRET: needs at least 32 characters, for example from `openssl rand -hex 32`")
        if self.audit_key.get_secret_value() and self.audit_key_file:
            raise ValueError("AUDIT_KEY_FILE: the key is in AUDIT_KEY already; give one of them")
        jwks = urlsplit(self.auth_jwks_url)
        if self.auth_jwks_url and jwks.scheme != "https" and jwks.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise ValueError("AUTH_JWKS_URL: must begin with https://, else anybody on the way can put in a key")
        if self.webhook_url and len(self.webhook_secret.get_secret_value()) < 32:
            raise ValueError("WEBHOOK_SECRET: required with WEBHOOK_URL, at least 32 characters")
        return self

    @property
    def answers_remotely(self) -> bool:
        """Tell whether requests from other machines are answered."""
        return self.remote == "on" or (not self.remote and bool(self.auth_jwks_url))

    @property
    def finish_reasons(self) -> frozenset[str]:
        """Give MODEL_FINISH_REASONS, one by one."""
        return frozenset(reason.strip() for reason in self.model_finish_reasons.split(",") if reason.strip())

    @property
    def may_lack_reason(self) -> bool:
        """Tell whether MODEL_FINISH_REASONS lets an answer count that gives no reason."""
        return NO_REASON in self.finish_reasons


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Read the settings, once.

    Raises:
        SettingsError: a variable has a value that cannot be; the text names it.
    """
    return read_settings()


def read_settings() -> Settings:
    """Read the settings anew; `settings()` is what the program uses.

    Raises:
        SettingsError: see `settings`.
    """
    unknown = sorted(_project_table().keys() - Settings.model_fields.keys())
    if unknown:
        raise SettingsError(f"pyproject.toml: [tool.clearance] has no setting {unknown[0]!r}")
    return read(Settings)


def read(settings: type[S]) -> S:
    """Read settings of any class; also for those that a project has for itself.

    Raises:
        SettingsError: a variable has a value that cannot be; the text names it.
    """
    try:
        return settings()
    except ValidationError as exc:
        problems = "; ".join(
            f"{'_'.join(str(part) for part in error['loc']).upper()}: {error['msg']}"
            if error["loc"]
            else error["msg"].removeprefix("Value error, ")
            for error in exc.errors()
        )
        raise SettingsError(problems) from exc


def _project_table() -> dict[str, object]:
    file = Path("pyproject.toml")
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("clearance", {})
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise SettingsError(f"pyproject.toml: cannot be read: {exc}") from exc
    if not isinstance(table, dict):
        raise SettingsError("pyproject.toml: [tool.clearance] must be a table")
    return table
