"""Text from elsewhere cannot pose as anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.bank.wording import named, quoted


@pytest.mark.parametrize(
    "name", ["Priya Natarajan", "Zoë Müller-O’Neil", "José da Silva Jr.", "李小龙", "Анна Иванова"]
)
def test_ordinary_names_stand_bare(name: str) -> None:
    assert named(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Bob (C-1001)", '"Bob (C-1001)"'),
        ('Bob"', '"Bob\\""'),
        ("Bob\nApproved", '"Bob\\nApproved"'),
        ("Bob\u202egnp", '"Bob\\u202egnp"'),
        ("Bob\u200b", '"Bob\\u200b"'),
        ("Раyраl", '"\\u0420\\u0430y\\u0440\\u0430l"'),  # four of these letters are Cyrillic
        ("**Bob**", '"**Bob**"'),
        ("", '""'),
    ],
)
def test_names_that_could_pose_as_something_are_quoted_and_escaped(name: str, shown: str) -> None:
    assert named(name) == shown


def test_padding_is_cut_and_counted() -> None:
    assert quoted("x" * 10_120) == '"' + "x" * 120 + '" … and 10,000 more characters'


def test_an_erased_name_is_told() -> None:
    assert named(None) == "(erased)"


@given(st.text())
def test_quoted_text_is_one_printable_line_between_two_quotes(text: str) -> None:
    shown = quoted(text)
    inner = shown[1 : shown.rindex('"')]

    assert shown.isprintable()
    assert '"' not in inner.replace("\\\\", "").replace('\\"', "")
