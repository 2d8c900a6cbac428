"""What a list is narrowed to, as addresses say: those of lists, and of a request that was opened from one."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends

from clearance.contract import Tab
from clearance.desk.lists import Wanted

AGES = {"15m": ("over 15 min", 15), "1h": ("over 1 h", 60), "8h": ("over 8 h", 480)}
RISKS = ("critical", "high", "medium", "low")


class Filters:
    """What a list is narrowed to, as its address says."""

    def __init__(
        self,
        tab: Tab = "mine",
        action: str = "",
        risk: str = "",
        requester: str = "",
        thread: str = "",
        age: str = "",
    ) -> None:
        self.tab: Tab = tab
        self.action, self.requester, self.thread = action[:100], requester.strip()[:200], thread.strip()[:200]
        self.risk = risk if risk in RISKS else ""
        self.age = age if age in AGES else ""

    @property
    def wanted(self) -> Wanted:
        before = datetime.now(UTC) - timedelta(minutes=AGES[self.age][1]) if self.age else None
        return Wanted(self.tab, self.action or None, self.risk or None, self.requester or None,
                      self.thread or None, before)  # fmt: skip

    @property
    def is_set(self) -> bool:
        return any((self.action, self.risk, self.requester, self.thread, self.age))

    @property
    def in_words(self) -> str:
        said = [("action", self.action), ("risk", self.risk), ("asked by", self.requester),
                ("thread", self.thread), ("waits", AGES[self.age][0] if self.age else "")]  # fmt: skip
        return ", ".join(f"{label} {value}" for label, value in said if value)

    def address(self, **more: str) -> str:
        values = {"tab": self.tab, "action": self.action, "risk": self.risk, "requester": self.requester,
                  "thread": self.thread, "age": self.age, **more}  # fmt: skip
        return urlencode({name: value for name, value in values.items() if value})

    @property
    def suffix(self) -> str:
        """Give what follows the address of a list, and of a request that was opened from it."""
        is_plain = self.tab == "mine" and not self.is_set
        return "" if is_plain else f"?{self.address()}"


Narrowed = Annotated[Filters, Depends()]
