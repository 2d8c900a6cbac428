"""What a setting names as `module:variable`: where the project makes something of its own."""

import importlib
import os
from typing import Any

from clearance.settings import SettingsError


def imported(setting: str, name: str, *, what: str, example: str) -> Any:
    """Import what a setting names; `what` it is to be and an `example` of such a name are for the error.

    Raises:
        SettingsError: it is no such name, or there is no such module; None is given for a variable that is not there.
    """
    module, _, variable = name.partition(":")
    # A path, as langgraph.json has them, is not imported: the file would be executed a second time under another name.
    if not variable or not all(part.isidentifier() for part in module.split(".")):
        raise SettingsError(
            f"{setting}: {name!r} names no {what}; write where yours is made as module:variable, as one imports it,"
            f" for example {example}"
        )
    try:
        return getattr(importlib.import_module(module), variable, None)
    except ModuleNotFoundError as exc:
        if exc.name and (module == exc.name or module.startswith(f"{exc.name}.")):
            raise SettingsError(
                f"{setting}: there is no module {module!r} (looked from {os.getcwd()}, installed packages included)"
            ) from exc
        raise
