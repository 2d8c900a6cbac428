"""Which model the settings name, made and wrapped. Does no network."""

import hashlib
import os
from functools import lru_cache
from typing import Any

from langchain_core.language_models import BaseChatModel
from pydantic import SecretStr

from agent.offline_model import OfflineModel
from agent.settings import AgentSettings, agent_settings
from clearance.loglines import logger_of
from clearance.models import Whole
from clearance.settings import Settings, SettingsError, settings

logger = logger_of(__name__)

_OPENAI = "https://api.openai.com/v1"
_DEFAULT = "gpt-5-mini"
#: Longer than one answer may take, so that it is `speak` who tells how long that was.
_SPARE_S = 5


@lru_cache(maxsize=1)
def the_model() -> BaseChatModel:
    """Give the model of this process, made at the first call.

    Raises:
        SettingsError: see `chat_model`.
    """
    return chat_model(agent_settings(), settings())


def chat_model(own: AgentSettings, shared: Settings) -> BaseChatModel:
    """Make the model these settings name, streaming; with none the offline one, which is logged.

    Does no network. A model that fails later is never replaced by the offline one.

    Raises:
        SettingsError: no such provider, its package is not there, or it has no key.
    """
    if own.is_offline:
        logger.warning("offline model answers: none is configured (MODEL, OPENAI_API_KEY, OPENAI_BASE_URL)")
        return OfflineModel()
    provider, colon, name = own.model.partition(":")
    is_openai = bool(own.openai_base_url) or not colon or provider == "openai"
    inner = _openai(own, shared) if is_openai else _other(provider, name, own, shared)
    return Whole(
        inner=inner,
        of=_of(inner),
        retries=own.model_retries,
        may_lack_reason=shared.may_lack_reason,
        streaming=True,
    )


def _openai(own: AgentSettings, shared: Settings) -> BaseChatModel:
    key = own.openai_api_key.get_secret_value()
    if not key and not own.openai_base_url:
        raise SettingsError(
            f"OPENAI_API_KEY: missing, and MODEL is {own.model!r}, which is OpenAI's; leave MODEL empty for the"
            " offline model, name another provider (MODEL=ollama:…), or set OPENAI_BASE_URL"
        )
    from clearance.models.endpoint import Endpoint  # OpenAI's client, which takes half a second, and others do without

    return Endpoint(
        model=own.model.removeprefix("openai:") or _DEFAULT,
        # Explicit, so that neither OPENAI_API_BASE nor a LangSmith gateway in the environment sends it elsewhere.
        base_url=own.openai_base_url or _OPENAI,
        # Local endpoints want no key; the client wants one.
        api_key=SecretStr(key or "none"),
        timeout=shared.model_timeout_s + _SPARE_S,
        max_retries=0,  # `Whole` tries again
        # Some compatible endpoints answer 400 when they are asked for it.
        stream_usage=not own.openai_base_url,
        # Left open, it is chosen by the model's name and the message's shape; compatible endpoints have only this one.
        use_responses_api=False,
    )


def _other(provider: str, name: str, own: AgentSettings, shared: Settings) -> BaseChatModel:
    from langchain.chat_models import init_chat_model  # heavy, and most servers speak to one endpoint

    timeout_s = shared.model_timeout_s + _SPARE_S
    bounds: dict[str, Any] = {"timeout": timeout_s, "max_retries": 0}
    if provider == "ollama":
        bounds = {"client_kwargs": {"timeout": timeout_s}}
    try:
        made: BaseChatModel = init_chat_model(name, model_provider=provider, **bounds)
    except ImportError as exc:
        raise SettingsError(
            f"MODEL: {provider!r} needs a package that is not installed: {exc}"
            f" (for anthropic, google-genai and ollama: pip install 'clearance[{provider.replace('_', '-')}]')"
        ) from exc
    except Exception as exc:  # noqa: BLE001 - whatever a provider's package thinks of its settings
        # Its own words may repeat a key; what kind of error it is and our own words have to do.
        raise SettingsError(f"MODEL: {own.model!r} cannot be made: {_why(exc, provider)}") from None
    gateway = os.environ.get("LANGSMITH_GATEWAY") or "-"
    if any(part in _address(made) for part in (gateway, "gateway.smith.langchain.com")):
        raise SettingsError("LANGSMITH_GATEWAY: would send every conversation there, and not to the provider; unset it")
    for field in type(made).model_fields:
        value = getattr(made, field)
        if field.endswith("api_key") and isinstance(value, SecretStr) and not value.get_secret_value():
            raise SettingsError(f"MODEL: {own.model!r} needs a key: {_key_of(provider)}")
    return made


def _why(exc: Exception, provider: str) -> str:
    if isinstance(exc, ValueError) and "Unsupported" in str(exc):
        return (
            f"there is no provider {provider!r}; write provider:name, such as anthropic:…, or set OPENAI_BASE_URL,"
            " to which the name goes whole"
        )
    return (
        f"its package refused its settings ({type(exc).__name__}); is the provider's key set, as {_key_of(provider)}?"
    )


def _key_of(provider: str) -> str:
    name = {"google_genai": "GOOGLE_API_KEY"}.get(provider, f"{provider.upper()}_API_KEY")
    return f"{name} (which is {'set' if os.environ.get(name) else 'not set'})"


def _of(inner: BaseChatModel) -> str:
    """Name provider and address, without telling the address, which may hold a key."""
    return f"{inner._llm_type}/{hashlib.sha256(_address(inner).encode()).hexdigest()[:12]}"


def _address(inner: BaseChatModel) -> str:
    names = ("openai_api_base", "anthropic_api_url", "base_url", "endpoint_url")
    return next((str(url) for name in names if (url := getattr(inner, name, None))), "")
