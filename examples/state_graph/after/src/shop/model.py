"""The chat model: here one that needs no key. Yours is another line: `model = init_chat_model("openai:gpt-5-mini")`."""

from clearance import OfflineModel

model = OfflineModel()
