"""Who acts, as the server authenticated them."""

from dataclasses import dataclass, field
from typing import Literal

from clearance.text.namesakes import namesake, reads_as

Kind = Literal["person", "local", "system"]


@dataclass(frozen=True)
class Principal:
    """One who asks or decides. Made from the server's authentication, never from a message or an answer."""

    id: str
    #: `person`: authenticated. `local`: where no authentication is configured. `system`: the server itself.
    kind: Kind = "person"
    roles: frozenset[str] = field(default_factory=frozenset)
    #: Role checks pass for any role: only the local principal.
    has_all_roles: bool = False
    #: May approve what they requested or edited: only where one person plays both parts.
    may_approve_own: bool = False

    def has_role(self, role: str) -> bool:
        """Tell whether this principal holds `role`."""
        return self.has_all_roles or role in self.roles


#: Continues, expires and notifies; can neither request nor decide.
SYSTEM = Principal("system", kind="system")

#: The only principal of a deployment without authentication.
LOCAL = Principal("local", kind="local", has_all_roles=True, may_approve_own=True)

#: Whom LangGraph Studio is when it sends no key, on a development server. Source: langgraph_api.auth.custom.
STUDIO_ID = "langgraph-studio-user"


def is_reserved(name: str) -> bool:
    """Tell whether a name stands for no person, or reads so: it would pass as the server or the command line."""
    stands = {"system", "local", "policy", "nobody", STUDIO_ID}
    return name in stands or namesake(name, stands) is not None or reads_as(name, "os:")
