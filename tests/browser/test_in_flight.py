"""What is in flight elsewhere at the inbox, in a real browser: seen in its list, settled on its page."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Bank, Sits
from tests.browser.test_accessibility import findings
from tests.support.paying import PayingServer, environment
from tests.support.payments import Provider, eventually
from tests.support.tokens import bearer
from tests.support.world import ANA, BEN


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, provider: Provider) -> Iterator[PayingServer]:
    """A server whose agent pays out elsewhere, with sign-in."""
    folder = tmp_path_factory.mktemp("paying")
    made = PayingServer(folder, f"sqlite:///{folder / 'clearance.db'}", env=environment(provider.url), auth="on")
    yield made.start()
    made.stop()


def approve(bank: Bank, text: str) -> str:
    """Let olga ask and ana approve, and give the request."""
    (request_id,) = bank.requests(bank.ask(text))
    with httpx.Client(base_url=bank.server.url, headers=bearer(ANA), timeout=60) as client:
        shown = client.get(f"/approvals/requests/{request_id}").json()["request"]
        seen = {"digest": shown["digest"], "revision": shown["revision"]}
        client.post(f"/approvals/requests/{request_id}/decision", json={"decision": "approve", **seen})
    return request_id


def lost(bank: Bank, provider: Provider, text: str) -> str:
    """Let the answer to a payment be lost, and give its request once nobody knows what became of it."""
    provider.next = ["breaks after"]
    request_id = approve(bank, text)
    eventually(lambda: bank.state(request_id) == "unknown")
    return request_id


def heading(page: Page) -> str:
    return page.get_by_role("heading", level=1).inner_text()


def test_it_is_found_in_its_list_and_settled_with_a_reason(sits: Sits, bank: Bank, provider: Provider) -> None:
    request_id = lost(bank, provider, "pay out blindly: account X-1, amount 5000")
    page = sits(BEN)

    page.goto("/inbox")
    page.get_by_role("link", name="In flight").click()
    row = page.locator(f"#r-{request_id}")
    expect(row).to_contain_text("Nobody knows yet")
    expect(row).to_contain_text("Somebody has to say what became of it.")
    row.get_by_role("link").click()
    assert heading(page).startswith("Not known whether done: carry out pay out blindly")
    expect(page.locator("#starts")).to_contain_text("Nobody knows yet")
    page.get_by_role("button", name="It happened").click()
    expect(page.locator("#report")).to_contain_text("Say how you know")
    page.get_by_label("How do you know?").fill("P-1 stands in <b>their</b> statement")
    page.get_by_role("button", name="It happened").click()

    expect(page.locator("#report")).to_contain_text("It happened, on the word of ben")
    expect(page.locator("#receipt")).to_contain_text("P-1 stands in <b>their</b> statement")
    expect(page.locator("#receipt")).to_contain_text("Settled by")
    assert bank.state(request_id) == "executed"


def test_who_looks_while_it_becomes_known_is_told(sits: Sits, bank: Bank, provider: Provider) -> None:
    provider.is_blind = True
    request_id = lost(bank, provider, "pay out: account X-2, amount 5000")
    # The page tells what was so when it was opened: on a busy machine that may be before the first look.
    eventually(lambda: bank.rows("SELECT looks FROM attempts WHERE request_id = ?", request_id) != [(0,)])
    page = sits(ANA)

    page.goto(f"/inbox/requests/{request_id}")
    expect(page.locator("#report")).to_contain_text("It was looked up")
    expect(page.locator("#report")).to_contain_text("Next it is looked into at")
    provider.is_blind = False

    expect(page.locator("#meanwhile .report")).to_contain_text("Paid 5000 to X-2", timeout=60_000)
    expect(page.locator("#decide")).to_contain_text("is not so any more")


@pytest.mark.parametrize("width", [360, 1440])
def test_its_pages_have_no_finding_and_do_not_scroll_sideways(
    sits: Sits, bank: Bank, provider: Provider, width: int
) -> None:
    request_id = lost(bank, provider, f"pay out blindly: account Y-{width}, amount 5000")
    page = sits(BEN, width=width)

    for address in (f"/inbox/requests/{request_id}", "/inbox?tab=in_flight", "/inbox/freeze"):
        page.goto(address)
        assert findings(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
