"""The keys of a deployment: in its settings, or in files beside a SQLite database that are made at first."""

import secrets
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from clearance.db.files import make_folder, open_private, tighten
from clearance.journal.signing import Keys, fingerprint
from clearance.loglines import logger_of
from clearance.settings import Settings, SettingsError

logger = logger_of(__name__)


def audit_keys(settings: Settings, *, may_make: bool = True) -> Keys:
    """Give the audit log's key, and those that signed before it was changed.

    The key is AUDIT_KEY, or in AUDIT_KEY_FILE, or with SQLite in a file beside the database, made at first if it may.

    Raises:
        SettingsError: no key, one that is too short, or no key file where none may be made.
    """
    before = settings.audit_old_keys.get_secret_value().splitlines()
    given = settings.audit_key.get_secret_value()
    if not given:
        file = audit_key_file(settings)
        given = _read_or_make(file, "AUDIT_KEY", may_make=may_make and settings.audit_key_file is None)
        with suppress(FileNotFoundError):
            before += old_keys_file(file).read_text().splitlines()
    for key in (given, *before):
        if len(key) < 32:
            raise SettingsError("AUDIT_KEY: needs at least 32 characters, for example from `openssl rand -hex 32`")
    return Keys(given.encode(), tuple(key.encode() for key in dict.fromkeys(before)))


def audit_key_file(settings: Settings) -> Path:
    """Give the file that holds the audit log's key when AUDIT_KEY does not.

    Raises:
        SettingsError: none is named, and there is no SQLite file that it could lie beside.
    """
    return settings.audit_key_file or _beside(settings, "AUDIT_KEY", ".audit-key")


def old_keys_file(file: Path) -> Path:
    """Give the file beside a key file that notes the keys before, one a line."""
    return file.with_name(f"{file.name}.old")


def new_key_file(file: Path) -> Path:
    """Give the file beside a key file that holds the next key while the key is being changed."""
    return file.with_name(f"{file.name}.new")


def left_by_change(settings: Settings, expected: str | None) -> str:
    """Say where the key lies that a log is under, and what to do, if a change of key broke off before its last step.

    `expected` is its fingerprint. Empty where it does not lie there.
    """
    if settings.audit_key.get_secret_value():
        return ""
    try:
        file = audit_key_file(settings)
        new = new_key_file(file)
        if fingerprint(new.read_text().strip().encode()) != expected:
            return ""
    except (OSError, ValueError, SettingsError):
        return ""
    return (
        f"That key lies in {str(new)!r}: a change of key broke off after the log was under it. Finish it: rename that"
        f" file to {str(file)!r}; the old key is noted in {old_keys_file(file).name!r} already."
    )


def auth_secret(settings: Settings, *, may_make: bool = True) -> bytes:
    """Give the secret of development tokens: AUTH_SECRET, or for SQLite a file beside the database, made at first.

    Raises:
        SettingsError: PostgreSQL without AUTH_JWKS_URL and AUTH_SECRET, or no file where none may be made.
    """
    given = settings.auth_secret.get_secret_value()
    if not given:
        given = _read_or_make(_beside(settings, "AUTH_SECRET", ".auth-secret"), "AUTH_SECRET", may_make=may_make)
    return given.encode()


def _beside(settings: Settings, name: str, suffix: str) -> Path:
    path = sa.make_url(settings.database_url).database
    if not settings.database_url.startswith("sqlite") or not path or path == ":memory:":
        how = "set it, for example to what `openssl rand -hex 32` prints; only beside a SQLite file one is made"
        raise SettingsError(f"{name}: missing; {how}")
    return Path(path).with_suffix(suffix)


def _read_or_make(file: Path, name: str, *, may_make: bool) -> str:
    if not file.exists():
        if not may_make:
            raise SettingsError(f"{name}: missing, and there is no key file {str(file)!r}")
        make_folder(file.parent)
        # Written whole, then named: two processes that start at once end with the same key.
        draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
        with open_private(draft) as stream:
            stream.write(secrets.token_hex(32))
        try:
            file.hardlink_to(draft)
            logger.warning("%s is not set: made %s", name, file)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    tighten(file)
    try:
        return file.read_text().strip()
    except OSError as exc:
        raise SettingsError(f"{name}: the key file {str(file)!r} cannot be read: {exc.strerror}") from exc
