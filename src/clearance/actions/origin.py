"""Where a tool comes from that is not written here, and what is claimed of it there."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ToolOrigin:
    """Where an action's tool comes from; what its server claims of it is a claim, and makes nothing laxer by itself.

    Example:
        >>> ToolOrigin(server="tickets", name="close_ticket", destructive=True).read_only is None
        True
    """

    #: As the project calls the MCP server; None for what is none of one.
    server: str | None = None
    #: What the server calls the tool; the model may know it by another name. None without a server.
    name: str | None = None
    #: What the server claims; None where it claims nothing. It changes nothing.
    read_only: bool | None = None
    #: It may destroy, and not only add.
    destructive: bool | None = None
    #: Done twice with the same arguments, it is done once.
    idempotent: bool | None = None
    #: It reaches systems beyond the server.
    open_world: bool | None = None
