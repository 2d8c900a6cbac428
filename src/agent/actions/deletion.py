"""A customer is deleted for good."""

from pydantic import Field
from sqlalchemy.engine import Connection

from agent.actions.arguments import Id, Note
from agent.actions.movement import misleading
from agent.actions.transfer import TransferFunds
from agent.bank.customers import Customer, erase_customer, find_customer
from agent.bank.ledger import Account, accounts_of, count_entries, count_memos
from agent.bank.money import usd
from agent.bank.wording import named
from clearance import Action, ActionError, Effect, Facts, Material, Reading, Volatile
from clearance.actions import Change, Concern, Name, Review
from clearance.actions import Id as ShownId


class DeletionFacts(Facts):
    """Facts of `delete_user`."""

    name: Material[str] = Field(title="Customer", description="name, which will be erased")
    since: Material[str] = Field(title="Customer since", description="day, UTC")
    accounts: Material[str] = Field(title="Accounts to close", description="ids of the open accounts; empty for none")
    account_count: Material[int] = Field(title="Number of accounts to close")
    ledger_entries: Volatile[int] = Field(title="Ledger entries", description="which stay, as the law wants")
    memos: Volatile[int] = Field(title="Memos to erase", description="written by this customer")
    waiting: Volatile[int] = Field(
        title="Waiting transfers", description="of these accounts, asked or cleared before this; they would be refused"
    )


class DeleteUser(Action[DeletionFacts]):
    """Delete a customer for good: close the accounts and erase name, email, phone and memos. Ledger entries stay.

    Use it when the person asks to delete or erase a customer whose id is known; find_customers finds it. All accounts
    must be empty: move the money away first. Example: user_id "C-1003", reason "Asked for it in writing".
    It cannot be undone. It may wait until the right people have approved it; the result says what happened.
    """

    user_id: Id = Field(description="id of the customer, for example C-1003")
    reason: Note = Field(default="", description="why, for the reviewer; empty for none")

    def facts(self, reading: Reading) -> DeletionFacts:
        customer, owned = self._customer(reading.connection)
        account_ids = [account.account_id for account in owned if account.is_open]
        earlier = [TransferFunds.model_validate(e.arguments) for e in reading.earlier(TransferFunds)]
        return DeletionFacts(
            name=named(customer.name),
            since=f"{customer.opened_at:%Y-%m-%d}",
            accounts=", ".join(account_ids),
            account_count=len(account_ids),
            ledger_entries=count_entries(reading.connection, self.user_id),
            memos=count_memos(reading.connection, self.user_id),
            waiting=sum(e.from_account in account_ids or e.to_account in account_ids for e in earlier),
        )

    def perform(self, effect: Effect) -> str:
        _, owned = self._customer(effect.connection, lock=True)
        erase_customer(effect.connection, self.user_id)
        effect.erase(f"customer:{self.user_id}")
        closed = ", ".join(account.account_id for account in owned if account.is_open)
        return f"Deleted {self.user_id}{f' and closed {closed}' if closed else ''}; the ledger entries stay."

    def sentence(self, facts: DeletionFacts) -> str:
        accounts = f"{facts.account_count} account{'' if facts.account_count == 1 else 's'}"
        close = f" and close {accounts}" if facts.account_count else ""
        return f"Delete {facts.name} ({self.user_id}){close}"

    def subjects(self, facts: DeletionFacts) -> list[str]:
        return [f"customer:{self.user_id}"]

    def review(self, facts: DeletionFacts) -> Review:
        count = f"{facts.account_count} account{'' if facts.account_count == 1 else 's'}"
        # A name that cannot be typed as it is seen is confirmed by the id.
        is_plain = facts.name.isascii() and not facts.name.startswith('"')
        concerns = misleading(customer=facts.name)
        if facts.waiting:
            concerns.append(Concern((f"{facts.waiting} waiting transfers of these accounts",), ("They are refused.",)))
        return Review(
            verb="Delete",
            past="Deleted",
            what=(Name(facts.name),),
            who=(ShownId(self.user_id), *((f"and close {count}",) if facts.account_count else ())),
            line=("customer", Name(facts.name), ShownId(self.user_id)),
            below=(f"{count} to close; personal data goes",),
            amount="1 customer",
            changes=[
                Change(("Name, email and phone",), "kept", "erased"),
                Change(("Open accounts",), str(facts.account_count), "0"),
                Change(("Memos written",), str(facts.memos), "0"),
                Change(("Ledger entries",), str(facts.ledger_entries), str(facts.ledger_entries)),
            ],
            concerns=concerns,
            said=frozenset({"name", "account_count", "memos", "ledger_entries"}),
            confirm=facts.name if is_plain else self.user_id,
            confirm_is="the name" if is_plain else "the id",
        )

    def _customer(self, connection: Connection, *, lock: bool = False) -> tuple[Customer, list[Account]]:
        customer = find_customer(connection, self.user_id, lock=lock)
        if customer is None:
            raise ActionError(f"There is no customer {self.user_id}.")
        if customer.is_deleted:
            raise ActionError(f"{self.user_id} is already deleted.")
        owned = list(accounts_of(connection, self.user_id, lock=lock))
        filled = [
            f"{account.account_id} has {usd(account.balance_minor)}" for account in owned if account.balance_minor
        ]
        if filled:
            raise ActionError(f"{self.user_id} cannot be deleted while there is money: {', '.join(filled)}.")
        return customer, owned
