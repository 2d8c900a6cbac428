"""Every page in every state, with axe-core in the page: no finding, light and dark, on phone and desk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Bank, Sits
from tests.support.world import ANA, BEN, OLGA, TESS

#: axe-core 4.14.1 from npm, axe.min.js; MPL-2.0, see axe.LICENSE.
AXE = (Path(__file__).parent / "axe.min.js").read_text()
LOOKS = [("light", 1440), ("dark", 360)]


def findings(page: Page) -> list[str]:
    """Run axe in the page, and give what it finds serious, and what it finds of lesser weight, too."""
    page.evaluate(AXE)
    found: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['impact']} {one['id']}: {one['nodes'][0]['target']} {one['nodes'][0].get('failureSummary', '')}"
        for one in found["violations"]
    ]


@pytest.fixture(scope="module")
def waiting(bank: Bank) -> dict[str, str]:
    """Requests in the states that pages show."""
    two = bank.requests(
        bank.ask("show account A-2003, then transfer 2010 from A-2001 to A-2003 and 2020 from A-2001 to A-2002")
    )
    return {
        "open": bank.transfer(2_030),
        "critical": bank.transfer(30_000),
        "of two": two[0],
        "deletion": bank.requests(bank.ask("delete user C-1003"))[0],
    }


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_no_page_has_a_finding(scheme: Any, width: int, sits: Sits, bank: Bank, waiting: dict[str, str]) -> None:
    page = sits(ANA, width=width, color_scheme=scheme)
    addresses = [
        "/inbox", "/inbox?tab=open", "/inbox?tab=decided", "/inbox?risk=low", "/inbox?tab=open&requester=olga",
        "/inbox/audit", "/inbox/freeze",
        "/inbox/statistics", "/inbox/requests/none", *(f"/inbox/requests/{one}" for one in waiting.values()),
    ]  # fmt: skip

    wrong = {}
    for address in addresses:
        page.goto(address)
        wrong[address] = findings(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address

    assert {address: found for address, found in wrong.items() if found} == {}


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_no_state_of_a_request_has_a_finding(
    scheme: Any, width: int, sits: Sits, bank: Bank, waiting: dict[str, str]
) -> None:
    found: dict[str, list[str]] = {}

    def look(state: str, page: Page) -> None:
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        found[state] = findings(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), state

    ana, tess, olga = (sits(one, width=width, color_scheme=scheme) for one in (ANA, TESS, OLGA))
    ana.goto("/inbox")
    held: list[Route] = []
    ana.route("**/inbox?*", lambda route: held.append(route))
    ana.get_by_role("button", name="Filter").click()
    expect(ana.locator("#list")).to_have_attribute("aria-busy", "true")
    look("slow list", ana)
    ana.unroute_all()
    ana.goto(f"/inbox/requests/{waiting['open']}")
    ana.get_by_text("Reject…").click()
    look("rejecting", ana)
    ana.get_by_text("Change it…").click()
    ana.get_by_label("Amount").fill("99,000,000")
    ana.get_by_role("button", name="Check the change").click()
    look("wrong change", ana)
    ana.get_by_label("Amount").fill("2,005")
    ana.get_by_role("button", name="Check the change").click()
    look("checked change", ana)
    ana.keyboard.press("?")
    look("keys", ana)
    tess.goto(f"/inbox/requests/{waiting['critical']}")
    tess.get_by_role("button", name="Approve $30,000.00").click()
    look("not confirmed", tess)
    ana.goto(f"/inbox/requests/{waiting['critical']}")
    look("role missing", ana)
    olga.goto(f"/inbox/requests/{waiting['critical']}")
    look("own", olga)
    lost = bank.ask("transfer 2,040 from A-2001 to A-2003")
    (request_id,) = bank.requests(lost)
    bank.lose(lost)
    ana.goto(f"/inbox/requests/{request_id}")
    look("thread gone", ana)
    ana.get_by_role("button", name="Close this request").click()
    _decided(bank, sits, ana, look)
    nobody = sits(None, width=width, color_scheme=scheme)
    nobody.goto("/inbox?tab=open")
    look("sign-in", nobody)
    nobody.get_by_label("Access token").fill("x")
    nobody.get_by_role("button", name="Sign in").click()
    look("sign-in refused", nobody)

    assert len(found) == 15
    assert {state: wrong for state, wrong in found.items() if wrong} == {}


def _decided(bank: Bank, sits: Sits, ana: Page, look: Callable[[str, Page], None]) -> None:
    """Look at a request that somebody else decides meanwhile, at one that is held, done, and at the freeze."""
    request_id = bank.transfer(1_300)
    ana.goto(f"/inbox/requests/{request_id}")
    ben = sits(BEN)
    ben.goto(f"/inbox/requests/{request_id}")
    ben.get_by_role("button", name="Transfer $1,300.00").click()
    expect(ana.locator("#meanwhile")).to_contain_text("Transferred, once")
    look("decided meanwhile", ana)
    ana.reload()
    look("done", ana)
    first, second = bank.requests(bank.ask("transfer 1310 from A-2001 to A-2003 and 1320 from A-2001 to A-2002"))
    ana.goto(f"/inbox/requests/{second}")
    ana.get_by_role("button", name="Transfer $1,320.00").click()
    look("held", ana)
    ana.goto("/inbox/freeze")
    ana.get_by_label("Reason").fill("a drill")
    ana.get_by_role("button", name="Freeze all effects").click()
    try:
        ana.goto(f"/inbox/requests/{first}")
        look("frozen", ana)
    finally:
        ana.goto("/inbox/freeze")
        ana.get_by_label("Type “effects on”").fill("effects on")
        ana.get_by_role("button", name="Turn effects on").click()
    expect(ana.get_by_role("heading", level=1)).to_have_text("Effects are on")
