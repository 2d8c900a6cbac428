"""The payment provider, over HTTP: whose account an IBAN is, a payment under a key, and what became of a key.

    GET  /accounts/{iban}   {"owner": "…", "bank": "…", "closed": false}, or 404
    POST /payments          {"account": iban, "amount": "900.00", "memo": "…"} under Idempotency-Key: {"reference": "…"}
    GET  /payments/{key}    {"reference": "…"}, or 404

PAYMENT_PROVIDER_URL says where it is; without one nothing is paid to other banks, and everything else works.
"""

from dataclasses import dataclass
from typing import Any

import httpx
from pydantic import BaseModel, Field

from agent.bank.wording import quoted
from agent.settings import agent_settings
from clearance import ActionError

#: Statuses that say that nothing was done: it was not understood, not allowed or not possible.
_REFUSALS = (400, 401, 403, 404, 422, 429)


class Refused(Exception):
    """It surely did nothing; the text is a sentence."""


@dataclass(frozen=True)
class Payee:
    """Whose account an IBAN is, as its bank says."""

    owner: str
    bank: str
    is_closed: bool


class _Account(BaseModel):
    owner: str = Field(min_length=1, max_length=200)
    bank: str = Field(min_length=1, max_length=200)
    closed: bool


class _Paid(BaseModel):
    reference: str = Field(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9-]+$")


async def read_payee(iban: str) -> Payee | None:
    """Read whose account it is; None where there is none.

    Raises:
        ActionError: there is no provider, or it does not answer.
    """
    try:
        async with _client() as http:
            answer = await http.get(f"accounts/{iban}")
        if answer.status_code == 404:
            return None
        answer.raise_for_status()
        found = _Account.model_validate_json(answer.content)
    except (httpx.HTTPError, ValueError) as exc:
        raise ActionError("The payment provider does not answer, so nobody can say whose account it is.") from exc
    return Payee(found.owner, found.bank, found.closed)


async def pay(iban: str, amount: str, memo: str, *, key: str) -> str:
    """Pay, under a key, and give the provider's reference. Whatever else is raised: nobody knows.

    Raises:
        Refused: nothing was paid.
    """
    given: dict[str, Any] = {"account": iban, "amount": amount, "memo": memo}
    try:
        async with _client() as http:
            answer = await http.post("payments", json=given, headers={"Idempotency-Key": key})
    except (httpx.ConnectError, httpx.ConnectTimeout) as exc:  # nothing was sent
        raise Refused("it cannot be reached.") from exc
    except ActionError as exc:  # it is configured no more
        raise Refused(str(exc)) from exc
    if answer.status_code in _REFUSALS:
        raise Refused(f"{_why(answer)}.")
    answer.raise_for_status()
    return _Paid.model_validate_json(answer.content).reference


async def find_payment(key: str) -> str | None:
    """Give the reference of what was paid under a key; None where the provider knows of none."""
    async with _client() as http:
        answer = await http.get(f"payments/{key}")
    if answer.status_code == 404:
        return None
    answer.raise_for_status()
    return _Paid.model_validate_json(answer.content).reference


def _client() -> httpx.AsyncClient:
    settings = agent_settings()
    if not settings.payment_provider_url:
        raise ActionError(
            "No payment provider is configured (PAYMENT_PROVIDER_URL), so nothing can be paid to other banks."
        )
    secret = settings.payment_provider_key.get_secret_value()
    # Longer than `timeout_s` of the action, which ends the call.
    return httpx.AsyncClient(
        base_url=settings.payment_provider_url,
        headers={"Authorization": f"Bearer {secret}"} if secret else {},
        timeout=30,
    )


def _why(answer: httpx.Response) -> str:
    """Give what the provider says, as somebody else's words."""
    try:
        said = answer.json()["error"]
    except (ValueError, KeyError, TypeError):
        said = None
    return quoted(said) if isinstance(said, str) and said else f"status {answer.status_code}"
