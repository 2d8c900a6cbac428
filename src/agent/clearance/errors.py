"""What can go wrong around the gate.

ClearanceError
├── PolicyError        policy.toml is missing, does not parse, or says something that cannot be
├── NotOursError       a pointer to a turn or call that the journal does not have for this thread
└── ActionError        an action says, in a sentence for people, why it cannot be done
"""


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
    """Raised by an action: its text is one plain sentence for the model, the reviewer and the receipt."""
