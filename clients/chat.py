"""Say something to the agent and watch: its words as they come, what it calls, how far a long job is, what is held.

python clients/chat.py "transfer 5,000 from A-2001 to A-2003"
python clients/chat.py --thread THREAD "and what is the balance of A-2001?"
"""

import argparse
import os
from typing import Any

from langgraph_sdk import get_sync_client

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("message")
parser.add_argument("--thread", help="go on in this thread; a new one if not given")
parser.add_argument("--url", default=os.environ.get("LANGGRAPH_URL", "http://127.0.0.1:2024"))
arguments = parser.parse_args()

token = os.environ.get("CLEARANCE_TOKEN")
headers = {"Authorization": f"Bearer {token}"} if token else {}
client = get_sync_client(url=arguments.url, api_key=None, headers=headers)

thread_id = arguments.thread or client.threads.create()["thread_id"]
message: dict[str, Any] = {"messages": [{"role": "user", "content": arguments.message}]}
held = []
for part in client.runs.stream(
    thread_id, "clearance", input=message, stream_mode=["messages-tuple", "updates", "custom"]
):
    data: Any = part.data
    match part.event, data:
        case "messages", [{"type": "AIMessageChunk", "content": str(words)}, _]:
            print(words, end="", flush=True)
        case "updates", {"__interrupt__": interrupts}:
            held += interrupts
        case "updates", {"model": {"messages": [{"tool_calls": calls}]}}:
            print()
            for call in calls:
                print(f"  calls {call['name']} {call['args']}")
        case "custom", {"done": done, "total": total, "message": about}:
            print(f"  {done} of {total}: {about}")
        case "error", error:
            print(f"\nthe run failed: {error}")

print(f"thread {thread_id}")
for interrupt in held:
    print(f"held {interrupt['id']}: {interrupt['value']['message']} (risk: {interrupt['value']['risk_level']})")
