"""Which names read the same, so that nobody could tell the two people apart."""

import unicodedata

import pytest

from clearance.principal import is_reserved
from clearance.text.namesakes import Known, look_alike, namesake


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
        pytest.param("ana-lee", "ana\u2212lee", id="a minus"),
        pytest.param("o'neil", "o\u00b4neil", id="an accent for an apostrophe"),
        pytest.param("tim", "ti\u0307m", id="a second dot, which nobody sees"),
        pytest.param("ti\u0323m", "ti\u0323\u0307m", id="and one below"),
        pytest.param("tim", "\u0442\u0456\u043c".replace("\u0442", "t").replace("\u043c", "m"), id="a Cyrillic i"),
        pytest.param("\u0218tefan", "\u015etefan", id="a cedilla for a comma"),
        pytest.param("\u0103na", "\u01cena", id="a caron for a breve"),
        pytest.param(
            "\u0412\u0438\u043a\u0442\u043e\u0440",
            "\u0412\u0438\u03ba\u0442\u043e\u0440",
            id="a Greek letter in Cyrillic",
        ),
        pytest.param("stra\u00dfe", "stra\u03b2e", id="a beta"),
        pytest.param("\u064a\u0648\u0633\u0641", "\u06cc\u0648\u0633\u0641", id="another Arabic yeh"),
        pytest.param("wanda", "vvanda", id="two letters for one"),
        pytest.param("diana", "cliana", id="other two"),
    ],
)
def test_names_that_read_the_same_look_alike(one: str, other: str) -> None:
    assert look_alike(one, other)
    assert look_alike(other, one)
    assert namesake(one, ["olga", other]) == other
    assert Known(["olga", other, other.upper()]).namesake(one) == other


@pytest.mark.parametrize(
    ("one", "other"),
    [("ana", "ana"), ("ana", "anna"), ("ivan", "evan"), ("\u0141ukasz", "Lukasz"), ("Ren\u00e9", "Rene"),
     ("ana-1", "ana-2"), ("\u738b", "\u5f20"), ("", "a")],
)  # fmt: skip
def test_other_names_do_not(one: str, other: str) -> None:
    assert not look_alike(one, other)


@pytest.mark.parametrize("name", ["system", "System", "syst\u0435m", "\uff53ystem", "l0cal", "os:root", "\u043es:root"])
def test_what_reads_like_the_server_stands_for_no_person(name: str) -> None:
    assert is_reserved(name)


@pytest.mark.parametrize("name", ["osman", "systems", "locals", "ana"])
def test_a_name_that_only_begins_like_it_is_a_persons(name: str) -> None:
    assert not is_reserved(name)
