"""How awake reviewers are, and how much policy asks: what `clearance stats` prints."""

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static

from clearance.cli.inbox.live import inbox_of, unless_left
from clearance.cli.inbox.words import text
from clearance.cli.statistics import policy_in_words, policy_table, reviewers_table
from clearance.cli.terminal import Failed

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
                found = await inbox_of(self).approvals.statistics(_DAYS)
            except Failed as exc:
                policy.update(text(str(exc), "$error"))
                return
            policy.update(text(policy_in_words(found, _DAYS)))
            nobody = text("Nobody decided anything.")
            reviewers = self.query_one("#statistics-reviewers", Static)
            reviewers.update(reviewers_table(found) if found.reviewers else nobody)
            self.query_one("#statistics-verdicts", Static).update(policy_table(found) if found.verdicts else "")
