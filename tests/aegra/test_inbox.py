"""The inbox on Aegra: the pages and their forms come with the same package."""

from collections.abc import Callable

import httpx
import pytest

from tests.aegra.test_main_job import effects
from tests.aegra.test_recovery import rested
from tests.support.aegra import Aegra
from tests.support.conversation import connected, converse
from tests.support.tokens import bearer
from tests.support.visitor import approve_from_the_list, read_pages
from tests.support.world import ANA, OLGA, Person


@pytest.fixture(scope="module")
def walled(make_aegra: Callable[..., Aegra]) -> Aegra:
    """A server as it is deployed, with authentication."""
    return make_aegra(AUTH="on").start()


async def test_ana_signs_in_and_approves_by_the_form_what_olga_asked_for(walled: Aegra) -> None:
    async with connected(walled.url, **bearer(OLGA)) as client:
        talk = await converse(client)
        await talk.say("show account A-2003, then transfer 1,500 from A-2001 to A-2003 for the inbox")

        visit = approve_from_the_list(walled.url, ANA)
        # The effect is in when the page says so; the thread learns of it by the run that follows.
        said = await rested(talk)

    assert (len(visit.listed), visit.forged, visit.taken) == (1, 403, 303)
    assert "Transferred $1,500.00 from A-2001 to A-2003 (T-" in visit.receipt
    # What only the thread tells: its look-up stands on the page.
    assert '<div class="lookup">' in visit.receipt
    assert effects(walled, "the inbox") == 1
    assert "Transferred $1,500.00" in said


def test_every_page_is_there_for_those_who_may_see_it(walled: Aegra) -> None:
    paths = ["", "?tab=open", "?tab=decided", "/audit", "/audit.jsonl", "/freeze", "/statistics"]

    def visit(person: Person | None) -> list[int]:
        return [answer.status_code for answer in read_pages(walled.url, person, paths)]

    assert visit(ANA) == [200] * 7
    assert visit(OLGA) == [200, 200, 200, 403, 403, 200, 403]
    assert visit(None) == [303] * 7


def test_whoever_is_not_signed_in_is_refused_as_everybody_else_is(walled: Aegra) -> None:
    """Refusals of our routes have the shape that Aegra's have; those for want of a token had another."""
    with httpx.Client(base_url=walled.url, timeout=60) as client:
        ours = client.get("/approvals/requests")
        others = client.get("/threads/no-thread")
        known = client.get("/approvals/requests/no-request", headers=bearer(ANA))

    assert (ours.status_code, others.status_code, known.status_code) == (401, 401, 404)
    assert ours.json() == others.json()
    assert ours.json().keys() == known.json().keys()
