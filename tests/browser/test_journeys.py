"""What people do at the inbox, in a real browser: decide, change, be too late, stop everything."""

import json
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import Bank, Sits
from tests.support.server import Server
from tests.support.tokens import bearer, token
from tests.support.world import ANA, BEN, OLGA, TESS, TOM, Person

MATEO = Person("mateo")


def open_request(page: Page, request_id: str) -> None:
    page.goto(f"/inbox/requests/{request_id}")


def the_report(page: Page) -> str:
    return page.locator("#report").inner_text()


def test_signing_in_leads_back_to_where_one_wanted_to_go(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(1_010)
    page = sits(None)

    open_request(page, request_id)
    page.get_by_label("Access token").fill("no token")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not valid here")
    page.get_by_label("Access token").fill(token(ANA))
    page.get_by_role("button", name="Sign in").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("Transfer $1,010.00")
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/inbox")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in to Clearance")
    assert page.context.cookies() == []


def test_approving_from_the_list_moves_the_money_and_shows_the_receipt(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(1_020)
    page = sits(ANA)

    page.goto("/inbox")
    row = page.locator(f"#r-{request_id}")
    expect(row).to_contain_text("Transfer to Tom Becker A-2003")
    expect(row).to_contain_text("$1,020.00")
    expect(row).to_contain_text("olga")
    row.get_by_role("link").click()
    page.get_by_role("button", name="Transfer $1,020.00").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("Transferred $1,020.00")
    expect(page.locator("#report")).to_be_focused()
    expect(page.locator("#receipt")).to_contain_text("Transferred $1,020.00 from A-2001 to A-2003 (T-")
    assert bank.effects(request_id) == 1


def test_a_rejection_reaches_whoever_asked_with_its_reason(sits: Sits, bank: Bank) -> None:
    thread_id = bank.ask("transfer 1030 from A-2001 to A-2003")
    (request_id,) = bank.requests(thread_id)
    page = sits(ANA)

    open_request(page, request_id)
    page.get_by_text("Reject…").click()
    page.get_by_label("Reason").fill("the invoice is paid <b>already</b>")
    page.get_by_role("button", name="Reject, nothing is done").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("Not transferred: $1,030.00")
    assert "Rejected by ana" in the_report(page)
    assert "the invoice is paid <b>already</b>" in the_report(page)
    assert bank.effects(request_id) == 0
    page.wait_for_timeout(500)
    assert "the invoice is paid" in bank.last_words(thread_id)


def test_a_change_with_an_error_keeps_what_was_typed_and_is_made_once_it_is_right(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(1_990)
    page = sits(ANA)

    open_request(page, request_id)
    page.get_by_text("Change it…").click()
    page.get_by_label("Amount").fill("84,550,000")
    page.get_by_label("Memo").fill("half of it")
    page.get_by_role("button", name="Check the change").click()
    expect(page).to_have_title("Error: Transfer $1,990.00 · Clearance")
    expect(page.get_by_label("Amount")).to_have_value("84,550,000")
    expect(page.get_by_label("Amount")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Memo")).to_have_value("half of it")
    expect(page.locator("#arg-amount-e")).to_contain_text("A-2001 has $")
    expect(page.locator("#report")).to_be_focused()
    page.get_by_label("Amount").fill("1.999")
    page.get_by_role("button", name="Check the change").click()
    expect(page.locator("#arg-amount-e")).to_have_text("Amount must have at most two decimals.")

    page.get_by_label("Memo").fill("rent")
    page.get_by_label("Amount").fill("1,040")
    page.get_by_role("button", name="Check the change").click()
    expect(page.locator(".diff")).to_contain_text("$1,990.00")
    assert (bank.state(request_id), bank.effects(request_id)) == ("asked", 0)
    page.get_by_role("button", name="Transfer $1,040.00 instead").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("Transferred $1,040.00")
    assert bank.effects(request_id) == 1


def test_the_second_of_two_people_sees_at_once_that_it_is_decided_and_keeps_the_words(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(1_050)
    ana, ben = sits(ANA), sits(BEN)
    open_request(ana, request_id)
    open_request(ben, request_id)
    ana.get_by_text("Reject…").click()
    ana.get_by_label("Reason").fill("Wait, call them first")

    ben.get_by_role("button", name="Transfer $1,050.00").click()
    expect(ben.get_by_role("heading", level=1)).to_contain_text("Transferred")

    expect(ana.locator("#meanwhile")).to_contain_text("Transferred, once")
    expect(ana.locator("#meanwhile")).to_contain_text("Approved by ben")
    expect(ana.locator("#typed")).to_contain_text("Wait, call them first")
    expect(ana.get_by_role("button", name="Reject, nothing is done")).to_have_count(0)
    ana.get_by_role("link", name="See how it stands").click()
    expect(ana.locator(".vitals")).to_contain_text("ben")


def test_who_answers_too_late_is_told_by_whom_it_was_decided(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(1_060)
    ana, ben = sits(ANA, java_script_enabled=False), sits(BEN)
    open_request(ana, request_id)
    open_request(ben, request_id)
    ben.get_by_role("button", name="Transfer $1,060.00").click()
    expect(ben.get_by_role("heading", level=1)).to_contain_text("Transferred")

    ana.get_by_text("Reject…").click()
    ana.get_by_label("Reason").fill("Wait, call them first")
    ana.get_by_role("button", name="Reject, nothing is done").click()

    assert "Already decided: ben approved it" in the_report(ana)
    assert "Your rejection came at" in the_report(ana)
    expect(ana.get_by_role("heading", name="What you had written")).to_be_visible()
    expect(ana.locator(".kept").first).to_contain_text("Wait, call them first")
    assert bank.effects(request_id) == 1


def test_critical_risk_takes_the_typed_amount_and_two_people(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(26_000)
    tess, tom = sits(TESS), sits(TOM)

    open_request(tess, request_id)
    tess.get_by_role("button", name="Approve $26,000.00, 1 of 2").click()
    expect(tess.locator("#confirm-e")).to_have_text("To approve it type the amount, 26,000.00")
    tess.get_by_label("Type the amount").fill("2,600")
    tess.get_by_role("button", name="Approve $26,000.00, 1 of 2").click()
    expect(tess.locator("#confirm-e")).to_have_text("You typed 2,600; the amount is 26,000.00")
    expect(tess.get_by_label("Type the amount")).to_have_value("2,600")
    tess.get_by_label("Type the amount").fill("$26000")
    tess.get_by_role("button", name="Approve $26,000.00, 1 of 2").click()
    expect(tess.locator("#report")).to_contain_text("Your approval is recorded, 1 of 2")
    assert (bank.state(request_id), bank.effects(request_id)) == ("asked", 0)

    open_request(tom, request_id)
    expect(tom.locator("#decide")).to_contain_text("tess approved it at")
    tom.get_by_label("Type the amount").fill("26,000.00")
    tom.get_by_role("button", name="Transfer $26,000.00").click()

    expect(tom.get_by_role("heading", level=1)).to_contain_text("Transferred $26,000.00")
    assert bank.effects(request_id) == 1


def test_a_request_that_expires_while_one_looks_says_so_and_its_forms_go(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(1_070)
    page = sits(ANA)
    open_request(page, request_id)
    expect(page.get_by_role("button", name="Transfer $1,070.00")).to_be_visible()

    bank.end_soon(request_id, 1)

    expect(page.locator("#meanwhile")).to_contain_text("Expired")
    expect(page.get_by_role("button", name="Transfer $1,070.00")).to_have_count(0)
    page.get_by_role("link", name="See how it stands").click()
    expect(page.locator("#report")).to_contain_text("Expired")
    assert bank.effects(request_id) == 0


def test_a_freeze_is_on_every_page_and_stops_approving(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(1_080)
    ana, ben = sits(ANA), sits(BEN)
    open_request(ben, request_id)

    ana.goto("/inbox")
    ana.get_by_role("link", name="Effects on").click()
    ana.get_by_role("button", name="Freeze all effects").click()
    expect(ana.locator("#why-e")).to_contain_text("Say why")
    ana.get_by_label("Reason").fill("two payouts <i>look</i> doubled")
    ana.get_by_role("button", name="Freeze all effects").click()
    try:
        expect(ana.get_by_role("heading", level=1)).to_have_text("All effects are frozen")
        expect(ben.locator("#meanwhile")).to_contain_text("frozen by ana")
        ben.get_by_role("button", name="Transfer $1,080.00").click()
        expect(ben.locator("#report")).to_contain_text("all effects are frozen by ana")
        expect(ben.locator(".freeze")).to_contain_text("two payouts <i>look</i> doubled")
        expect(ben.get_by_role("button", name="Transfer $1,080.00")).to_have_count(0)
        expect(ben.get_by_text("Reject…")).to_be_visible()
        for address in ("/inbox", "/inbox?tab=decided", "/inbox/audit", "/inbox/statistics", "/inbox/freeze"):
            ben.goto(address)
            expect(ben.locator(".freeze")).to_contain_text("Frozen for")
    finally:
        ana.goto("/inbox/freeze")
        ana.get_by_label("Type “effects on”").fill("effects on")
        ana.get_by_role("button", name="Turn effects on").click()
    expect(ana.get_by_role("heading", level=1)).to_have_text("Effects are on")

    open_request(ben, request_id)
    ben.get_by_role("button", name="Transfer $1,080.00").click()
    expect(ben.get_by_role("heading", level=1)).to_contain_text("Transferred")


#: What makes a page scroll sideways.
TOO_WIDE = """document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("main *")]
    .filter((e) => e.getBoundingClientRect().right > innerWidth && !e.closest(".filters, .vh"))
    .map((e) => `${e.tagName}.${e.className?.baseVal ?? e.className}: ${e.textContent.slice(0, 30)}`)"""
HOSTILE = [
    "Blue Harbor \u202eylppuS\u202c\u200b Ltd",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "Tom{{ 7 * 7 }}' onmouseover='alert(1)\" autofocus onfocus=\"alert(1)",
    "Аcme " + "W" * 300,
    "Z" + "\u0301" * 100,
    "‹U+202E› \\u202e &lt;b&gt;",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_name_is_only_ever_text(name: str, sits: Sits, bank: Bank) -> None:
    bank.name("C-1002", name)
    try:
        request_id = bank.requests(bank.ask(f"transfer 1,090 from A-2001 to A-2003 for {name[:200]}"))[-1]
        page = sits(ANA, width=360)
        for address in ("/inbox", f"/inbox/requests/{request_id}", "/inbox/audit"):
            page.goto(address)
            assert page.locator("main img, main script, main b b, main [onmouseover]").count() == 0
            assert page.evaluate(TOO_WIDE) == []
            text = page.locator("body").inner_text()
            assert not {c for c in text if c in "\u202e\u202c\u200b"}
            assert "\u0301" * 5 not in text
        page.goto(f"/inbox/requests/{request_id}")
        page.get_by_text("Reject…").click()
        page.get_by_role("button", name="Reject, nothing is done").click()
        assert "Rejected by ana" in the_report(page)
        assert page.evaluate(TOO_WIDE) == []
    finally:
        bank.name("C-1002", "Tom Becker")


def test_hidden_characters_stand_in_their_place_with_their_names(sits: Sits, bank: Bank) -> None:
    bank.name("C-1002", HOSTILE[0])
    try:
        request_id = bank.transfer(1_100)
        page = sits(ANA)
        open_request(page, request_id)
        heading = page.get_by_role("heading", level=1)
        assert heading.locator(".char").first.inner_text().startswith("U+202E")
        assert heading.locator(".char").first.get_attribute("title") == "hidden character: right-to-left override"
        expect(page.locator(".first")).to_contain_text("3 hidden or misleading characters in the payee’s name")
    finally:
        bank.name("C-1002", "Tom Becker")


def test_everything_can_be_done_by_keyboard_alone(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(1_110)
    page = sits(None)
    page.goto("/inbox")
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type(token(ANA))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("to decide")

    for _ in range(60):
        page.keyboard.press("j")
        if page.evaluate("document.activeElement.getAttribute('href')") == f"/inbox/requests/{request_id}":
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Transfer $1,110.00")
    page.keyboard.press("r")
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.type("area jku")
    expect(page.get_by_label("Reason")).to_have_value("area jku")
    page.keyboard.press("Escape")
    expect(page.get_by_label("Reason")).not_to_be_visible()
    page.keyboard.press("e")
    expect(page.get_by_label("From account")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("a")
    expect(page.get_by_role("button", name="Transfer $1,110.00")).to_be_focused()
    assert bank.state(request_id) == "asked"
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Transferred $1,110.00")
    page.keyboard.press("u")
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{bank.server.url}/inbox")


def test_keys_can_be_looked_up_and_switched_off(sits: Sits) -> None:
    page = sits(ANA)
    page.goto("/inbox")

    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()
    page.get_by_label("Single-letter keys on").uncheck()
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("heading", name="Keys")).not_to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_label("Action")).not_to_be_focused()

    page.keyboard.press("?")
    page.get_by_label("Single-letter keys on").check()
    page.keyboard.press("Escape")
    expect(page.get_by_role("heading", name="Keys")).not_to_be_visible()
    page.keyboard.press("/")
    expect(page.get_by_label("Action")).to_be_focused()


#: Closes the list of keys and presses one before the browser has drawn anything.
CLOSE_AND_PRESS = """(key) => {
    document.querySelector("#keys-on").focus();
    document.querySelector("#help").close();
    const at = document.activeElement;
    at.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
    return [at.id, document.activeElement.name];
}"""


def test_a_key_counts_as_soon_as_the_list_of_keys_is_closed(sits: Sits) -> None:
    """Until the browser has drawn the page again the focus is in the closed list: it was taken for typing."""
    page = sits(ANA)
    page.goto("/inbox")

    page.keyboard.press("?")
    page.get_by_label("Single-letter keys on").focus()

    assert page.evaluate(CLOSE_AND_PRESS, "/") == ["keys-on", "action"]


def test_n_and_p_go_along_the_list_that_one_came_from(sits: Sits, bank: Bank) -> None:
    ids = [bank.transfer(amount, by=MATEO) for amount in (1_610, 1_620, 1_630)]
    for place, request_id in enumerate(ids):
        bank.end_soon(request_id, 3_600 * (place + 2))
    first, second, _ = ids
    page = sits(ANA)
    page.goto("/inbox?tab=open&requester=mateo")
    page.locator(f"#r-{second}").get_by_role("link").click()
    address = f"{bank.server.url}/inbox/requests/{{}}?tab=open&requester=mateo"
    expect(page).to_have_url(address.format(second))

    _go(page, "p", to="Transfer $1,610.00")
    expect(page).to_have_url(address.format(first))
    page.keyboard.press("p")
    expect(page.locator("[data-key=p]")).to_have_count(0)
    _go(page, "n", to="Transfer $1,620.00")
    page.get_by_role("button", name="Transfer $1,620.00").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Transferred $1,620.00")
    expect(page).to_have_url(f"{address.format(second)}#report")
    _go(page, "n", to="Transfer $1,630.00")
    _go(page, "p", to="Transfer $1,610.00")
    page.keyboard.press("u")
    page.keyboard.press("Enter")

    expect(page).to_have_url(f"{bank.server.url}/inbox?tab=open&requester=mateo")
    assert [bank.state(one) for one in ids] == ["asked", "executed", "asked"]


def _go(page: Page, key: str, *, to: str) -> None:
    """Go on by a key, which moves the focus, and Enter."""
    page.keyboard.press(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text(to)


def test_what_waits_for_me_is_next_in_the_order_of_my_list_also_after_deciding(sits: Sits, bank: Bank) -> None:
    page = sits(TESS)
    ids = [bank.transfer(amount) for amount in (1_635, 1_640, 1_650)]
    for place, request_id in enumerate(ids):
        bank.end_soon(request_id, 600 + place)

    open_request(page, ids[1])
    page.get_by_role("button", name="Transfer $1,640.00").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Transferred $1,640.00")

    expect(page.get_by_role("heading", name="Next for you")).to_be_visible()
    page.get_by_role("link", name="Open", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Transfer $1,650.00")
    assert page.url == f"{bank.server.url}/inbox/requests/{ids[2]}"


def test_everything_works_without_a_script(sits: Sits, bank: Bank) -> None:
    first, second = bank.transfer(1_120), bank.transfer(1_130)
    page = sits(None, java_script_enabled=False)

    page.goto("/inbox")
    page.get_by_label("Access token").fill(token(ANA))
    page.get_by_role("button", name="Sign in").click()
    page.locator(f"#r-{first}").get_by_role("link").click()
    page.get_by_role("button", name="Transfer $1,120.00").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Transferred $1,120.00")
    open_request(page, second)
    page.locator("summary", has_text="Change it…").click()
    page.get_by_label("Amount").fill("1,125")
    page.get_by_role("button", name="Check the change").click()
    page.get_by_role("button", name="Transfer $1,125.00 instead").click()

    expect(page.get_by_role("heading", level=1)).to_contain_text("Transferred $1,125.00")
    assert (bank.effects(first), bank.effects(second)) == (1, 1)


def test_the_list_tells_of_new_requests_and_moves_no_row(sits: Sits, bank: Bank) -> None:
    one, other = bank.transfer(1_140), bank.transfer(1_150)
    page = sits(ANA)
    page.goto("/inbox")
    before = [page.locator(f"#r-{each}").bounding_box() for each in (one, other)]

    new = bank.transfer(1_160)
    with_ben = sits(BEN)
    open_request(with_ben, one)
    with_ben.get_by_text("Reject…").click()
    with_ben.get_by_role("button", name="Reject, nothing is done").click()

    expect(page.get_by_role("link", name="1 new request. Show it")).to_be_visible()
    expect(page.locator(f"#r-{one}.gone")).to_contain_text("by ben")
    after = [page.locator(f"#r-{each}").bounding_box() for each in (one, other)]
    assert [box and box["y"] for box in before] == [box and box["y"] for box in after]
    expect(page.locator("#live")).to_contain_text("Live, as of")
    page.get_by_role("link", name="1 new request. Show it").click()
    expect(page.locator(f"#r-{new}")).to_be_visible()
    expect(page.locator(f"#r-{one}")).to_have_count(0)


def test_a_list_can_be_narrowed_and_says_when_nothing_matches(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(1_170)
    page = sits(ANA)
    page.goto("/inbox")

    page.get_by_label("Risk").select_option("high")
    page.get_by_label("Asked by").fill("olga")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator(f"#r-{request_id}")).to_be_visible()
    page.get_by_label("Risk").select_option("low")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("heading", name="None match")).to_be_visible()
    page.get_by_role("link", name="Clear the filter").click()
    expect(page.locator(f"#r-{request_id}")).to_be_visible()


def test_a_list_that_is_slow_to_narrow_says_so_and_its_rows_stay(sits: Sits, bank: Bank) -> None:
    kept, other = bank.transfer(1_660, by=MATEO), bank.transfer(1_670)
    page = sits(ANA)
    page.goto("/inbox")
    page.get_by_label("Asked by").fill("mateo")
    held: list[Route] = []
    page.route("**/inbox?*", lambda route: held.append(route))

    page.keyboard.press("Enter")
    expect(page.locator("#live")).to_have_text("Updating…")
    expect(page.locator("#list")).to_have_attribute("aria-busy", "true")
    expect(page.locator(f"#r-{other}")).to_be_visible()
    (route,) = held
    route.continue_()

    expect(page.locator(f"#r-{other}")).to_have_count(0)
    expect(page.locator(f"#r-{kept}")).to_be_visible()
    expect(page.locator("#list")).not_to_have_attribute("aria-busy", "true")
    expect(page.locator("#live")).to_contain_text("As of")
    expect(page.locator("#said")).to_contain_text("filtered to asked by mateo")
    expect(page.get_by_label("Asked by")).to_be_focused()
    expect(page.get_by_label("Asked by")).to_have_value("mateo")
    expect(page.locator(".filters .set")).to_contain_text("Asked by")
    expect(page).to_have_url(f"{bank.server.url}/inbox?tab=mine&requester=mateo")
    page.go_back()
    expect(page.locator(f"#r-{other}")).to_be_visible()
    page.wait_for_load_state("domcontentloaded")
    page.keyboard.press("?")
    expect(page.get_by_role("heading", name="Keys")).to_be_visible()


def test_a_list_that_cannot_be_narrowed_keeps_its_rows_and_says_so(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(1_680)
    page = sits(ANA)
    page.goto("/inbox")
    page.get_by_label("Risk").select_option("low")
    page.route("**/inbox?*", lambda route: route.abort())

    page.get_by_role("button", name="Filter").click()

    expect(page.locator("#live")).to_contain_text("Not updated")
    expect(page.locator(f"#r-{request_id}")).to_be_visible()
    expect(page.locator("#list")).not_to_have_attribute("aria-busy", "true")
    page.unroute_all()
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("heading", name="None match")).to_be_visible()


def test_a_list_can_be_narrowed_without_a_script_to_somebody_who_is_known(sits: Sits, bank: Bank) -> None:
    kept, other = bank.transfer(1_690, by=MATEO), bank.transfer(1_700)
    page = sits(ANA, java_script_enabled=False)
    page.goto("/inbox")

    known = page.locator("#requesters option")
    assert {"mateo", "olga"} <= {one.get_attribute("value") for one in known.all()}
    page.get_by_label("Asked by").fill("mateo")
    page.get_by_role("button", name="Filter").click()

    expect(page.locator(f"#r-{kept}")).to_be_visible()
    expect(page.locator(f"#r-{other}")).to_have_count(0)
    mateo = sits(MATEO)
    mateo.goto("/inbox?tab=open")
    expect(mateo.get_by_label("Asked by")).to_have_count(0)


def test_a_turn_of_two_runs_when_both_are_decided(sits: Sits, bank: Bank) -> None:
    thread_id = bank.ask("transfer 1180 from A-2001 to A-2003 and 1190 from A-2001 to A-2002")
    first, second = bank.requests(thread_id)
    page = sits(ANA)

    open_request(page, second)
    expect(page.locator(".turn")).to_contain_text("$1,180.00")
    page.get_by_role("button", name="Transfer $1,190.00").click()
    expect(page.locator("#report")).to_contain_text("Your approval is recorded")
    expect(page.locator("#report")).to_contain_text("1 more request of this turn must be decided first")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Will transfer $1,190.00")
    page.goto("/inbox")
    expect(page.get_by_text("You approved, not run yet")).to_be_visible()
    open_request(page, first)
    page.get_by_role("button", name="Transfer $1,180.00").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Transferred $1,180.00")

    open_request(page, second)
    expect(page.get_by_role("heading", level=1)).to_contain_text("Transferred $1,190.00")
    assert (bank.effects(first), bank.effects(second)) == (1, 1)


def test_what_changed_since_it_was_asked_is_seen(sits: Sits, bank: Bank) -> None:
    first, second = bank.transfer(1_200), bank.transfer(1_210)
    page = sits(ANA)
    open_request(page, first)
    page.get_by_role("button", name="Transfer $1,200.00").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Transferred")

    open_request(page, second)
    # Balances moved: they are read afresh, and told as a change by nobody.
    expect(page.locator("#facts")).to_be_visible()
    expect(page.locator("tr.changed")).to_have_count(0)
    bank.name("C-1002", "Tom Baker")
    try:
        page.reload()
        expect(page.locator(".first .worst")).to_contain_text("Not as it was when it was asked for: Receives")
        page.get_by_role("button", name="Transfer $1,210.00").click()
        expect(page.locator("#report, .first").first).to_contain_text("Asked again")
        assert bank.effects(second) == 0
    finally:
        bank.name("C-1002", "Tom Becker")


def test_the_requester_reads_the_own_request_and_decides_nothing(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(1_220)
    page = sits(OLGA)

    page.goto("/inbox?tab=open")
    page.locator(f"#r-{request_id}").get_by_role("link").click()

    expect(page.locator("#decide")).to_contain_text("You asked for this, so others decide.")
    expect(page.locator("#decide form")).to_have_count(0)
    page.goto("/inbox/audit")
    expect(page.get_by_role("heading", level=1)).to_have_text("You may not do this")


def test_an_approver_without_the_role_is_told_whose_it_is(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(26_500)
    page = sits(ANA)

    open_request(page, request_id)

    expect(page.locator("#decide")).to_contain_text("Who holds the role treasurer decides this.")
    expect(page.locator("#decide form")).to_have_count(0)


def test_a_session_that_ends_loses_nothing_that_was_typed(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(1_230)
    page = sits(ANA)
    open_request(page, request_id)
    page.get_by_text("Reject…").click()
    page.get_by_label("Reason").fill("They called: it is paid")

    page.context.clear_cookies()
    expect(page.locator("#meanwhile")).to_contain_text("your session ended")
    expect(page.get_by_label("Reason")).to_have_value("They called: it is paid")
    page.get_by_role("button", name="Reject, nothing is done").click()
    expect(page.get_by_text("What you had typed is kept.")).to_be_visible()
    page.get_by_label("Access token").fill(token(ANA))
    page.get_by_role("button", name="Sign in").click()

    expect(page.locator("#report")).to_contain_text("What you had typed is still here.")
    expect(page.get_by_label("Reason")).to_have_value("They called: it is paid")
    assert bank.state(request_id) == "asked"


def test_the_talk_shows_look_ups_and_marks_the_models_words(sits: Sits, bank: Bank) -> None:
    request_id = bank.requests(bank.ask("show account A-2003, then transfer 1240 from A-2001 to A-2003"))[0]
    page = sits(ANA)

    open_request(page, request_id)

    expect(page.locator("#talk .lookup")).to_contain_text("Tom Becker")
    expect(page.locator("#talk .model-mark").first).to_have_text("The model’s words, not checked")
    expect(page.locator("#talk .person")).to_contain_text("show account A-2003")


def test_a_request_whose_thread_is_gone_can_only_be_closed(sits: Sits, bank: Bank) -> None:
    thread_id = bank.ask("transfer 1710 from A-2001 to A-2003")
    (request_id,) = bank.requests(thread_id)
    bank.lose(thread_id)
    page = sits(ANA)

    open_request(page, request_id)
    expect(page.locator("#decide")).to_contain_text("This server has no thread of this request")
    expect(page.get_by_role("button", name="Transfer $1,710.00")).to_have_count(0)
    expect(page.get_by_text("Reject…")).to_have_count(0)
    page.get_by_role("button", name="Close this request").click()

    expect(page.locator("#report")).to_contain_text("Withdrawn")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Not transferred: $1,710.00")
    assert (bank.state(request_id), bank.effects(request_id)) == ("withdrawn", 0)


def test_a_checked_change_is_shown_as_it_would_be_and_what_stands_as_old(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(26_100)
    tess, tom = sits(TESS), sits(TOM)
    open_request(tess, request_id)
    tess.get_by_label("Type the amount").fill("26,100")
    tess.get_by_role("button", name="Approve $26,100.00, 1 of 2").click()
    expect(tess.locator("#report")).to_contain_text("1 of 2")

    open_request(tom, request_id)
    large = tom.locator(".vitals > div", has_text="Asked because").locator("dd").inner_text().split("\n")[0]
    tom.get_by_text("Change it…").click()
    tom.get_by_label("Amount", exact=True).fill("2,610")
    tom.get_by_role("button", name="Check the change").click()

    header, vitals = tom.locator(".ask"), tom.locator(".vitals > div")
    expect(header.get_by_role("heading", level=1)).to_contain_text("Transfer $2,610.00")
    expect(header.locator(".not-yet del")).to_contain_text("Transfer $26,100.00")
    expect(header.locator(".risk")).to_have_text("High risk")
    expect(header.locator("p", has=tom.locator(".risk")).locator("del")).to_contain_text("Critical")
    expect(vitals.filter(has_text="Needs approver")).to_contain_text("0 of 1 given")
    expect(vitals.filter(has_text="Needs approver").locator("del")).to_contain_text("2 × treasurer")
    expect(vitals.filter(has_text="Asked because").locator("del")).to_contain_text(large)
    expect(tom.locator(".turn .this")).to_contain_text("Transfer $2,610.00")
    expect(tom.locator(".turn .this del")).to_contain_text("Transfer $26,100.00")
    expect(tom.locator(".diff")).to_contain_text("$26,100.00")
    expect(tom.locator("#decide")).to_contain_text("tess approved what stands; that does not count then.")
    expect(tom.locator("#decide .after-press")).to_have_text("Runs at once.")
    expect(tom.get_by_label("Type the amount")).to_have_count(0)
    assert (bank.state(request_id), bank.effects(request_id)) == ("asked", 0)
    tom.get_by_role("link", name="Drop the change").click()
    expect(tom.get_by_role("heading", level=1)).to_contain_text("Transfer $26,100.00")
    expect(tom.locator(".ask del")).to_have_count(0)


def test_the_whole_log_can_be_downloaded(sits: Sits, bank: Bank) -> None:
    page = sits(ANA)
    page.goto("/inbox/audit")

    with page.expect_download() as started:
        page.get_by_role("link", name="Download all of it").click()
    lines = started.value.path().read_text().splitlines()

    assert started.value.suggested_filename.endswith(".jsonl")
    assert [json.loads(line)["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert len(lines) > 0


def test_a_deleted_thread_leaves_nothing_to_decide(sits: Sits, bank: Bank) -> None:
    thread_id = bank.ask("transfer 1250 from A-2001 to A-2003")
    (request_id,) = bank.requests(thread_id)
    gone = httpx.delete(f"{bank.server.url}/threads/{thread_id}", headers=bearer(OLGA), timeout=30)
    assert gone.is_success
    page = sits(ANA)

    open_request(page, request_id)

    expect(page.get_by_role("heading", level=1)).to_contain_text("Not transferred")
    expect(page.get_by_role("button", name="Transfer $1,250.00")).to_have_count(0)


def _say(server: Server, text: str) -> str:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        thread_id = str(client.post("/threads", json={}).json()["thread_id"])
        words = {"messages": [{"role": "user", "content": text}]}
        client.post(f"/threads/{thread_id}/runs/wait", json={"assistant_id": "clearance", "input": words})
    return thread_id


def test_without_authentication_the_page_says_that_everybody_is_one(
    sits: Sits, make_server: Callable[..., Server]
) -> None:
    server = make_server()
    server.start()
    bank = Bank(server)
    thread_id = _say(server, "transfer 1260 from A-2001 to A-2003")
    (request_id,) = bank.requests(thread_id)
    page = sits(None, at=server)

    page.goto(f"/inbox/requests/{request_id}")

    expect(page.locator(".who")).to_contain_text("no sign-in: everybody here is this person")
    page.get_by_role("button", name="Transfer $1,260.00").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Transferred $1,260.00")
    _a_changed_deletion_is_confirmed_too(page, bank, _say(server, "delete user C-1003"))
    server.stop()


def _a_changed_deletion_is_confirmed_too(page: Page, bank: Bank, thread_id: str) -> None:
    (request_id,) = bank.requests(thread_id)
    open_request(page, request_id)
    page.get_by_text("Change it…").click()
    page.get_by_label("Reason", exact=True).last.fill("asked in writing")
    page.get_by_role("button", name="Check the change").click()
    page.get_by_role("button", name="Delete Ada Quist instead").click()
    expect(page.locator("#confirm-e")).to_have_text("To approve it type the name, Ada Quist")
    assert bank.state(request_id) == "asked"
    page.get_by_label("Type the name").fill("ada quist")
    page.get_by_role("button", name="Delete Ada Quist instead").click()
    expect(page.locator("#receipt")).to_contain_text("Deleted C-1003 and closed A-2005")
    # What the request said of the person is erased with the person, once its turn needs its calls no more.
    for _ in range(300):
        if not bank.rows("SELECT 1 FROM turns WHERE thread_id = ? AND state = 'open'", thread_id):
            break
        page.wait_for_timeout(200)
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("Done: delete_user, erased")
    assert "Ada Quist" not in page.content()
