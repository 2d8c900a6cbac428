"""`python -m tests.browser.chromium`: bring the browser that the inbox is tested and photographed in.

Best the one that has no window at all: the same engine, and half the work for each person who sits down at it.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.support.debian import can_install, installing, ran

#: What a browser of this family without a window is called on the path.
WINDOWLESS = ("chromium-headless-shell", "chrome-headless-shell")
#: And one with, in the order of preference.
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
MISSING = (
    "There is no Chromium for the browser tests, and none could be had: put one on the path, "
    "for example with 'apt-get install chromium fonts-liberation', and run this again."
)


def find() -> str | None:
    """Give the first that starts, of the path and of Playwright's, one without a window before all others; or None."""
    return next((found for found in _candidates() if _starts(found)), None)


def bring() -> str | None:
    """Find one, or install one by the first way that works here; `None` where none can be had. Prints both.

    Where there is one with a window, Debian's without is asked for, for two minutes at most: it is quicker, not needed.
    """
    found = find()
    if found and ("headless" in Path(found).name or not can_install()):
        return found
    for name, commands in _beside() if found else _ways():
        print(f"There is no Chromium{' without a window' if found else ''}: trying {name} …", flush=True)
        if all(ran(command) for command in commands) and (installed := find()):
            print(f"Installed {installed}.", flush=True)
            return installed
    return found


def _candidates() -> Iterator[str]:
    yield from filter(None, map(shutil.which, WINDOWLESS))
    with sync_playwright() as playwright:
        installed = Path(playwright.chromium.executable_path)
    # Of `chromium-1255/chrome-linux64/chrome`: Playwright has a folder for each, and tells of one.
    revision = installed.parts[-3].removeprefix("chromium-")
    for folder in installed.parents[2].glob(f"chromium_headless_shell-{revision}"):
        yield from map(str, folder.glob("*/*headless*shell"))
    yield from filter(None, map(shutil.which, NAMES))
    yield str(installed)


def _starts(found: str) -> bool:
    """Tell whether it is there and runs: one may lack libraries, or be a script that names another package."""
    if not Path(found).exists():
        return False
    return subprocess.run([found, "--version"], capture_output=True, timeout=60).returncode == 0


_Way = tuple[str, list[list[str]]]


def _ways() -> Iterator[_Way]:
    shell = [sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"]
    yield "'playwright install --only-shell chromium'", [shell]
    if can_install():
        for name in ("chromium-headless-shell", "chromium"):
            yield f"'apt-get install {name} fonts-liberation'", installing(name, "fonts-liberation")


def _beside() -> Iterator[_Way]:
    commands = [["timeout", "120", *command] for command in installing("chromium-headless-shell")]
    yield "'apt-get install chromium-headless-shell'", commands


if __name__ == "__main__":
    found = bring()
    print(f"The browser tests use {found}." if found else MISSING, flush=True)
    sys.exit(found is None)
