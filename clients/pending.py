"""List what waits for an answer, in all threads: the interrupt's id, the action, the question, its risk.

python clients/pending.py
"""

import argparse
import os

from langgraph_sdk import get_sync_client

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--url", default=os.environ.get("LANGGRAPH_URL", "http://127.0.0.1:2024"))
arguments = parser.parse_args()

token = os.environ.get("CLEARANCE_TOKEN")
headers = {"Authorization": f"Bearer {token}"} if token else {}
client = get_sync_client(url=arguments.url, api_key=None, headers=headers)

offset = 0
while threads := client.threads.search(
    status="interrupted", metadata={"graph_id": "clearance"}, sort_by="thread_id", limit=100, offset=offset
):
    for thread in threads:
        for interrupts in thread["interrupts"].values():
            for interrupt in interrupts:
                asked = interrupt["value"]
                print(f"thread {thread['thread_id']}  interrupt {interrupt['id']}")
                print(f"  {asked['action']}: {asked['message']}  (risk: {asked['risk_level']})")
    offset += len(threads)
