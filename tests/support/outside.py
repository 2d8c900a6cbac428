"""External actions for tests, over `payments`: with a look-up, with a key, with neither; async and blocking."""

import os
from typing import Any, ClassVar

import httpx
from pydantic import Field

from clearance import ExternalAction, Facts, Material, Reading, Volatile
from clearance.actions import Absent, Call, Done, Looking, NotDone, Unclear

#: Where the provider listens.
URL = "TEST_PROVIDER_URL"

#: How long a perform may take: longer than a busy machine takes for an answer, and waited for by each that hangs. A
#: server of its own gets longer.
TIMEOUT = "TEST_PROVIDER_TIMEOUT_S"
TIMEOUT_S = float(os.environ.get(TIMEOUT, "3"))


class PayeeFacts(Facts):
    """What the provider says of the payee."""

    is_closed: Material[bool] = Field(title="Closed there")


class Sums(Facts):
    """What is ours."""

    pending: Volatile[int] = Field(title="Of its kind, not done yet")


def _url(path: str) -> str:
    return f"{os.environ[URL]}/{path}"


class PayOut(ExternalAction[PayeeFacts]):
    """Pay an amount to an account at another bank."""

    account: str = Field(max_length=40)
    amount: int = Field(gt=0, description="minor units")

    timeout_s: ClassVar[float] = TIMEOUT_S
    look_timeout_s: ClassVar[float] = 2
    arrives_within_s: ClassVar[float] = 3

    def business_key(self) -> str:
        return f"pay:{self.account}"

    async def facts(self, looking: Looking) -> PayeeFacts:
        async with httpx.AsyncClient() as http:
            answer = await http.get(_url(f"accounts/{self.account}"))
        return PayeeFacts(is_closed=answer.json()["closed"])

    def sums(self, reading: Reading) -> Sums:
        return Sums(pending=sum(int(one.arguments["amount"]) for one in reading.earlier(type(self))))

    async def perform(self, call: Call) -> Done:
        async with httpx.AsyncClient() as http:
            answer = await http.post(
                _url("payments"),
                json={"account": self.account, "amount": self.amount},
                headers={"Idempotency-Key": call.idempotency_key},
                timeout=30,
            )
        return _done(self, answer)

    async def look_up(self, call: Call) -> Done | Absent | Unclear:
        async with httpx.AsyncClient() as http:
            answer = await http.get(_url(f"payments/{call.idempotency_key}"))
        return _found(self, answer)


class PayOutBlocking(ExternalAction[Facts]):
    """Pay an amount to an account at another bank, by code that blocks."""

    account: str
    amount: int

    timeout_s: ClassVar[float] = TIMEOUT_S
    arrives_within_s: ClassVar[float] = 1

    def perform(self, call: Call) -> Done:
        answer = httpx.post(
            _url("payments"),
            json={"account": self.account, "amount": self.amount},
            headers={"Idempotency-Key": call.idempotency_key},
            timeout=30,
        )
        return _done(self, answer)

    def look_up(self, call: Call) -> Done | Absent | Unclear:
        return _found(self, httpx.get(_url(f"payments/{call.idempotency_key}")))


class PayOutByKey(PayOutBlocking):
    """Pay an amount by a provider that does a key once, and cannot be asked."""

    key_lasts_s: ClassVar[float] = 3600

    def look_up(self, call: Call) -> Done | Absent | Unclear:
        raise AssertionError("never asked")

    @classmethod
    def has_look_up(cls) -> bool:
        return False


class PayOutBlindly(ExternalAction[Facts]):
    """Pay an amount by a provider that cannot be asked, and does a key twice."""

    account: str
    amount: int

    timeout_s: ClassVar[float] = TIMEOUT_S
    arrives_within_s: ClassVar[float] = 0.2

    def perform(self, call: Call) -> str:
        answer = httpx.post(
            _url("payments"), json={"account": self.account, "amount": self.amount},
            headers={"Idempotency-Key": call.idempotency_key}, timeout=30,
        )  # fmt: skip
        return _done(self, answer).sentence


OUTSIDE: tuple[type[ExternalAction[Any]], ...] = (PayOut, PayOutBlocking, PayOutByKey, PayOutBlindly)

POLICY = """
[[rule]]
name    = "small pay-out"
action  = "pay_out"
when    = "args.amount + facts.pending <= 100 && !facts.is_closed"
verdict = "allow"

""" + "\n".join(
    f"""[[rule]]
name    = "{kind.tool_name().replace("_", " ")}"
action  = "{kind.tool_name()}"
verdict = "ask"
risk    = "high"
"""
    for kind in OUTSIDE
)


def _done(action: Any, answer: httpx.Response) -> Done:
    if answer.status_code == 422:
        raise NotDone(f"The provider refused it: {answer.json()['error']}.")
    answer.raise_for_status()
    return Done(f"Paid {action.amount} to {action.account} ({answer.json()['reference']}).")


def _found(action: Any, answer: httpx.Response) -> Done | Absent | Unclear:
    match answer.status_code:
        case 404:
            return Absent()
        case 200:
            return Done(f"Paid {action.amount} to {action.account} ({answer.json()['reference']}).")
        case status:
            return Unclear(f"it answers {status}")
