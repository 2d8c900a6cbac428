"""Answer one question by its interrupt's id (clients/pending.py prints them), and print what the agent then says.

python clients/resume.py THREAD INTERRUPT approve
python clients/resume.py THREAD INTERRUPT reject "not before Monday"
python clients/resume.py THREAD INTERRUPT edit amount=4500
"""

import argparse
import os
import sys
from typing import Any

from langgraph_sdk import get_sync_client
from langgraph_sdk.errors import APIStatusError

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--url", default=os.environ.get("LANGGRAPH_URL", "http://127.0.0.1:2024"))
parser.add_argument("thread")
parser.add_argument("interrupt")
decisions = parser.add_subparsers(dest="decision", required=True)
decisions.add_parser("approve", help="exactly as shown")
decisions.add_parser("reject", help="nothing of it happens").add_argument("reason")
decisions.add_parser("edit", help="with these arguments changed").add_argument(
    "change", nargs="+", metavar="NAME=VALUE"
)
arguments = parser.parse_args()

token = os.environ.get("CLEARANCE_TOKEN")
headers = {"Authorization": f"Bearer {token}"} if token else {}
client = get_sync_client(url=arguments.url, api_key=None, headers=headers)

answer: dict[str, Any] = {"approved": arguments.decision != "reject"}
if arguments.decision == "reject":
    answer["reason"] = arguments.reason
if arguments.decision == "edit":
    answer["edited_args"] = dict(change.split("=", 1) for change in arguments.change)

try:
    client.runs.wait(arguments.thread, "clearance", command={"resume": {arguments.interrupt: answer}})
except APIStatusError as refused:  # it decided nothing, and the question stands under its id
    body: Any = refused.body
    sys.exit(f"refused: {body['detail'] if isinstance(body, dict) and 'detail' in body else refused}")

state = client.threads.get_state(arguments.thread)
asked = [interrupt["value"] for task in state["tasks"] for interrupt in task["interrupts"]]
for question in asked:
    # The next one of the turn; or the same, where it needs another person's approval.
    print(f"held {question['id']}: {question['message']}")
if not asked:
    values: Any = state["values"]
    print(values["messages"][-1]["content"])
