"""A payment provider to try the sample with: it answers, refuses, is late, or pays and loses its answer.

Run beside `make dev`, with PAYMENT_PROVIDER_URL=http://127.0.0.1:2099 in .env. It prints what its books say.
"""

import argparse
import threading

from rich.console import Console

from tests.support.payments import MOODS, Provider

PORT = 2099


def main() -> None:
    """Run it until it is interrupted."""
    parser = argparse.ArgumentParser(prog="demo.provider", description=__doc__)
    parser.add_argument("--mood", choices=MOODS, default="works", help="what it does with a payment")
    parser.add_argument("--takes", type=float, default=15, metavar="SECONDS", help="how long it hangs, or is slow")
    parser.add_argument("--port", type=int, default=PORT)
    given = parser.parse_args()
    console = Console(highlight=False)
    with Provider(mood=given.mood, takes_s=given.takes, port=given.port) as provider:
        console.print(f"A payment provider at {provider.url}; its mood: {given.mood}. Ctrl+C ends it.")
        known = 0
        try:
            while not threading.Event().wait(0.5):
                paid = provider.paid()
                for account, amount in paid[known:]:
                    console.print(f"paid {amount} to {account}")
                known = len(paid)
        except KeyboardInterrupt:
            console.print("Gone.")


if __name__ == "__main__":
    main()
