"""The chat model: which one answers, what it is given, and what of its answer we take.

presentable → trim → ainvoke, within one timeout → normalised      (any failure: `ModelUnavailable`)

`choice` which model the settings name; `whole` what every one of them is wrapped in, so that half an answer is none;
`endpoint` OpenAI's protocol, as endpoints really speak it; `history` what is sent; `answer` what is taken;
`failure` the sentence for whatever went wrong; `speaking` all of it in order.
"""

from agent.model.answer import MOST_CALLS, NO_NAME, PROVIDER, normalised
from agent.model.choice import chat_model
from agent.model.failure import ModelUnavailable
from agent.model.history import open_calls, presentable, trim
from agent.model.speaking import speak

__all__ = [
    "MOST_CALLS",
    "NO_NAME",
    "PROVIDER",
    "ModelUnavailable",
    "chat_model",
    "normalised",
    "open_calls",
    "presentable",
    "speak",
    "trim",
]
