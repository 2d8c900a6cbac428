"""What all actions that move money share: their facts, and how reviewers read them."""

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy.engine import Connection

from agent.bank.ledger import HOUSE, Account, find_account, find_transfer, sent_by_account, sent_by_requester
from agent.bank.money import Minor, usd
from agent.bank.wording import named
from clearance import Action, ActionError, Facts, Material, Reading, Volatile
from clearance.actions import Change, Concern, Name, Words
from clearance.actions import Id as ShownId

#: For which what was sent is summed up.
DAY = timedelta(hours=24)


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
        default=0, title="Moved by its message", description="what the message moves in all, in whatever way"
    )


IsNewPayee = Annotated[
    Material[bool],
    Field(title="New payee", description="nothing was ever paid this way, nor is asked or cleared before this"),
]
AccountSent = Annotated[
    Volatile[Minor],
    Field(title="Account sent in 24 h", description="what left the account, and what is asked or cleared before this"),
]
RequesterSent = Annotated[
    Volatile[Minor],
    Field(title="Requester sent in 24 h", description="the same for whoever asked, over all accounts"),
]


@dataclass(frozen=True)
class Leaving:
    """Money that an earlier call takes from an account, and that has not left it yet."""

    from_account: str
    #: Within the bank; None for a payment to another one.
    to_account: str | None
    to_iban: str | None
    amount: int
    requested_by: str


def leaving(reading: Reading) -> list[Leaving]:
    """List what is asked or cleared before this and not done yet, payments in flight among it."""
    from agent.actions.payment import SendPayment  # each of the two counts the other
    from agent.actions.transfer import TransferFunds

    found = []
    for one in reading.earlier(TransferFunds, SendPayment):
        payer, amount = one.arguments["from_account"], one.arguments["amount"]
        if one.action == SendPayment.tool_name():
            payer, iban, amount_minor = _read(SendPayment, payer, "to_iban", one.arguments["to_iban"], amount)
            found.append(Leaving(payer, None, iban, amount_minor, one.requested_by))
        else:
            payer, payee, amount_minor = _read(TransferFunds, payer, "to_account", one.arguments["to_account"], amount)
            found.append(Leaving(payer, payee, None, amount_minor, one.requested_by))
    return found


# Once for calls that move the same: each effect reads all that people have cleared so far, under the log's lock.
@lru_cache(maxsize=10_000)
def _read(kind: type[Action[Any]], payer: str, to: str, payee: str, amount: str) -> tuple[str, str, int]:
    read: Any = kind.model_validate({"from_account": payer, to: payee, "amount": amount})
    return read.from_account, getattr(read, to), read.amount


def sent_lately(reading: Reading, earlier: list[Leaving], account_id: str) -> dict[str, Any]:
    """Give the facts that sum up what an account and a requester sent, with what of that has not left yet."""
    waiting = sum(one.amount for one in earlier if one.from_account == account_id)
    waiting_requester = sum(one.amount for one in earlier if one.requested_by == reading.requested_by)
    sent = sent_by_account(reading.connection, account_id, until=reading.now, span=DAY)
    asked = sent_by_requester(reading.connection, reading.requested_by, until=reading.now, span=DAY)
    return {"sent_24h": sent + waiting, "requester_sent_24h": asked + waiting_requester}


def on_its_way(found: list[Leaving], account_id: str) -> int:
    """Sum what goes from an account to other banks and is not booked yet: it is spent, whatever the balance says."""
    return sum(one.amount for one in found if one.to_iban is not None and one.from_account == account_id)


def parties(
    connection: Connection, from_account: str, to_account: str, amount_minor: int, *, held: int = 0, lock: bool = False
) -> tuple[Account, Account]:
    """Give payer and receiver of a movement that can be made as things stand; `held` is on its way to other banks.

    Raises:
        ActionError: it cannot: the same account, an unknown, closed or the bank's own one, or too little money.
    """
    if from_account == to_account:
        raise ActionError(f"{from_account} cannot pay itself: name two different accounts.")
    # Locked in the order of their ids, so that two transfers the other way round cannot wait for each other.
    found = {one: find_account(connection, one, lock=lock) for one in sorted((from_account, to_account))}
    account, receiver = usable(found[from_account], from_account), usable(found[to_account], to_account)
    check_funds(account, amount_minor, held)
    return account, receiver


def check_funds(account: Account, amount_minor: int, held: int) -> None:
    """Check that an account has an amount, beside what is on its way to other banks.

    Raises:
        ActionError: it has less.
    """
    if account.balance_minor - held >= amount_minor:
        return
    has = f"{account.account_id} has {usd(account.balance_minor)}"
    if held:
        has += f", of which {usd(held)} is on its way to other banks"
    raise ActionError(f"{has}, which is less than {usd(amount_minor)}; nothing was moved.")


def moved_beside(reading: Reading) -> int:
    """Sum what else the same message moves, in minor units."""
    from agent.actions.payment import SendPayment  # each of the three counts the others
    from agent.actions.reversal import ReverseTransfer
    from agent.actions.transfer import TransferFunds

    total = 0
    for one in reading.beside(TransferFunds, SendPayment, ReverseTransfer):
        if one.action == ReverseTransfer.tool_name():
            reversed_id = ReverseTransfer.model_validate(one.arguments).transfer_id
            original = find_transfer(reading.connection, reversed_id)
            total += original.amount_minor if original else 0
        else:
            kind = SendPayment if one.action == SendPayment.tool_name() else TransferFunds
            total += kind.model_validate(one.arguments).amount
    return total


def usable(account: Account | None, account_id: str) -> Account:
    """Give an account that money may be moved from and to.

    Raises:
        ActionError: there is none, it is closed, or it is the bank's own.
    """
    if account is None:
        raise ActionError(f"There is no account {account_id}.")
    if account_id == HOUSE:
        raise ActionError(f"{HOUSE} is the bank's own account, which is not moved by request.")
    if not account.is_open:
        raise ActionError(f"{account_id} is closed.")
    return account


def movement(payer: Account, receiver: Account, amount_minor: int) -> dict[str, Any]:
    """Give the facts of a movement that can be made."""
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
SAID = frozenset({"from_owner", "to_owner", "from_balance", "from_balance_after", "to_balance", "to_balance_after"})


def balances(from_account: str, to_account: str, amount_minor: int, facts: MovementFacts) -> list[Change]:
    """Say what both accounts have before and after."""
    return [
        change(("Balance of", ShownId(from_account)), facts.from_balance, -amount_minor, (Name(facts.from_owner),)),
        change(("Balance of", ShownId(to_account)), facts.to_balance, amount_minor, (Name(facts.to_owner),)),
    ]


def change(label: Words, before_minor: int, change_minor: int, of: Words = ()) -> Change:
    """Say how an amount changes."""
    sign = "+" if change_minor > 0 else ""
    return Change(label, usd(before_minor), usd(before_minor + change_minor), f"{sign}{usd(change_minor)}", of)


def split(moving: int, amount_minor: int) -> list[Concern]:
    """Tell of a sum that several actions of one message make together."""
    if moving <= amount_minor:
        return []
    return [Concern((f"The message it stands in moves {usd(moving)} in all",))]


def misleading(**names: str) -> list[Concern]:
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


def subjects_of(facts: MovementFacts) -> list[str]:
    """Name whom a movement concerns."""
    return sorted({f"customer:{facts.from_customer}", f"customer:{facts.to_customer}"})
