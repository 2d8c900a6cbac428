"""What can go wrong around the gate.

ClearanceError
├── PolicyError        policy.toml is missing, does not parse, or says something that cannot be
├── NotOursError       a pointer to a turn or call that the journal does not have for this thread
├── AuditKeyError      the audit log is under another key than the one given
├── NewerSchemaError   the database was migrated by a newer version; in `db.migrate`
└── ActionError        an action says, in a sentence for people, why it cannot be done

DatabaseUnavailable    the database did not answer: nothing is wrong with what was asked
"""


class DatabaseUnavailable(Exception):
    """The database did not answer; nothing was changed, or what was changed is found again under its key."""


class ClearanceError(Exception):
    """Base of the errors of this package."""


class PolicyError(ClearanceError):
    """The policy cannot be used; `line` is where (1 for the first), or None for the file as a whole."""

    def __init__(self, message: str, *, path: str, line: int | None = None) -> None:
        self.path = path
        self.line = line
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")


class NotOursError(ClearanceError):
    """The journal has no such turn or call in this thread: somebody made it up."""


class ActionError(ClearanceError):
    """Raised by an action: its text is one plain sentence for the model, the reviewer and the receipt.

    Example:
        >>> def check(paid: int, amount: int) -> None:
        ...     if amount > paid:
        ...         raise ActionError(f"Only {paid} were paid.")
        >>> check(paid=5, amount=7)
        Traceback (most recent call last):
        clearance.errors.ActionError: Only 5 were paid.
    """

    def __str__(self) -> str:
        # Else the receipt would end in the middle of a sentence.
        return super().__str__().strip() or "no reason was given."


_GIVE = "Give the key that signed its last row, or change it with `clearance audit rotate-key`."


class AuditKeyError(ClearanceError):
    """The audit log is under another key: a row under this one would end in a log that verifies under neither."""

    def __init__(self, expected: str | None, given: str, where: str = "") -> None:
        #: Fingerprint of the key that it is under, where the log names it.
        self.expected = expected
        self.given = given
        #: Where that key lies and what to do, a sentence; empty where nobody knows.
        self.where = where
        under = f"is under the key {expected}" if expected else "was not signed with it"
        super().__init__(
            f"AUDIT_KEY: the audit log {under}; the key given is {given}. {where or _GIVE} Nothing was written."
        )
