"""How awake reviewers are, and how much policy asks: what `clearance stats` prints."""

from typing import TYPE_CHECKING, cast

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from agent.cli.inbox.frame import unless_left
from agent.cli.inbox.words import text
from agent.cli.statistics import policy_in_words, policy_table, reviewers_table
from agent.cli.terminal import Failed

if TYPE_CHECKING:
    from agent.cli.inbox.app import Inbox

_DAYS = 30


class StatisticsPane(VerticalScroll):
    """Who decided how fast, and what policy said."""

    def compose(self) -> ComposeResult:
        """Give the widgets."""
        yield Static(id="statistics-policy", markup=False)
        yield Static(id="statistics-reviewers", markup=False)
        yield Static(id="statistics-verdicts", markup=False)

    def reload(self) -> None:
        """Count anew."""
        self.run_worker(self._look(), group="statistics", exclusive=True)

    async def _look(self) -> None:
        with unless_left(self.screen):
            policy = self.query_one("#statistics-policy", Static)
            try:
                found = await cast("Inbox", self.app).approvals.statistics(_DAYS)
            except Failed as exc:
                policy.update(text(str(exc), "$error"))
                return
            policy.update(text(policy_in_words(found, _DAYS)))
            nobody = text("Nobody decided anything.")
            reviewers = self.query_one("#statistics-reviewers", Static)
            reviewers.update(reviewers_table(found) if found.reviewers else nobody)
            self.query_one("#statistics-verdicts", Static).update(policy_table(found) if found.verdicts else "")
