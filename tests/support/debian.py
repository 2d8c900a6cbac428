"""Debian's packages of what the tests need beyond Python, for whoever may install them here."""

import os
import shutil
import subprocess


def can_install() -> bool:
    """Tell whether this is a Debian whose packages we may install."""
    return shutil.which("apt-get") is not None and os.geteuid() == 0


def installing(*packages: str) -> list[list[str]]:
    """Give the commands that install some packages."""
    return [["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", *packages]]


def ran(command: list[str]) -> bool:
    """Run a command, and say in its own first words why it failed."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        words = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        print(f"It failed: {words[0] if words else f'exit code {done.returncode}'}", flush=True)
    return done.returncode == 0
