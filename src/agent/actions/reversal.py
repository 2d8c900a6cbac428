"""A transfer goes back."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field
from sqlalchemy.engine import Connection

from agent.actions.arguments import Id, Note
from agent.actions.movement import (
    DAY,
    SAID,
    MovementFacts,
    balances,
    check_funds,
    leaving,
    misleading,
    moved_beside,
    movement,
    on_its_way,
    parties,
    split,
    subjects_of,
)
from agent.bank.ledger import Account, Transfer, find_reversal, find_transfer, make_transfer, sent_by_account, traces_of
from agent.bank.money import Minor, usd
from agent.bank.wording import quoted
from clearance import Action, ActionError, Effect, Material, Reading, Volatile
from clearance.actions import Id as ShownId
from clearance.actions import Name, Review


class ReversalFacts(MovementFacts):
    """Facts of `reverse_transfer`: payer and receiver are those of the reversal."""

    amount: Material[Minor] = Field(title="Amount", description="what goes back, all of it")
    from_account: Material[str] = Field(title="From", description="account that pays back")
    to_account: Material[str] = Field(title="To", description="account that gets its money back")
    made_at: Material[str] = Field(title="Made", description="when the transfer was made, UTC")
    memo: Volatile[str] = Field(title="Memo", description="memo of the transfer, quoted; empty when it has none")
    sent_24h: Volatile[Minor] = Field(
        default=0, title="Account sent in 24 h", description="what left the account that pays back"
    )


class ReverseTransfer(Action[ReversalFacts]):
    """Undo a transfer: the whole amount goes back from the account that received it.

    Use it when the person asks to reverse, undo or take back a transfer whose id is known; list_transactions finds it.
    Example: transfer_id "T-20418", reason "Paid twice". A transfer can be reversed once, a reversal not at all.
    It may wait until the right people have approved it; the result says what happened.
    """

    transfer_id: Id = Field(description="id of the transfer to undo, for example T-20418")
    reason: Note = Field(default="", description="why, for the reviewer and the receiver; empty for none")

    def facts(self, reading: Reading) -> ReversalFacts:
        original, payer, receiver = self._parties(reading.connection)
        check_funds(payer, original.amount_minor, on_its_way(leaving(reading), payer.account_id))
        return ReversalFacts(
            **movement(payer, receiver, original.amount_minor),
            amount=original.amount_minor,
            from_account=payer.account_id,
            to_account=receiver.account_id,
            made_at=f"{original.made_at:%Y-%m-%d %H:%M} UTC",
            memo=quoted(original.memo) if original.memo else "",
            moving=original.amount_minor + moved_beside(reading),
            sent_24h=sent_by_account(reading.connection, payer.account_id, until=reading.now, span=DAY),
        )

    def perform(self, effect: Effect) -> str:
        original, payer, receiver = self._parties(effect.connection, lock=True)
        reversal_id = make_transfer(
            effect.connection,
            from_account=payer.account_id,
            to_account=receiver.account_id,
            amount_minor=original.amount_minor,
            memo=self.reason or None,
            made_at=effect.now,
            request_id=effect.request_id,
            requested_by=effect.requested_by,
            reverses=original.transfer_id,
        )
        amount = usd(original.amount_minor)
        back = f"{amount} went back from {payer.account_id} to {receiver.account_id}"
        return f"Reversed {original.transfer_id}: {back} ({reversal_id})."

    @classmethod
    def traces(cls, connection: Connection, request_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        return traces_of(connection, request_ids)

    def sentence(self, facts: ReversalFacts) -> str:
        payer = f"{facts.from_account} ({facts.from_owner}, {facts.from_customer})"
        receiver = f"{facts.to_account} ({facts.to_owner}, {facts.to_customer})"
        return f"Reverse {self.transfer_id}: {usd(facts.amount)} back from {payer} to {receiver}"

    def subjects(self, facts: ReversalFacts) -> list[str]:
        return subjects_of(facts)

    def review(self, facts: ReversalFacts) -> Review:
        payer = (Name(facts.from_owner), ShownId(facts.from_account))
        receiver = (Name(facts.to_owner), ShownId(facts.to_account))
        return Review(
            verb="Reverse",
            past="Reversed",
            what=(ShownId(self.transfer_id),),
            who=(usd(facts.amount), "back from", *payer, "to", *receiver),
            line=("transfer", ShownId(self.transfer_id)),
            below=("back to", *receiver, "from", *payer),
            amount=usd(facts.amount),
            changes=balances(facts.from_account, facts.to_account, facts.amount, facts),
            concerns=[*misleading(payer=facts.from_owner, payee=facts.to_owner), *split(facts.moving, facts.amount)],
            said=SAID | {"amount", "from_account", "to_account", "moving"},
            confirm=usd(facts.amount).lstrip("$"),
            confirm_is="the amount",
        )

    def _parties(self, connection: Connection, *, lock: bool = False) -> tuple[Transfer, Account, Account]:
        original = find_transfer(connection, self.transfer_id)
        if original is None:
            raise ActionError(f"There is no transfer {self.transfer_id}.")
        if original.reverses is not None:
            raise ActionError(f"{self.transfer_id} is itself the reversal of {original.reverses} and stays.")
        reversal = find_reversal(connection, self.transfer_id)
        if reversal is not None:
            raise ActionError(f"{self.transfer_id} was already reversed, by {reversal.transfer_id}.")
        payer, receiver = parties(
            connection, original.to_account, original.from_account, original.amount_minor, lock=lock
        )
        return original, payer, receiver
