"""The one settings object, read once from the environment (and `.env`). Every name stands in `.env.example`."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class SettingsError(Exception):
    """A setting is missing or cannot be; the text names the variable."""


class Settings(BaseSettings):
    """What this deployment is told. Field `database_url` is the variable `DATABASE_URL`, and so on."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    #: Journal and bank: `sqlite:///path` or `postgresql://…`.
    database_url: str = "sqlite:///.clearance/clearance.db"
    #: Checkpoints of `langgraph.dev.json`: a SQLite file. A deployed server keeps its own.
    checkpoint_file: Path = Path(".clearance/checkpoints.db")
    #: The policy; relative to the working directory.
    policy_file: Path = Path("policy.toml")
    #: Key of the audit log's HMAC. With SQLite it may be empty: a key file is made beside the database.
    audit_key: SecretStr = SecretStr("")
    #: `on`: who acts comes from the server's authentication. `off`: one local principal with all roles.
    #: Empty: on where the server has an authentication configured.
    auth: Literal["on", "off", ""] = ""

    #: Model name at the endpoint.
    model: str = "gpt-5-mini"
    #: Base URL of an OpenAI-compatible endpoint; empty is OpenAI's own.
    openai_base_url: str = ""
    #: Key for it. With no key and no base URL the offline model answers, and says so.
    openai_api_key: SecretStr = SecretStr("")
    #: Seconds one call of the model may take.
    model_timeout_s: float = Field(default=60, gt=0)
    #: How often a failed call is tried again.
    model_retries: int = Field(default=2, ge=0, le=10)
    #: Tokens of history that the model is given; older turns are left out whole.
    model_context_tokens: int = Field(default=24_000, ge=1_000)

    #: Rows of one chunk of `analyze_transactions`.
    analysis_chunk: int = Field(default=2_000, ge=1)

    @model_validator(mode="after")
    def _decide_auth(self) -> "Settings":
        if not self.auth:
            configured = os.environ.get("LANGGRAPH_AUTH") or os.environ.get("LANGGRAPH_AUTH_TYPE", "noop") != "noop"
            object.__setattr__(self, "auth", "on" if configured else "off")
        return self

    @property
    def is_offline(self) -> bool:
        """Tell whether the offline model answers."""
        return not self.openai_api_key.get_secret_value() and not self.openai_base_url


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
    try:
        return Settings()
    except ValidationError as exc:
        problems = "; ".join(
            f"{'_'.join(str(part) for part in error['loc']).upper()}: {error['msg']}" for error in exc.errors()
        )
        raise SettingsError(problems) from exc
