"""Look-ups: what the model may read by itself. They run at once, in parallel, and change nothing.

What people wrote (names, emails, memos) is quoted and escaped, so that it cannot pose as a line or an instruction.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Protocol, TypeVar

from langchain_core.tools import BaseTool
from pydantic import Field
from sqlalchemy.engine import Connection

from agent.actions import Id, Note
from agent.bank import customers, ledger
from agent.bank.ledger import Account, Transfer
from agent.bank.money import usd
from agent.bank.wording import quoted
from clearance import ActionError, lookup

T = TypeVar("T")

_CUSTOMERS = 20


class Reader(Protocol):
    """Whatever reads the bank's database: a `Clearance` does."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a read transaction, in a thread."""

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """`read`, blocking."""


def lookup_tools(bank: Reader) -> list[BaseTool]:
    """Make the look-ups over a bank: find_customers, get_customer, get_account, list_transactions."""

    async def find_customers(
        query: Annotated[Note, Field(description='part of a name, id or email, for example "natarajan"')],
    ) -> str:
        """Find customers by part of a name, an id or an email address; at most 20 are listed, with their ids.

        Use it when a person is named and the customer id is not known. Example: query "natarajan".
        """
        return await bank.read(lambda connection: _customers(connection, query))

    async def get_customer(customer_id: Annotated[Id, Field(description="for example C-1001")]) -> str:
        """Give one customer by id, with contact, status and all accounts and their balances.

        Use it to learn which accounts somebody has, and before deleting a customer. Example: customer_id "C-1001".
        """
        return await bank.read(lambda connection: _customer(connection, customer_id))

    async def get_account(account_id: Annotated[Id, Field(description="for example A-2001")]) -> str:
        """Give one account by id: owner, kind, status, balance.

        Use it for a balance, or to see whose account it is. Example: account_id "A-2001".
        """
        return await bank.read(lambda connection: _account(connection, account_id))

    async def list_transactions(
        account_id: Annotated[Id, Field(description="for example A-2001")],
        limit: Annotated[int, Field(ge=1, le=100, description="how many at most, 1 to 100")] = 20,
        before: Annotated[
            Note, Field(description="transfer id: list older ones than this; empty begins at the newest")
        ] = "",
    ) -> str:
        """List transfers of one account, newest first, with their ids.

        Use it to see what was paid, or to find a transfer to reverse. Example: account_id "A-2001", limit 10. For
        older ones call it again with before set to the last id listed, for example "T-20418".
        """
        return await bank.read(lambda connection: _transactions(connection, account_id, limit, before))

    return [lookup(tool) for tool in (find_customers, get_customer, get_account, list_transactions)]


def _customers(connection: Connection, query: str) -> str:
    if not query:
        raise ActionError("Say what to look for: part of a name, an id or an email address.")
    found = customers.search_customers(connection, query, _CUSTOMERS + 1)
    if not found:
        return f"No customer matches {quoted(query)}."
    lines = [
        f"- {customer.customer_id} {_text(customer.name)}, email {_text(customer.email)}, {customer.status}"
        for customer in found[:_CUSTOMERS]
    ]
    if len(found) > _CUSTOMERS:
        return "\n".join([f"More than {_CUSTOMERS} customers match {quoted(query)}, the first are:", *lines])
    count = "1 customer matches" if len(found) == 1 else f"{len(found)} customers match"
    return "\n".join([f"{count} {quoted(query)}:", *lines])


def _customer(connection: Connection, customer_id: str) -> str:
    customer = customers.find_customer(connection, customer_id)
    if customer is None:
        raise ActionError(f"There is no customer {customer_id}.")
    owned = ledger.accounts_of(connection, customer_id)
    return "\n".join(
        [
            f"Customer {customer_id}: {_text(customer.name)}, {customer.status}, since {customer.opened_at:%Y-%m-%d}",
            f"Email {_text(customer.email)}, phone {_text(customer.phone)}",
            f"Accounts: {len(owned)}",
            *(f"- {_described(account)}" for account in owned),
        ]
    )


def _account(connection: Connection, account_id: str) -> str:
    account = _existing(connection, account_id)
    owner = f"{_text(account.owner.name)} ({account.owner.customer_id})" if account.owner else "the bank itself"
    return f"Account {_described(account)}, owner {owner}"


def _transactions(connection: Connection, account_id: str, limit: int, before: str) -> str:
    _existing(connection, account_id)
    found = ledger.transfers_of(connection, account_id, limit=limit + 1, before=_number(connection, before))
    if not found:
        return f"{account_id} has no {'older ' if before else ''}transfers."
    ibans = ledger.paid_to(connection, [transfer.transfer_id for transfer in found])
    lines = [f"- {_line(transfer, account_id, ibans.get(transfer.transfer_id))}" for transfer in found[:limit]]
    shown = f"{len(lines)} transfer{'' if len(lines) == 1 else 's'} of {account_id}, newest first:"
    more = [f"There are older ones: before {found[limit - 1].transfer_id}."] if len(found) > limit else []
    return "\n".join([shown, *lines, *more])


def _line(transfer: Transfer, account_id: str, to_iban: str | None) -> str:
    if transfer.from_account == account_id:
        moved = f"{usd(-transfer.amount_minor)} to {to_iban or transfer.to_account}"
    else:
        moved = f"{usd(transfer.amount_minor)} from {transfer.from_account}"
    notes: Sequence[str] = [
        *([f"reverses {transfer.reverses}"] if transfer.reverses else []),
        *([f"memo {quoted(transfer.memo)}"] if transfer.memo else []),
    ]
    return ", ".join([f"{transfer.transfer_id} {transfer.made_at:%Y-%m-%d %H:%M} UTC: {moved}", *notes])


def _existing(connection: Connection, account_id: str) -> Account:
    account = ledger.find_account(connection, account_id)
    if account is None:
        raise ActionError(f"There is no account {account_id}.")
    return account


def _number(connection: Connection, transfer_id: str) -> int | None:
    if not transfer_id:
        return None
    transfer = ledger.find_transfer(connection, transfer_id.upper())
    if transfer is None:
        raise ActionError(f"There is no transfer {quoted(transfer_id)}.")
    return transfer.number


def _described(account: Account) -> str:
    return f"{account.account_id} {account.kind}, {account.status}, balance {usd(account.balance_minor)}"


def _text(text: str | None) -> str:
    return quoted(text) if text is not None else "(none)"
