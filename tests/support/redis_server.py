"""`python -m tests.support.redis_server`: bring the Redis through which servers on several machines share a queue."""

import shutil

from tests.support.debian import can_install, installing, ran

MISSING = (
    "There is no redis-server: what is tried with several machines is skipped. Debian's package of that name has it."
)


def bring() -> str | None:
    """Find a `redis-server` on the path, or install Debian's; `None` where none can be had. Prints which."""
    if found := shutil.which("redis-server"):
        return found
    if not can_install():
        return None
    print("There is no redis-server: trying 'apt-get install redis-server' …", flush=True)
    # The package starts one: ours are others, each in its own folder and on its own port.
    return shutil.which("redis-server") if all(map(ran, installing("redis-server"))) else None


if __name__ == "__main__":
    found = bring()
    print(f"The tests of several machines use {found}." if found else MISSING, flush=True)
