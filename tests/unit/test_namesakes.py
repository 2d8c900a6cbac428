"""Which names read the same, so that nobody could tell the two people apart."""

import unicodedata

import pytest

from agent.clearance.namesakes import look_alike, namesake
from agent.clearance.principal import is_reserved


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("ana", "\u0430na", id="a Cyrillic a"),
        pytest.param("Ren\u00e9", unicodedata.normalize("NFD", "Ren\u00e9"), id="two forms of Unicode"),
        pytest.param("ana", "Ana", id="case"),
        pytest.param("ana", "\uff41na", id="a wide a"),
        pytest.param("Ivan", "\u0406van", id="a Cyrillic I"),
        pytest.param("ivan", "\u0406van", id="and case"),
        pytest.param("paul", "pauI", id="a capital I"),
        pytest.param("paul", "pau1", id="a one"),
        pytest.param("bob0", "bobO", id="a zero"),
        pytest.param("tom", "torn", id="r and n"),
        pytest.param("ana lee", "ana\u00a0lee", id="another space"),
        pytest.param("\u0412\u0435\u0440\u0430", "Bepa", id="all of another script"),
        pytest.param("ana-lee", "ana\u2010lee", id="another hyphen"),
    ],
)
def test_names_that_read_the_same_look_alike(one: str, other: str) -> None:
    assert look_alike(one, other)
    assert look_alike(other, one)
    assert namesake(one, ["olga", other]) == other


@pytest.mark.parametrize(
    ("one", "other"),
    [("ana", "ana"), ("ana", "anna"), ("Ren\u00e9", "Rene"), ("ana-1", "ana-2"),
     ("\u738b", "\u5f20"), ("", "a")],
)  # fmt: skip
def test_other_names_do_not(one: str, other: str) -> None:
    assert not look_alike(one, other)


@pytest.mark.parametrize("name", ["system", "System", "syst\u0435m", "\uff53ystem", "l0cal", "os:root", "\u043es:root"])
def test_what_reads_like_the_server_stands_for_no_person(name: str) -> None:
    assert is_reserved(name)


@pytest.mark.parametrize("name", ["osman", "systems", "locals", "ana"])
def test_a_name_that_only_begins_like_it_is_a_persons(name: str) -> None:
    assert not is_reserved(name)
