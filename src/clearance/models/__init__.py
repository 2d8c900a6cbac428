"""The chat model: what it is given, and what of its answer we take. Which one it is the project says.

presentable → trim → ainvoke, within one timeout → normalised      (any failure: `ModelUnavailable`)

speaking   all of it in order
history    what is sent
arranged   the same of a long thread, of whose beginning it is worked out once
whole      what every model is wrapped in, so that half an answer is none
answer     what of an answer is taken
failure    the sentence for whatever went wrong
endpoint   OpenAI's chat completions, as compatible endpoints really speak them
offline    a small one that needs no network: it calls a builder\'s own tools by their fields
"""

from clearance.models.answer import MOST_CALLS, NO_NAME, PROVIDER, normalised
from clearance.models.arranged import Arranged, Told
from clearance.models.failure import ModelUnavailable
from clearance.models.history import alternating, open_calls, presentable, trim
from clearance.models.speaking import asked, speak
from clearance.models.whole import Whole

__all__ = [
    "MOST_CALLS",
    "NO_NAME",
    "PROVIDER",
    "Arranged",
    "ModelUnavailable",
    "Told",
    "Whole",
    "alternating",
    "asked",
    "normalised",
    "open_calls",
    "presentable",
    "speak",
    "trim",
]
