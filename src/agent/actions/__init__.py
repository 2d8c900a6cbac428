"""What the agent can do that has an effect. The gate runs it, and nothing else does: see `clearance/gate/`.

transfer   money moves between two accounts of the bank
reversal   a transfer goes back
payment    money leaves for another bank, through a provider: an external action
deletion   a customer is deleted for good

movement   what all that moves money share
arguments  ids, IBANs and notes, as people and models write them
"""

from agent.actions.arguments import Id, Note
from agent.actions.deletion import DeleteUser
from agent.actions.payment import SendPayment
from agent.actions.reversal import ReverseTransfer
from agent.actions.transfer import TransferFacts, TransferFunds

__all__ = ["ACTIONS", "DeleteUser", "Id", "Note", "ReverseTransfer", "SendPayment", "TransferFacts", "TransferFunds"]

ACTIONS = (TransferFunds, ReverseTransfer, DeleteUser, SendPayment)
