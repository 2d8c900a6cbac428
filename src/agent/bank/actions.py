"""The three actions of the bank. The gate runs them, and nothing else does: see `clearance/gate.py`."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError
from sqlalchemy.engine import Connection

from agent.bank.customers import Customer, erase_customer, find_customer
from agent.bank.ledger import (
    HOUSE,
    Account,
    Transfer,
    accounts_of,
    count_entries,
    count_memos,
    find_account,
    find_reversal,
    find_transfer,
    has_paid,
    make_transfer,
    sent_by_account,
    sent_by_day,
    sent_by_requester,
    traces_of,
)
from agent.bank.money import Amount, Minor, usd
from agent.bank.wording import has_control_characters, named, quoted
from agent.clearance.action import Action, ActionError, Effect, Facts, Material, Reading, Volatile
from agent.clearance.review import Activity, Change, Concern, Name, Review, Words
from agent.clearance.review import Id as ShownId

_DAY = timedelta(hours=24)
_SHOWN_DAYS = timedelta(days=60)


def _parse_id(text: str) -> str:
    parsed = text.strip().upper()
    if not parsed.isascii() or not parsed.replace("-", "").isalnum():
        raise PydanticCustomError("id", "an id is letters, digits and hyphens, such as A-2001")
    return parsed


def _parse_note(text: str) -> str:
    note = " ".join(text.split())
    if has_control_characters(note):
        raise PydanticCustomError("note", "text must not contain control characters")
    return note


#: An id as people write it; `a-2001` is `A-2001`.
Id = Annotated[str, Field(min_length=1, max_length=40), AfterValidator(_parse_id)]
#: Free text on one line; empty when there is nothing to say.
Note = Annotated[str, Field(max_length=500), AfterValidator(_parse_note)]


class MovementFacts(Facts):
    """Who pays whom and what they have, before and after: facts of whatever moves money."""

    from_owner: Material[str] = Field(title="Pays", description="name of the customer whose account pays")
    from_customer: Material[str] = Field(title="Pays, customer", description="that customer's id")
    from_status: Material[str] = Field(title="Paying account", description="open or closed")
    to_owner: Material[str] = Field(title="Receives", description="name of the customer whose account receives")
    to_customer: Material[str] = Field(title="Receives, customer", description="that customer's id")
    to_status: Material[str] = Field(title="Receiving account", description="open or closed")
    from_balance: Volatile[Minor] = Field(title="Payer has", description="balance of the paying account")
    from_balance_after: Volatile[Minor] = Field(title="Payer then has", description="its balance after this alone")
    to_balance: Volatile[Minor] = Field(title="Receiver has", description="balance of the receiving account")
    to_balance_after: Volatile[Minor] = Field(title="Receiver then has", description="its balance after this alone")
    # Older requests were stored without it, and are judged again by `clearance policy replay`.
    moving: Volatile[Minor] = Field(
        default=0, title="Moved by its message", description="what the message moves in all: transfers and reversals"
    )


class TransferFacts(MovementFacts):
    """Facts of `transfer_funds`."""

    is_new_payee: Material[bool] = Field(
        title="New payee", description="nothing was ever paid this way, nor is asked or cleared before this"
    )
    sent_24h: Volatile[Minor] = Field(
        title="Account sent in 24 h", description="what left the account, and what is asked or cleared before this"
    )
    requester_sent_24h: Volatile[Minor] = Field(
        title="Requester sent in 24 h", description="the same for whoever asked, over all accounts"
    )
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
        payer, receiver = self._parties(reading.connection)
        earlier = [(self.model_validate(e.arguments), e.requested_by) for e in reading.earlier(TransferFunds)]
        waiting = sum(e.amount for e, _ in earlier if e.from_account == self.from_account)
        waiting_requester = sum(e.amount for e, who in earlier if who == reading.requested_by)
        # Payees that an earlier call will have paid are not new: so the answer is the same before and after it runs.
        about_to_be_paid = any(
            (e.from_account, e.to_account) == (self.from_account, self.to_account) for e, _ in earlier
        )
        sent = sent_by_account(reading.connection, self.from_account, until=reading.now, span=_DAY)
        asked = sent_by_requester(reading.connection, reading.requested_by, until=reading.now, span=_DAY)
        return TransferFacts(
            **_movement(payer, receiver, self.amount),
            moving=self.amount + _moved_beside(reading),
            is_new_payee=not about_to_be_paid and not has_paid(reading.connection, self.from_account, self.to_account),
            sent_24h=sent + waiting,
            requester_sent_24h=asked + waiting_requester,
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
        return _subjects(facts)

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
            changes=(*_balances(self.from_account, self.to_account, self.amount, facts),
                     _change(("Sent from", ShownId(self.from_account), "in 24 h"), facts.sent_24h, self.amount)),
            concerns=self._concerns(facts),
            said=_SAID | {"sent_24h", "is_new_payee", "moving"},
            confirm=usd(self.amount).lstrip("$"),
            confirm_is="the amount",
        )  # fmt: skip

    def _concerns(self, facts: TransferFacts) -> list[Concern]:
        found = _misleading(payer=facts.from_owner, payee=facts.to_owner)
        found += _split(facts, self.amount)
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

    def _parties(self, connection: Connection, *, lock: bool = False) -> tuple[Account, Account]:
        return _parties(connection, self.from_account, self.to_account, self.amount, lock=lock)


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
        return ReversalFacts(
            **_movement(payer, receiver, original.amount_minor),
            amount=original.amount_minor,
            from_account=payer.account_id,
            to_account=receiver.account_id,
            made_at=f"{original.made_at:%Y-%m-%d %H:%M} UTC",
            memo=quoted(original.memo) if original.memo else "",
            moving=original.amount_minor + _moved_beside(reading),
            sent_24h=sent_by_account(reading.connection, payer.account_id, until=reading.now, span=_DAY),
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
        return _subjects(facts)

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
            changes=_balances(facts.from_account, facts.to_account, facts.amount, facts),
            concerns=[*_misleading(payer=facts.from_owner, payee=facts.to_owner), *_split(facts, facts.amount)],
            said=_SAID | {"amount", "from_account", "to_account", "moving"},
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
        payer, receiver = _parties(
            connection, original.to_account, original.from_account, original.amount_minor, lock=lock
        )
        return original, payer, receiver


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
        concerns = _misleading(customer=facts.name)
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


def _parties(
    connection: Connection, from_account: str, to_account: str, amount_minor: int, *, lock: bool
) -> tuple[Account, Account]:
    """Give payer and receiver of a movement that can be made as things stand.

    Raises:
        ActionError: it cannot: the same account, an unknown, closed or the bank's own one, or too little money.
    """
    if from_account == to_account:
        raise ActionError(f"{from_account} cannot pay itself: name two different accounts.")
    # Locked in the order of their ids, so that two transfers the other way round cannot wait for each other.
    found = {
        account_id: find_account(connection, account_id, lock=lock) for account_id in sorted((from_account, to_account))
    }
    payer, receiver = _usable(found, from_account), _usable(found, to_account)
    if payer.balance_minor < amount_minor:
        raise ActionError(
            f"{from_account} has {usd(payer.balance_minor)}, which is less than {usd(amount_minor)}; nothing was moved."
        )
    return payer, receiver


def _moved_beside(reading: Reading) -> int:
    """Sum what else the same message moves, in minor units."""
    paid = [TransferFunds.model_validate(one.arguments).amount for one in reading.beside(TransferFunds)]
    reversals = [ReverseTransfer.model_validate(one.arguments) for one in reading.beside(ReverseTransfer)]
    found = [find_transfer(reading.connection, one.transfer_id) for one in reversals]
    return sum(paid) + sum(original.amount_minor for original in found if original)


def _usable(found: dict[str, Account | None], account_id: str) -> Account:
    account = found[account_id]
    if account is None:
        raise ActionError(f"There is no account {account_id}.")
    if account_id == HOUSE:
        raise ActionError(f"{HOUSE} is the bank's own account, which is not moved by request.")
    if not account.is_open:
        raise ActionError(f"{account_id} is closed.")
    return account


def _movement(payer: Account, receiver: Account, amount_minor: int) -> dict[str, Any]:
    assert payer.owner is not None, "only the house has no owner"
    assert receiver.owner is not None, "only the house has no owner"
    return {
        "from_owner": named(payer.owner.name),
        "from_customer": payer.owner.customer_id,
        "from_status": payer.status,
        "to_owner": named(receiver.owner.name),
        "to_customer": receiver.owner.customer_id,
        "to_status": receiver.status,
        "from_balance": payer.balance_minor,
        "from_balance_after": payer.balance_minor - amount_minor,
        "to_balance": receiver.balance_minor,
        "to_balance_after": receiver.balance_minor + amount_minor,
    }


#: Facts of a movement that stand in its heading and its table.
_SAID = frozenset({"from_owner", "to_owner", "from_balance", "from_balance_after", "to_balance", "to_balance_after"})


def _balances(from_account: str, to_account: str, amount_minor: int, facts: MovementFacts) -> list[Change]:
    return [
        _change(("Balance of", ShownId(from_account)), facts.from_balance, -amount_minor, (Name(facts.from_owner),)),
        _change(("Balance of", ShownId(to_account)), facts.to_balance, amount_minor, (Name(facts.to_owner),)),
    ]


def _change(label: Words, before_minor: int, change_minor: int, of: Words = ()) -> Change:
    sign = "+" if change_minor > 0 else ""
    return Change(label, usd(before_minor), usd(before_minor + change_minor), f"{sign}{usd(change_minor)}", of)


def _split(facts: MovementFacts, amount_minor: int) -> list[Concern]:
    """Tell of a sum that several actions of one message make together."""
    if facts.moving <= amount_minor:
        return []
    return [Concern((f"The message it stands in moves {usd(facts.moving)} in all",))]


def _misleading(**names: str) -> list[Concern]:
    """Tell of names that `named` had to write in escapes: hidden characters, or letters of several alphabets."""
    found = []
    for whose, name in names.items():
        if count := name.count("\\u"):
            characters = (
                "1 hidden or misleading character" if count == 1 else f"{count} hidden or misleading characters"
            )
            found.append(
                Concern((f"{characters} in the {whose}’s name",), ("Check the id, not the name.",), is_bad=True)
            )
    return found


def _subjects(facts: MovementFacts) -> list[str]:
    return sorted({f"customer:{facts.from_customer}", f"customer:{facts.to_customer}"})
