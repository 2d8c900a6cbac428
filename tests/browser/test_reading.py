"""What a reviewer reads on the pages: all that runs, who holds it back, what is past, what the tab says."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.conftest import Bank
from tests.support.world import ANA, Person

Sits = Callable[..., Page]

MEMO = "Invoice " + "7 " * 150 + "gift for the CFO"


def test_a_long_memo_is_read_to_its_end_before_the_button(sits: Sits, bank: Bank) -> None:
    (request_id,) = bank.requests(bank.ask(f"transfer 1060 from A-2001 to A-2003 for {MEMO}"))
    page = sits(ANA)

    page.goto(f"/inbox/requests/{request_id}")
    panel = page.locator("#arguments")
    expect(panel).to_contain_text("Exactly this will run")
    expect(panel.get_by_text("gift for the CFO")).to_be_hidden()
    expect(page.locator(".first")).to_contain_text(f"Memo has {len(MEMO)} characters")
    panel.get_by_text(f"Read all {len(MEMO)} characters").click()
    expect(panel.get_by_text("gift for the CFO")).to_be_visible()

    page.get_by_role("button", name="Transfer $1,060.00").click()
    expect(page.locator("#arguments")).to_contain_text("Exactly this ran")


def test_after_one_of_a_turn_the_next_is_the_one_that_holds_it_back(sits: Sits, bank: Bank) -> None:
    first, second = bank.requests(
        bank.ask("transfer 1070 from A-2001 to A-2003 and transfer 1071 from A-2001 to A-2003")
    )
    page = sits(ANA)

    page.goto(f"/inbox/requests/{first}")
    expect(page.locator("#decide")).to_contain_text("Runs when 1 more request of this turn is decided.")
    page.get_by_role("button", name="Transfer $1,070.00").click()

    expect(page.get_by_text("nothing of it runs before this is decided")).to_be_visible()
    page.keyboard.press("n")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(second))


def test_a_filtered_list_says_how_many_of_how_many_and_the_decided_one_speaks_in_the_past(
    sits: Sits, bank: Bank
) -> None:
    request_id = bank.transfer(1_080)
    bank.transfer(1_081)
    page = sits(ANA)

    page.goto("/inbox?tab=open&action=transfer_funds&thread=none")
    expect(page.get_by_role("heading", level=1)).to_contain_text("No request of ")
    page.goto(f"/inbox/requests/{request_id}")
    page.get_by_role("button", name="Transfer $1,080.00").click()
    page.goto("/inbox?tab=decided")

    expect(page.locator(f"#r-{request_id} .what")).to_contain_text("Transferred to")
    expect(page.get_by_role("columnheader", name="What happened")).to_be_visible()


def test_the_title_of_a_tab_tells_what_is_new(sits: Sits, bank: Bank) -> None:
    page = sits(ANA)
    page.goto("/inbox")
    before = page.title()

    bank.transfer(1_090)

    expect(page).not_to_have_title(before)
    waits = int(page.title().partition("(")[2].partition(")")[0])
    assert f"Inbox ({waits - 1})" in before


def test_balances_that_move_are_not_told_as_changes_and_a_new_name_is(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(1_100, to="A-2004")
    bank.ask("transfer 10 from A-2001 to A-2003")
    page = sits(ANA)

    page.goto(f"/inbox/requests/{request_id}")
    expect(page.locator("#facts")).to_be_visible()
    expect(page.locator("#facts .old")).to_have_count(0)
    expect(page.locator("#facts")).not_to_contain_text("when it was asked")
    expect(page.locator("#facts .panel-foot")).to_contain_text("Pays; Pays, customer; Paying account; Receives")
    assert "owner" not in page.locator(".panel-foot").inner_text()


def test_however_long_a_name_is_it_moves_no_page_sideways_and_one_that_looks_like_it_is_marked(
    sits: Sits, bank: Bank
) -> None:
    name = "olga.with-a-name-from-a-directory-that-nobody-made-short@operations.example"
    bank.transfer(1_641, by=Person(name))
    request_id = bank.transfer(1_642, by=Person(name.replace("o", "о", 1)))
    page = sits(Person(f"ana{name}", ("approver",)), width=360)

    for address in ("/inbox?risk=high", f"/inbox/requests/{request_id}", "/inbox/audit"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") == 360, address
        page.set_viewport_size({"width": 1024, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == 1024, address
        page.set_viewport_size({"width": 360, "height": 900})
    page.goto(f"/inbox/requests/{request_id}")
    first = page.locator(".first .worst").first
    expect(first).to_contain_text("Two people have names that look alike")
    assert first.inner_text().count("CYRILLIC SMALL LETTER O") == 1
    page.goto(f"/inbox?tab=open&requester={name}")
    expect(page.locator(".c-asked .remark-danger")).to_have_text("looks like another name")


def test_a_button_with_a_name_has_one_space_before_it(sits: Sits, bank: Bank) -> None:
    request_id = bank.requests(bank.ask("delete user C-1003"))[0]
    page = sits(ANA)

    page.goto(f"/inbox/requests/{request_id}")

    button = page.locator(".decide button.btn-effect")
    # Laid out apart, the verb and the name would be lines of their own.
    assert "\n" not in button.inner_text()
    expect(button).to_have_text(re.compile(r"^Delete \S"))


def test_what_could_not_be_carried_out_is_not_told_as_erased(sits: Sits, bank: Bank) -> None:
    request_id = bank.transfer(9_000_000)
    page = sits(ANA)

    page.goto("/inbox?tab=decided")

    row = page.locator(f"#r-{request_id}")
    expect(row).to_contain_text("Refused: transfer_funds")
    expect(row).to_contain_text("which is less than $9,000,000.00; nothing was moved.")
    expect(row).not_to_contain_text("erased")


def test_that_the_database_says_otherwise_than_the_log_is_read_on_a_phone(sits: Sits, bank: Bank) -> None:
    """It stood one letter to a line, and pushed all else out of sight."""
    request_id = bank.transfer(1_643)
    ((written,),) = bank.rows("SELECT arguments FROM requests WHERE request_id = ?", request_id)
    page = sits(ANA, width=360)

    bank.write("UPDATE requests SET arguments = ? WHERE request_id = ?", written.replace("rent", "loan"), request_id)
    try:
        page.goto(f"/inbox/requests/{request_id}")
        banner = page.get_by_role("alert").filter(has_text="The database says otherwise than the log")
        for part in ("h2", "ul", "p"):
            box = banner.locator(part).bounding_box()
            assert box is not None
            assert box["width"] > 200, part
    finally:
        bank.write("UPDATE requests SET arguments = ? WHERE request_id = ?", written, request_id)
