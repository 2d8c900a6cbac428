"""Files with people's data or keys: for whoever runs this, and nobody else, whatever the umask says."""

import os
import stat
from pathlib import Path
from typing import TextIO

from clearance.loglines import logger_of

logger = logger_of(__name__)

_PRIVATE = 0o600
#: What SQLite keeps beside a database; it makes them with the mode of the database.
_BESIDE = ("-wal", "-shm", "-journal")
#: The folder in which everything lies where no setting says otherwise.
_OURS = ".clearance"


def make_folder(folder: Path) -> None:
    """Make a folder that nobody else can look into, if it is not there; one that is there stays as it is."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
        one.chmod(0o700)
    if missing and folder.name == _OURS:
        # Keys and what people said: a project that never named the folder would commit them.
        (folder / ".gitignore").write_text("*\n")


def close_folder(folder: Path) -> None:
    """Take others' access to a folder that something else made, and so to all that lies in it; told if it cannot be."""
    try:
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(0o700)
    except FileNotFoundError:
        return
    except OSError as exc:
        logger.warning("%s can be looked into by others, and that cannot be changed: %s", folder, exc.strerror)


def make_database_private(file: Path) -> None:
    """Make a SQLite file that nobody else can read, or take others' access to one that is there and to its log."""
    if not file.exists() and file.parent.is_dir():
        # SQLite would make it with the umask's mode, which is 0644 nearly everywhere.
        with open_private(file, os.O_RDWR | os.O_CREAT):
            pass
    for one in (file, *(file.with_name(f"{file.name}{suffix}") for suffix in _BESIDE)):
        tighten(one)


def open_private(file: Path, flags: int = os.O_WRONLY | os.O_CREAT | os.O_TRUNC) -> TextIO:
    """Open a text file to write that nobody else can read from the beginning.

    Raises:
        OSError: it cannot be written.
    """
    stream = os.fdopen(os.open(file, flags, _PRIVATE), "w", encoding="utf-8")
    tighten(file)
    return stream


def sync(file: Path) -> None:
    """Let a file outlast the power: what is in it, and that it is there under its name.

    Raises:
        OSError: it is not certain that it does.
    """
    for one in (file, file.parent):
        descriptor = os.open(one, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def tighten(file: Path) -> None:
    """Take others' access to a file, if it is there and has any; told where that cannot be."""
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode) or not stat.S_IMODE(found.st_mode) & 0o077:
            return
        file.chmod(found.st_mode & 0o700)  # none that its owner took from themselves is given back
        logger.warning(
            "%s could be read by others (mode %o); it is for its owner alone now", file, found.st_mode & 0o777
        )
    except FileNotFoundError:
        return
    except OSError as exc:
        logger.warning("%s can be read by others, and that cannot be changed: %s", file, exc.strerror)
