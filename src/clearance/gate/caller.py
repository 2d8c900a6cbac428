"""Who comes to the gate with a call or an answer."""

from dataclasses import dataclass

from clearance.principal import Principal


@dataclass(frozen=True)
class Caller:
    """Who runs this, and since when."""

    principal: Principal
    run_id: str | None = None
    #: When the run was asked for, ms since 1970, by the server; None where no server tells.
    started_ms: int | None = None
    #: Whether the answer named the interrupt it is for, which it can only have from the question itself.
    is_addressed: bool = False
    #: The id and the checkpoint of the question that this task puts; None outside a task, and where nobody tells.
    interrupt_id: str | None = None
    checkpoint_id: str | None = None
