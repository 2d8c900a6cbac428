"""`python -m tests.browser.screenshots`: the pictures of the inbox in docs/, from a real server and a real browser."""

import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from agent.bank import MIGRATIONS
from agent.bank.seed import seed
from clearance.db.engine import Database
from clearance.db.migrate import migrate
from clearance.db.types import to_text
from tests.browser.chromium import MISSING, bring
from tests.browser.conftest import FLAGS, Bank
from tests.support.server import ROOT, Server
from tests.support.tokens import token
from tests.support.world import TESS, TOM, Person

DOCS = ROOT / "docs"
#: Customers of the demo, with names that show what names may hold.
NAMES = {
    "C-1001": "Harbor Street Bakery",
    "C-1002": "Blue Harbor \u202eylppuS\u202c\u200b Ltd",
    "C-1003": "Dana Whitfield",
}
MATEO = Person("mateo")


def main() -> None:
    """Make them all."""
    chromium = bring() or sys.exit(MISSING)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = _server(Path(folder)).start()
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        try:
            _shoot(browser, Bank(server))
        finally:
            browser.close()
            server.stop()


def _server(folder: Path) -> Server:
    url = f"sqlite:///{folder / 'clearance.db'}"
    database = Database(url)
    migrate(database, MIGRATIONS)
    database.write_now(lambda connection: seed(connection, size="small"))
    database.close()
    server = Server(folder, url)
    server.auth = "on"
    return server


def _shoot(browser: Browser, bank: Bank) -> None:
    for customer_id, name in NAMES.items():
        bank.name(customer_id, name)
    _history(bank)
    ask = (
        "show account A-2003, then transfer 900 from A-2001 to A-2002 and 48,250 from A-2001 to A-2003 for Invoice 3391"
    )
    large = bank.requests(bank.ask(ask))[-1]
    bank.ask("transfer 5,000 from A-2002 to A-2004 and 2,400 from A-2001 to A-2002", by=MATEO)
    bank.ask("delete user C-1003", by=MATEO)
    bank.transfer(1_150, to="A-2002")
    bank.end_soon(large, 37 * 60)
    first, second = _page(browser, bank, TESS), _page(browser, bank, TOM)
    first.goto(f"/inbox/requests/{large}")
    first.get_by_label("Type the amount").fill("48,250")
    first.get_by_role("button", name="Approve $48,250.00").click()
    first.locator("#report").wait_for()

    second.goto("/inbox")
    _picture(second, "list", full_page=True)
    second.goto(f"/inbox/requests/{large}")
    _picture(second, "request")
    phone = _page(browser, bank, TOM, width=390, height=844, color_scheme="dark")
    phone.goto(f"/inbox/requests/{large}")
    _picture(phone, "phone")
    second.get_by_label("Type the amount").fill("48,250")
    second.get_by_role("button", name="Transfer $48,250.00").click()
    second.get_by_role("heading", level=1, name="Transferred").wait_for()
    second.evaluate("scrollTo(0, 0)")
    _picture(second, "decided")
    _changed(second, bank)
    _meanwhile(first, second, bank)
    _frozen(first, second, bank)


def _changed(page: Page, bank: Bank) -> None:
    """A change with an error, and the same put right."""
    page.goto(f"/inbox/requests/{bank.transfer(1_990, to='A-2002')}")
    page.get_by_text("Change it…").click()
    page.get_by_label("Amount").fill("84,550,000")
    page.get_by_role("button", name="Check the change").click()
    page.locator("#arg-amount-e").wait_for()
    _picture(page, "error")
    page.get_by_label("Amount").fill("1,040")
    page.get_by_role("button", name="Check the change").click()
    page.get_by_role("button", name="Transfer $1,040.00 instead").wait_for()
    _picture(page, "change")


def _meanwhile(first: Page, second: Page, bank: Bank) -> None:
    """Somebody else was faster; the time ran out."""
    request_id = bank.transfer(1_050, to="A-2002")
    for page in (first, second):
        page.goto(f"/inbox/requests/{request_id}")
    first.get_by_text("Reject…").click()
    first.get_by_label("Reason").fill("Wait, call them first")
    second.get_by_role("button", name="Transfer $1,050.00").click()
    second.get_by_role("heading", level=1, name="Transferred").wait_for()
    first.locator("#meanwhile .report").wait_for()
    first.evaluate("scrollTo(0, 0)")
    _picture(first, "second")
    request_id = bank.transfer(1_070, to="A-2002")
    first.goto(f"/inbox/requests/{request_id}")
    bank.end_soon(request_id, 1)
    first.locator("#meanwhile .report").wait_for()
    _picture(first, "expired")


def _frozen(first: Page, second: Page, bank: Bank) -> None:
    """The switch, and a request while it is off."""
    request_id = bank.transfer(1_080, to="A-2002")
    first.goto("/inbox/freeze")
    first.get_by_label("Reason").fill("two payouts look doubled")
    first.get_by_role("button", name="Freeze all effects").click()
    first.get_by_role("heading", level=1, name="All effects are frozen").wait_for()
    second.goto(f"/inbox/requests/{request_id}")
    _picture(second, "frozen")
    second.goto("/inbox/audit")
    _picture(second, "audit")


def _history(bank: Bank) -> None:
    """Let the paying account have paid before: the seed ends a while ago."""
    ((last,),) = bank.rows("SELECT max(number) FROM transfers")
    for n in range(1, 24):
        made_at = to_text(datetime.now(UTC) - timedelta(days=58 - n * 2.4))
        bank.write(
            "INSERT INTO transfers (transfer_id, number, from_account, to_account, amount_minor, made_at)"
            " VALUES (?, ?, 'A-2001', 'A-2002', ?, ?)",
            f"T-{last + n}", last + n, 8_000 + n * 41_190 % 90_000, made_at,
        )  # fmt: skip


def _page(browser: Browser, bank: Bank, person: Person, *, width: int = 1280, height: int = 800, **more: Any) -> Page:
    context = browser.new_context(viewport={"width": width, "height": height}, base_url=bank.server.url, **more)
    url = f"{bank.server.url}/inbox"
    context.add_cookies([{"name": "clearance_inbox", "value": token(person), "url": url}])
    return context.new_page()


def _picture(page: Page, name: str, **how: Any) -> None:
    page.screenshot(path=DOCS / f"inbox-{name}.png", **how)


if __name__ == "__main__":
    main()
