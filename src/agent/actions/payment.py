"""Money leaves for another bank, through a payment provider over HTTP: an external action.

What is on its way is held back from the account (`movement.on_its_way`) from the moment that it is cleared. It is
booked when it is known to have happened, in the transaction of the receipt, by whatever way that became known; what did
not happen is held back no more. So two payments, or a payment and a transfer, cannot spend the same money.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field
from sqlalchemy.engine import Connection

from agent import provider
from agent.actions.arguments import Iban, Id, Note
from agent.actions.movement import (
    AccountSent,
    IsNewPayee,
    RequesterSent,
    change,
    check_funds,
    leaving,
    misleading,
    moved_beside,
    on_its_way,
    sent_lately,
    split,
    usable,
)
from agent.bank.ledger import (
    find_account,
    has_paid_out,
    make_payment,
    traces_of,
)
from agent.bank.money import Amount, Minor, to_decimal_text, usd
from agent.bank.wording import named
from clearance import Action, ActionError, Effect, ExternalAction, Facts, Material, Reading, Volatile
from clearance.actions import Absent, Call, Concern, Done, Looking, Name, NotDone, Review, Unclear
from clearance.actions import Id as ShownId


class PayeeFacts(Facts):
    """What the provider says of the account that is paid."""

    to_owner: Material[str] = Field(title="Receives", description="whose account it is, as its bank says")
    to_bank: Material[str] = Field(title="At", description="the bank that has the account")


class PaymentSums(Facts):
    """What is ours."""

    from_owner: Material[str] = Field(title="Pays", description="name of the customer whose account pays")
    from_customer: Material[str] = Field(title="Pays, customer", description="that customer's id")
    from_status: Material[str] = Field(title="Paying account", description="open or closed")
    from_balance: Volatile[Minor] = Field(title="Payer has", description="balance of the paying account")
    from_balance_after: Volatile[Minor] = Field(title="Payer then has", description="its balance after this alone")
    on_its_way: Volatile[Minor] = Field(
        title="On its way", description="cleared before this for other banks, and not booked yet"
    )
    is_new_payee: IsNewPayee
    sent_24h: AccountSent
    requester_sent_24h: RequesterSent
    moving: Volatile[Minor] = Field(title="Moved by its message", description="what the message moves in all")


class SendPayment(ExternalAction[PayeeFacts]):
    """Pay an amount from an account of this bank to an account at another bank.

    Use it when the person asks to pay an IBAN; within the bank transfer_funds does it. Example: from_account "A-2001",
    to_iban "DE89370400440532013000", amount "900.00", memo "Invoice 77". It may wait until the right people have
    approved it. When nobody knows whether it arrived, the result says so: do not pay again, it is looked up.
    """

    from_account: Id = Field(description="id of the account that pays, for example A-2001")
    to_iban: Iban = Field(description="IBAN of the account that receives, for example DE89370400440532013000")
    amount: Amount = Field(description='US dollars, more than 0, at most two decimals, for example "900.00"')
    memo: Note = Field(default="", description="what the receiver reads beside the amount; empty for none")

    timeout_s: ClassVar[float] = 10
    look_timeout_s: ClassVar[float] = 5
    arrives_within_s: ClassVar[float] = 60

    def business_key(self) -> str:
        # The same sum for the same payee from the same account, twice at once, is one payment that was asked for twice.
        return f"payment:{self.from_account}:{self.to_iban}:{to_decimal_text(self.amount)}"

    async def facts(self, looking: Looking) -> PayeeFacts:
        found = await provider.read_payee(self.to_iban)
        if found is None:
            raise ActionError(f"There is no account {self.to_iban} at another bank.")
        if found.is_closed:
            raise ActionError(f"{self.to_iban} is closed, says its bank.")
        return PayeeFacts(to_owner=named(found.owner), to_bank=named(found.bank))

    def sums(self, reading: Reading) -> PaymentSums:
        payer = usable(find_account(reading.connection, self.from_account), self.from_account)
        assert payer.owner is not None, "only the house has no owner"
        earlier = leaving(reading)
        held = on_its_way(earlier, self.from_account)
        check_funds(payer, self.amount, held)
        this_way = (self.from_account, self.to_iban)
        return PaymentSums(
            from_owner=named(payer.owner.name),
            from_customer=payer.owner.customer_id,
            from_status=payer.status,
            from_balance=payer.balance_minor,
            from_balance_after=payer.balance_minor - self.amount,
            on_its_way=held,
            is_new_payee=not any((one.from_account, one.to_iban) == this_way for one in earlier)
            and not has_paid_out(reading.connection, *this_way),
            **sent_lately(reading, earlier, self.from_account),
            moving=self.amount + moved_beside(reading),
        )

    async def perform(self, call: Call) -> Done:
        try:
            reference = await provider.pay(
                self.to_iban, to_decimal_text(self.amount), self.memo, key=call.idempotency_key
            )
        except provider.Refused as exc:
            raise NotDone(f"The payment provider refused it: {exc}") from exc
        return self._done(reference)

    async def look_up(self, call: Call) -> Done | Absent | Unclear:
        found = await provider.find_payment(call.idempotency_key)
        return Absent() if found is None else self._done(found)

    def write_down(self, effect: Effect) -> None:
        make_payment(
            effect.connection,
            from_account=self.from_account,
            to_iban=self.to_iban,
            amount_minor=self.amount,
            memo=self.memo or None,
            made_at=effect.now,
            request_id=effect.request_id,
            requested_by=effect.requested_by,
        )

    @classmethod
    def traces(cls, connection: Connection, request_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        return traces_of(connection, request_ids)

    def sentence(self, facts: Any) -> str:
        payer = f"{self.from_account} ({facts.from_owner}, {facts.from_customer})"
        return f"Pay {usd(self.amount)} from {payer} to {self.to_iban} ({facts.to_owner}, {facts.to_bank})"

    def subjects(self, facts: Any) -> list[str]:
        return [f"customer:{facts.from_customer}"]

    def narrows(self, original: Action[Any]) -> bool:
        return (
            isinstance(original, SendPayment)
            and (self.from_account, self.to_iban, self.memo) == (original.from_account, original.to_iban, original.memo)
            and self.amount < original.amount
        )

    def review(self, facts: Any) -> Review:
        payer = (Name(facts.from_owner), ShownId(self.from_account))
        receiver = (Name(facts.to_owner), ShownId(self.to_iban))
        return Review(
            verb="Pay",
            past="Paid",
            what=(usd(self.amount),),
            who=("from", *payer, "to", *receiver, "at", Name(facts.to_bank)),
            line=("to", *receiver),
            below=("from", *payer),
            amount=usd(self.amount),
            changes=[
                change(("Balance of", ShownId(self.from_account)), facts.from_balance, -self.amount, payer[:1]),
                change(("Sent from", ShownId(self.from_account), "in 24 h"), facts.sent_24h, self.amount),
            ],
            concerns=self._concerns(facts),
            said=frozenset({"from_owner", "to_owner", "to_bank", "from_balance", "from_balance_after", "sent_24h",
                            "is_new_payee", "moving", "on_its_way"}),
            confirm=usd(self.amount).lstrip("$"),
            confirm_is="the amount",
        )  # fmt: skip

    def _concerns(self, facts: Any) -> list[Concern]:
        found = misleading(payer=facts.from_owner, payee=facts.to_owner, bank=facts.to_bank)
        found += split(facts.moving, self.amount)
        if facts.is_new_payee:
            found.append(Concern(("First payment from", ShownId(self.from_account), "to", ShownId(self.to_iban)),
                                 ("Money that left for another bank does not come back by itself.",)))  # fmt: skip
        if facts.on_its_way:
            found.append(Concern((f"{usd(facts.on_its_way)} of this account is on its way to other banks already",)))
        return found

    def _done(self, reference: str) -> Done:
        return Done(f"Paid {usd(self.amount)} from {self.from_account} to {self.to_iban} (reference {reference}).")
