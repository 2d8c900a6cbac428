"""The bank's own sentences for the offline model of the library, which reads `transfer funds: …` as it is, too.

It is there to try everything with nothing but this repository.
"""

import re
from typing import Any, NamedTuple

from clearance.models import offline
from clearance.models.offline import INTRODUCTION, Schemas, Wish

__all__ = ["INTRODUCTION", "UNDERSTANDS", "OfflineModel", "Wish", "read"]

#: Sentences it understands. Clauses can be joined by "and", "then" or ";" and become calls of one message.
UNDERSTANDS = [
    "who is Priya Natarajan?",
    "find customer priya",
    "show customer C-1001",
    "show account A-2001",
    "what is the balance of A-2001?",
    "list transactions of A-2001",
    "transfer $900 from A-2001 to A-2002 for rent",
    "transfer 5,000 from A-2001 to A-2003 and 250.50 from A-2002 to A-2003",
    "transfer 100 from A-2001 to A-2002, then delete user C-1003",
    "pay $900 from A-2001 to DE89370400440532013000 for invoice 77",
    "delete customer C-1003 because the account was opened twice",
    "reverse T-20418 because it was sent twice",
    "analyze transactions",
    "analyze the transactions of A-2001",
]


class OfflineModel(offline.OfflineModel):
    """Answer from `UNDERSTANDS`, and from the tools where none of it fits."""

    def understands(self, tools: Schemas) -> list[str]:
        """List `UNDERSTANDS`."""
        return UNDERSTANDS

    def wishes(self, sentence: str, tools: Schemas) -> list[Wish] | None:
        """See `read`."""
        return read(sentence) or super().wishes(sentence, tools)


def read(sentence: str) -> list[Wish] | None:
    """Read what a sentence asks for, in its order; None when any part of it is not understood."""
    if len(sentence) > 2_000:  # the patterns backtrack: a pasted book would hold the server up
        return None
    rest = re.sub(r"\s+", " ", sentence).strip()
    rest = re.sub(r"^(?:please|could you|can you|now|ok|okay)\b,? ", "", rest, flags=re.IGNORECASE)
    wishes: list[Wish] = []
    while rest:
        before = wishes[-1].tool if wishes else None
        for clause in _CLAUSES:
            # Compiled at its first use, and kept by `re`: who has a model of their own never uses it.
            is_next = not clause.goes_on or before in _MOVES
            found = re.match(clause.pattern, rest, re.IGNORECASE) if is_next else None
            if found:
                break
        else:
            return None
        arguments: dict[str, Any] = {name: _value(name, text) for name, text in found.groupdict().items() if text}
        wishes.append(Wish(clause.tool, arguments))
        rest = rest[found.end() :]
    return wishes or None


def _value(name: str, text: str) -> str:
    if name == "amount":
        plain = text.replace("$", "")
        # "5,000" is five thousand. Any other comma stays, for the bank to refuse.
        return plain.replace(",", "") if re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d*)?", plain) else plain
    if name.endswith(("_id", "_account", "_iban")):
        return text.upper()
    return text.strip(" \"'")


class _Clause(NamedTuple):
    tool: str
    pattern: str
    #: Whether it needs a clause of `_MOVES` before it ("… and 250.50 from A-2002 to A-2003").
    goes_on: bool = False


#: Tools of sentences that go on without a verb.
_MOVES = ("transfer_funds", "send_payment")
_ID = r"[a-z]+-\w+"
_AMOUNT = r"[-+]?\$?[-+]?[\w.,]+(?:[-+]\w+)?"
#: What can begin a clause, so that "and" within a memo, a reason or a name stays there.
_BEGIN = (
    r"(?:transfer|send|move|pay|delete|remove|reverse|undo|show|list|find|look|who|what|analy[sz]e"
    rf"|{_AMOUNT}(?: dollars| usd)? from {_ID})\b"
)
#: The end of a clause: of the sentence too, or a joint before the next one.
_AND = r"(?:and then|and also|then|and|also) "
_END = rf"(?:[ ?.!,;]*$|(?: ?[?.!,;]+ (?:{_AND})?| {_AND})(?:please )?(?={_BEGIN}))"
_TRANSFER = (
    rf"(?P<amount>{_AMOUNT})(?: dollars| usd)? from (?:account )?(?P<from_account>{_ID}) to (?:account )?"
    rf"(?P<to_account>{_ID})(?: (?:for|because) (?P<memo>.+?))?"
)
#: To another bank: four letters and digits begin an IBAN, as in no id of ours.
_PAYMENT = (
    rf"(?P<amount>{_AMOUNT})(?: dollars| usd)? from (?:account )?(?P<from_account>{_ID}) to (?:iban )?"
    r"(?P<to_iban>[a-z]{2}\d{2}\w{8,30})(?: (?:for|because) (?P<memo>.+?))?"
)
_REASON = r"(?:,? (?:because|for|since) (?P<reason>.+?))?"
_OF_ACCOUNT = rf"(?:of|for|on) (?:account )?(?P<account_id>{_ID})"


def _clause(tool: str, pattern: str, *, goes_on: bool = False) -> _Clause:
    return _Clause(tool, pattern + _END, goes_on)


#: Tried in this order at the beginning of what is left of the sentence.
_CLAUSES = [
    _clause("transfer_funds", rf"(?:transfer|send|move|pay) {_TRANSFER}"),
    _clause("transfer_funds", _TRANSFER, goes_on=True),
    _clause("send_payment", rf"(?:transfer|send|move|pay) {_PAYMENT}"),
    _clause("send_payment", _PAYMENT, goes_on=True),
    _clause("delete_user", rf"(?:delete|remove) (?:the )?(?:user|customer) (?P<user_id>{_ID}){_REASON}"),
    _clause("reverse_transfer", rf"(?:reverse|undo) (?:the )?(?:transfer )?(?P<transfer_id>{_ID}){_REASON}"),
    _clause("list_transactions", rf"(?:show(?: me)?|list) (?:the |all )?transactions {_OF_ACCOUNT}"),
    _clause("analyze_transactions", rf"analy[sz]e (?:the |all )?transactions(?: {_OF_ACCOUNT})?"),
    _clause("get_account", rf"(?:show(?: me)?|find|look up) (?:the )?account (?P<account_id>{_ID})"),
    _clause("get_account", rf"(?:what is|what's|show(?: me)?) the balance {_OF_ACCOUNT}"),
    _clause(
        "get_customer", r"(?:show(?: me)?|find|look up|who is) (?:the )?(?:customer |user )?(?P<customer_id>c-\w+)"
    ),
    _clause("find_customers", r"(?:show(?: me)?|find|look up) (?:the )?customers? (?:named |called )?(?P<query>.+?)"),
    _clause("find_customers", r"who is (?P<query>.+?)"),
]
