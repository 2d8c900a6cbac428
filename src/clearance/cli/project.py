"""The project where one stands: its settings and its `Clearance`. What cannot be becomes one sentence here."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from clearance.cli.terminal import Failed

if TYPE_CHECKING:
    from clearance.application import Clearance
    from clearance.settings import Settings


def current_settings() -> "Settings":
    """Read the settings anew.

    Raises:
        Failed: a setting cannot be.
    """
    from clearance.settings import SettingsError, read_settings

    try:
        return read_settings()
    except SettingsError as exc:
        raise Failed(str(exc)) from exc


def current_clearance() -> "Clearance":
    """Give the project's `Clearance`, for commands that need its actions, its policy or its migrations.

    Raises:
        Failed: CLEARANCE names none.
    """
    from clearance.application import the_clearance
    from clearance.settings import SettingsError

    find_project()
    try:
        return the_clearance(current_settings().clearance)
    except SettingsError as exc:
        raise Failed(str(exc)) from exc


def find_project() -> None:
    """Let a project that is not installed be found from where one stands, as uvicorn and flask do."""
    for folder in (Path.cwd() / "src", Path.cwd()):
        if folder.is_dir() and str(folder) not in sys.path:
            sys.path.append(str(folder))
