"""What only this agent is told: its model and its bank. What the library is told stands in `clearance.settings`."""

from functools import lru_cache

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from clearance.settings import read


class AgentSettings(BaseSettings):
    """Field `model` is the variable `MODEL`, and so on; every name stands in `.env.example`."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    #: The model: `provider:name`, or a name at OpenAI. With OPENAI_BASE_URL the name goes whole to that endpoint, but
    #: for a leading `openai:`. Empty with neither key nor base URL: the offline model answers, and says so.
    model: str = ""
    #: Base URL of an OpenAI-compatible endpoint; empty is OpenAI's own.
    openai_base_url: str = ""
    #: Key for OpenAI or that endpoint. Other providers' keys are in the variables that their packages read.
    openai_api_key: SecretStr = SecretStr("")
    #: How often a failed call is tried again.
    model_retries: int = Field(default=2, ge=0, le=10)
    #: File with what the model is told before every conversation; empty: the prompt of the bank.
    system_prompt_file: str = ""
    #: Base URL of the provider that pays to other banks; empty: nothing is paid there, and a payment says so.
    payment_provider_url: str = ""
    #: Key for it, sent as a bearer token; empty: none is sent.
    payment_provider_key: SecretStr = SecretStr("")
    #: Address of the MCP server of the ticket desk, such as http://127.0.0.1:2098/mcp; empty: the agent has no tickets.
    ticket_server_url: str = ""
    #: Rows of one chunk of `analyze_transactions`.
    analysis_chunk: int = Field(default=2_000, ge=1)

    @property
    def is_offline(self) -> bool:
        """Tell whether the offline model answers."""
        return not self.model and not self.openai_api_key.get_secret_value() and not self.openai_base_url


@lru_cache(maxsize=1)
def agent_settings() -> AgentSettings:
    """Read them, once.

    Raises:
        SettingsError: a variable has a value that cannot be; the text names it.
    """
    return read(AgentSettings)
