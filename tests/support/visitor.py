"""Somebody at the inbox without a browser: signs in by the form, reads pages, sends their forms as they stand there."""

import re
from dataclasses import dataclass, field

import httpx

from clearance.server.inbox.session import COOKIE
from tests.support.tokens import token
from tests.support.world import Person


def form_of(page: str, action: str) -> dict[str, str]:
    """Read the hidden fields of the form that goes to `action`."""
    (form,) = re.findall(rf'<form method="post" action="{re.escape(action)}".*?</form>', page, re.DOTALL)
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form))


def read_pages(url: str, person: Person | None, paths: list[str]) -> list[httpx.Response]:
    """Read pages of the inbox in a session of somebody, or in none."""
    cookies = {COOKIE: token(person)} if person else {}
    with httpx.Client(base_url=url, cookies=cookies, timeout=60) as browser:
        return [browser.get(f"/inbox{path}") for path in paths]


@dataclass
class Visit:
    """What somebody saw on the way from the sign-in to the receipt."""

    #: Requests that the list showed, in its order.
    listed: list[str] = field(default_factory=list)
    #: Answers to the form without its session's mark, and as it stands on the page.
    forged: int = 0
    taken: int = 0
    #: The page that the taken form led to.
    receipt: str = ""


def approve_from_the_list(url: str, person: Person) -> Visit:
    """Sign in, open the first request of the list, approve it by the form on its page, and read the receipt."""
    visit = Visit()
    with httpx.Client(base_url=url, headers={"Origin": url}, timeout=60, follow_redirects=True) as browser:
        assert "Sign in to Clearance" in browser.get("/inbox").text
        page = browser.post("/inbox/sign-in", data={"token": token(person), "next": "/inbox"})
        assert browser.cookies.get(COOKIE)
        visit.listed = re.findall(r'<td role="cell" class="what"><a href="/inbox/requests/([^"]+)"', page.text)
        address = f"/inbox/requests/{visit.listed[0]}"
        fields = form_of(browser.get(address).text, f"{address}/approve")
        visit.forged = browser.post(f"{address}/approve", data={**fields, "csrf": "0" * 64}).status_code
        taken = browser.post(f"{address}/approve", data=fields)
        visit.taken, visit.receipt = taken.history[0].status_code, taken.text
    return visit
