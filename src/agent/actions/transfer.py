"""Money moves between two accounts of the bank."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from pydantic import Field
from sqlalchemy.engine import Connection

from agent.actions.arguments import Id, Note
from agent.actions.movement import (
    SAID,
    AccountSent,
    IsNewPayee,
    MovementFacts,
    RequesterSent,
    balances,
    change,
    leaving,
    misleading,
    moved_beside,
    movement,
    on_its_way,
    parties,
    sent_lately,
    split,
    subjects_of,
)
from agent.bank.ledger import (
    Account,
    has_paid,
    make_transfer,
    sent_by_day,
    traces_of,
)
from agent.bank.money import Amount, Minor, usd
from clearance import Action, Effect, Reading, Volatile
from clearance.actions import Activity, Concern, Name, Review
from clearance.actions import Id as ShownId

_SHOWN_DAYS = timedelta(days=60)


class TransferFacts(MovementFacts):
    """Facts of `transfer_funds`."""

    is_new_payee: IsNewPayee
    sent_24h: AccountSent
    requester_sent_24h: RequesterSent
    waiting: Volatile[Minor] = Field(
        title="Waiting before this", description="the part of what the account sent that is not carried out yet"
    )


class TransferFunds(Action[TransferFacts]):
    """Move money from one account to another.

    Use it when the person asks to pay, send or move an amount and both account ids are known; look ids up first
    when only a name was given. Example: from_account "A-2001", to_account "A-2003", amount "4825.00", memo "Invoice".
    It may wait until the right people have approved it; the result says what happened.
    """

    from_account: Id = Field(description="id of the account that pays, for example A-2001")
    to_account: Id = Field(description="id of the account that receives, for example A-2003")
    amount: Amount = Field(description='US dollars, more than 0, at most two decimals, for example "4825.00"')
    memo: Note = Field(default="", description="what the receiver reads beside the amount; empty for none")

    def facts(self, reading: Reading) -> TransferFacts:
        earlier = leaving(reading)
        payer, receiver = self._parties(reading.connection, held=on_its_way(earlier, self.from_account))
        waiting = sum(one.amount for one in earlier if one.from_account == self.from_account)
        # Payees that an earlier call will have paid are not new: so the answer is the same before and after it runs.
        this_way = (self.from_account, self.to_account)
        about_to_be_paid = any((one.from_account, one.to_account) == this_way for one in earlier)
        return TransferFacts(
            **movement(payer, receiver, self.amount),
            moving=self.amount + moved_beside(reading),
            is_new_payee=not about_to_be_paid and not has_paid(reading.connection, self.from_account, self.to_account),
            **sent_lately(reading, earlier, self.from_account),
            waiting=waiting,
        )

    def perform(self, effect: Effect) -> str:
        self._parties(effect.connection, lock=True)
        transfer_id = make_transfer(
            effect.connection,
            from_account=self.from_account,
            to_account=self.to_account,
            amount_minor=self.amount,
            memo=self.memo or None,
            made_at=effect.now,
            request_id=effect.request_id,
            requested_by=effect.requested_by,
        )
        return f"Transferred {usd(self.amount)} from {self.from_account} to {self.to_account} ({transfer_id})."

    @classmethod
    def traces(cls, connection: Connection, request_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        return traces_of(connection, request_ids)

    def sentence(self, facts: TransferFacts) -> str:
        payer = f"{self.from_account} ({facts.from_owner}, {facts.from_customer})"
        return f"Transfer {usd(self.amount)} from {payer} to {self.to_account} ({facts.to_owner}, {facts.to_customer})"

    def subjects(self, facts: TransferFacts) -> list[str]:
        return subjects_of(facts)

    def narrows(self, original: Action[Any]) -> bool:
        # The memo must stay: the receiver reads it, so another one is another message and not less of the same.
        return (
            isinstance(original, TransferFunds)
            and (self.from_account, self.to_account, self.memo)
            == (original.from_account, original.to_account, original.memo)
            and self.amount < original.amount
        )

    def review(self, facts: TransferFacts) -> Review:
        payer = (Name(facts.from_owner), ShownId(self.from_account))
        receiver = (Name(facts.to_owner), ShownId(self.to_account))
        return Review(
            verb="Transfer",
            past="Transferred",
            what=(usd(self.amount),),
            who=("from", *payer, "to", *receiver),
            line=("to", *receiver),
            below=("from", *payer),
            amount=usd(self.amount),
            changes=(*balances(self.from_account, self.to_account, self.amount, facts),
                     change(("Sent from", ShownId(self.from_account), "in 24 h"), facts.sent_24h, self.amount)),
            concerns=self._concerns(facts),
            said=SAID | {"sent_24h", "is_new_payee", "moving"},
            confirm=usd(self.amount).lstrip("$"),
            confirm_is="the amount",
        )  # fmt: skip

    def _concerns(self, facts: TransferFacts) -> list[Concern]:
        found = misleading(payer=facts.from_owner, payee=facts.to_owner)
        found += split(facts.moving, self.amount)
        if facts.is_new_payee:
            payee = (ShownId(self.from_account), "to", ShownId(self.to_account))
            found.append(Concern(("First payment from", *payee), ("Nothing was ever paid this way.",)))
        if self.amount * 2 >= facts.from_balance > 0:
            share = self.amount * 100 // facts.from_balance
            found.append(Concern((f"{share} % of what", ShownId(self.from_account), "holds")))
        if facts.sent_24h:
            together = f"Together with this {usd(facts.sent_24h + self.amount)}."
            found.append(Concern((f"{usd(facts.sent_24h)} left or leaves it in 24 h already",), (together,)))
        return found

    def activity(self, reading: Reading) -> Activity | None:
        today = reading.now.date()
        sent = sent_by_day(reading.connection, self.from_account, since=reading.now - _SHOWN_DAYS, until=reading.now)
        days = [today - timedelta(days=ago) for ago in range(_SHOWN_DAYS.days - 1, -1, -1)]
        per_day = [(day, sent.get(day, 0)) for day in days]
        return Activity("Sent per day", (ShownId(self.from_account),), per_day, self.amount, usd)

    def _parties(self, connection: Connection, *, held: int = 0, lock: bool = False) -> tuple[Account, Account]:
        return parties(connection, self.from_account, self.to_account, self.amount, held=held, lock=lock)
