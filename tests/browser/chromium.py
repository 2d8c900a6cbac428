"""`python -m tests.browser.chromium`: bring the browser that the inbox is tested and photographed in."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.support.debian import can_install, installing, ran

#: What a browser of this family is called on the path, in the order of preference.
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
MISSING = (
    "There is no Chromium for the browser tests, and none could be had: put one on the path, "
    "for example with 'apt-get install chromium fonts-liberation', and run this again."
)


def find() -> str | None:
    """Give the Chromium of the path that starts, else the one that Playwright installed; `None` where there is none."""
    return next((found for found in _candidates() if _starts(found)), None)


def bring() -> str | None:
    """Find a Chromium, or install one by the first way that works here; `None` where none can be had. Prints both."""
    if found := find():
        return found
    for name, commands in _ways():
        print(f"There is no Chromium: trying {name} …", flush=True)
        if all(ran(command) for command in commands) and (found := find()):
            print(f"Installed {found}.", flush=True)
            return found
    return None


def _candidates() -> Iterator[str]:
    for name in NAMES:
        if found := shutil.which(name):
            yield found
    with sync_playwright() as playwright:
        installed = playwright.chromium.executable_path
    yield installed


def _starts(found: str) -> bool:
    """Tell whether it is there and runs: one may lack libraries, or be a script that names another package."""
    if not Path(found).exists():
        return False
    return subprocess.run([found, "--version"], capture_output=True, timeout=60).returncode == 0


def _ways() -> Iterator[tuple[str, list[list[str]]]]:
    yield "'playwright install chromium'", [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if can_install():
        yield "'apt-get install chromium fonts-liberation'", installing("chromium", "fonts-liberation")


if __name__ == "__main__":
    found = bring()
    print(f"The browser tests use {found}." if found else MISSING, flush=True)
    sys.exit(found is None)
