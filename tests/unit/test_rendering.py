"""What people are shown hides nothing, poses as nothing, has an end, and is nothing but text in Markdown."""

import re
import unicodedata
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from clearance.errors import ActionError
from clearance.text.lookalikes import lookalikes
from clearance.text.rendering import SENTENCE, VALUE, line, markdown, shown, unshown, visible, words

#: Any text, and texts thick with what this is about.
HOSTILE = st.text(
    st.characters()
    | st.sampled_from("\u202e\u2066\u200b\u200d\ufeff\u00ad\u0301\u0336\ufe0f\n\r\t\x1b\x00 аАbc|`*_[]()<>#")
)
TEXT = HOSTILE | st.text()


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("Zoë & José — 山田, Анна, محمد, נועה, नमस्ते, ภาษาไทย, e\u0301", None),
        ("rent\u202egnp.exe", "rent‹U+202E›gnp.exe"),
        ("a\u2066b\u2069\u200f", "a‹U+2066›b‹U+2069›‹U+200F›"),
        ("Bo\u200bb\ufeff\u2060\u00ad", "Bo‹U+200B›b‹U+FEFF›‹U+2060›‹U+00AD›"),
        ("a\nb\r\tc\x1b[31m\x00\x7f\x9b", "a‹U+000A›b‹U+000D›‹U+0009›c‹U+001B›[31m‹U+0000›‹U+007F›‹U+009B›"),
        ("a\u2028b\u2029\x85", "a‹U+2028›b‹U+2029›‹U+0085›"),
        ("a\u00a0b\u2003c\u3000", "a‹U+00A0›b‹U+2003›c‹U+3000›"),
        ("\ue000\U000f0000\uffff\u0378\ud800", "‹U+E000›‹U+F0000›‹U+FFFF›‹U+0378›‹U+D800›"),
        ("a\u3164b\u115f\u2800\u034f\ufe0f", "a‹U+3164›b‹U+115F›‹U+2800›‹U+034F›‹U+FE0F›"),
        ("\U000e0041\U000e0100", "‹U+E0041›‹U+E0100›"),
        ("9\u03360\u0337", "9‹U+0336›0‹U+0337›"),  # struck out
        ("B\u20dd", "B‹U+20DD›"),
        ("Z" + "\u0301" * 6, "Z" + "\u0301" * 4 + "‹U+0301›" * 2),
        (" \u0301", " ‹U+0301›"),
    ],
)
def test_what_does_not_show_as_itself_is_made_visible(text: str, seen: str | None) -> None:
    assert visible(text) == (text if seen is None else seen)
    assert line(text).startswith(visible(text))


def test_an_accent_at_the_start_does_not_stand_on_what_we_wrote() -> None:
    assert line("\u0301x") == "‹U+0301›x"


def test_lines_are_kept_only_where_that_is_asked_for() -> None:
    assert visible("a\n\tb\x1b", keep="\n\t") == "a\n\tb‹U+001B›"


@given(TEXT)
@example("\u0301" * 500)
@example("\U0010ffff" * 500)
def test_no_character_that_hides_gets_through_and_there_is_an_end(text: str) -> None:
    for seen, most in [(line(text), VALUE), (words(text), 1_000), (line(text, SENTENCE), SENTENCE)]:
        assert {unicodedata.category(c) for c in seen} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Me"} == set()
        assert {c for c in seen if unicodedata.category(c) == "Zs"} <= {" "}
        assert "     " not in seen
        assert not re.search("\\A\u0301|\u0301{5}", seen)
        assert len(seen) <= most + 400
        assert visible(seen) == seen
        seen.encode()
    assert line(text) == line(text)


def test_a_long_text_is_cut_and_its_length_told() -> None:
    assert line("x" * VALUE) == "x" * VALUE
    assert line("x" * 10_240) == "x" * 200 + " … 10,240 characters"
    assert line("\u202e" * 10_240) == "‹U+202E›" * 25 + " … 10,240 characters"
    assert words("one\n" * 5_000).endswith(" … 20,000 characters")


def test_a_gap_is_counted_so_that_it_pushes_nothing_out_of_sight() -> None:
    assert line("Bob" + " " * 90 + "approved") == "Bob‹90 spaces›approved"


def test_words_are_one_line_and_show_where_theirs_broke() -> None:
    assert words("I pay.\n\n  Risk: low\r\n") == "I pay. ⏎   Risk: low"


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("Аcme", "U+0410 CYRILLIC CAPITAL LETTER A"),
        ("Transfer to Аcme Ltd", "U+0410 CYRILLIC CAPITAL LETTER A"),
        ("Αlice", "U+0391 GREEK CAPITAL LETTER ALPHA"),
        ("goоglе.com", "U+043E CYRILLIC SMALL LETTER O, U+0435 CYRILLIC SMALL LETTER IE"),
        ("А-2001", "U+0410 CYRILLIC CAPITAL LETTER A"),
        ("1О0", "U+041E CYRILLIC CAPITAL LETTER O"),
        ("О'Brien", "U+041E CYRILLIC CAPITAL LETTER O"),
        ("Plan А", "U+0410 CYRILLIC CAPITAL LETTER A"),
        ("P\u200bа", "U+0430 CYRILLIC SMALL LETTER A"),
        ("(Анна, C-1) to (НТВ)", "U+041D CYRILLIC CAPITAL LETTER EN, U+0422 CYRILLIC CAPITAL LETTER TE, U+0412 "
         "CYRILLIC CAPITAL LETTER VE"),
        ("раураl", "U+0440 CYRILLIC SMALL LETTER ER, U+0430 CYRILLIC SMALL LETTER A, U+0443 CYRILLIC SMALL LETTER U"),
        ("ЅВЕРА", "U+0405 CYRILLIC CAPITAL LETTER DZE, U+0412 CYRILLIC CAPITAL LETTER VE, U+0415 CYRILLIC CAPITAL "
         "LETTER IE and 2 more"),
        ("ᎪᏟ", "U+13AA CHEROKEE LETTER GO, U+13DF CHEROKEE LETTER TLI"),
        ("ДΩ", "U+0414 CYRILLIC CAPITAL LETTER DE, U+03A9 GREEK CAPITAL LETTER OMEGA"),
        ("Ｂob", "U+FF22 FULLWIDTH LATIN CAPITAL LETTER B"),
        ("𝐁ob", "U+1D401 MATHEMATICAL BOLD CAPITAL B"),
        ("𝛂b", "U+1D6C2 MATHEMATICAL BOLD SMALL ALPHA"),
        ("Ⓑob", "U+24B7 CIRCLED LATIN CAPITAL LETTER B"),
        ("\u212Aim", "U+212A KELVIN SIGN"),
        ("ɡoogle", "U+0261 LATIN SMALL LETTER SCRIPT G"),
        ("ʀich", "U+0280 LATIN LETTER SMALL CAPITAL R"),
        ("$৪00", "U+09EA BENGALI DIGIT FOUR"),
    ],
)  # fmt: skip
def test_letters_that_pose_as_others_are_named(text: str, letters: str) -> None:
    assert lookalikes(text) == f"look-alike letters: {letters}"
    assert line(text) == f"{visible(text)} (look-alike letters: {letters})"


def test_letters_that_pose_are_named_once_wherever_their_text_is_given_again() -> None:
    said = f"olga is not {line('оlga')}."

    assert line(said) == said
    assert line(line("оlga")) == line("оlga")
    assert line(f"{said} Аna").endswith("CYRILLIC CAPITAL LETTER A)")


@pytest.mark.parametrize(
    "name",
    [
        "Priya Natarajan", "Zoë Müller-O’Neil", "Łukasz Đặng", "Yıldız", "Æsa Þórsdóttir", "e\u0301",
        "Анна Иванова", "Вера Иванова", "А. Иванов", "Сергей", "Пётр", "Ольга Рос", "Σωκράτης", "Άννα Παπαδοπούλου",
        "محمد علي ٢٠٢٤", "נועה כהן", "李小龙", "山田 太郎", "ヤマダ", "Tシャツ", "김철수", "Արամ", "გიორგი",
        "रमेश", "สมชาย", "5 µm", "1ª, nº 2, x², ½", "№ 5", "❤ ✓ → …", "Ioannis (Ιωάννης)", "€5,000",
    ],
)  # fmt: skip
def test_honest_names_of_any_script_are_not_flagged(name: str) -> None:
    assert lookalikes(name) == ""


def test_values_keep_their_shape_and_a_large_one_is_one_text() -> None:
    value = {"n": 1, "yes": True, "none": None, "part": 1.5, "deep": [{"memo\u200b": "a\u202eb"}]}

    assert shown(value) == {**value, "deep": [{"memo‹U+200B›": "a‹U+202E›b"}]}
    assert shown(list(range(1_000))).startswith("[0, 1, 2, ")
    assert shown(list(range(1_000))).endswith(" … 4,890 characters")
    assert len(shown({str(n): "x" * 1_000 for n in range(1_000)})) < 300


def test_names_that_look_the_same_cut_do_not_hide_one_another() -> None:
    seen = shown({"x" * 300 + "a": 1, "x" * 300 + "b": 2})

    assert isinstance(seen, str)
    assert seen.endswith(" … 616 characters")


@pytest.mark.parametrize(
    "value",
    [
        "rent", "a\u202eb", "Аcme", "x" * 10_240, 5, True, None, ["a\u200b", "x" * 300], {"a\u200b": {"b": "c\n"}},
        list(range(500)), {"x" * 300 + "a": 1, "x" * 300 + "b": 2}, ["x" * 300 + "a", "x" * 300 + "b"],
    ],
)  # fmt: skip
def test_what_comes_back_as_it_was_shown_means_what_it_was_shown_for(value: Any) -> None:
    assert unshown(shown(value), value) == value


def test_what_comes_back_changed_is_taken_as_it_is() -> None:
    assert unshown("cent", "rent") == "cent"
    assert unshown("a‹U+202E›c", "a\u202eb") == "a‹U+202E›c"
    assert unshown(6, 5) == 6
    assert unshown("x", None) == "x"
    assert unshown(["a‹U+200B›", "new"], ["gone", "a\u200b", "gone too"]) == ["a\u200b", "new"]
    assert unshown({"a‹U+200B›": "new"}, {"a\u200b": "old", "b": 1}) == {"a\u200b": "new"}


@pytest.mark.parametrize("current", ["x" * 10_240, "Аcme", ["kept", "x" * 300], {"Аcme": 1}, list(range(500))])
def test_a_remark_of_ours_does_not_become_part_of_a_value(current: Any) -> None:
    (said,) = {line(text).removeprefix(visible(text)[:VALUE]) for text in _texts_with_remarks(current)}

    for edited in (f"new{said}", ["new", f"new{said}!"], {"new": said.strip()}):
        with pytest.raises(ActionError, match="write it whole"):
            unshown(edited, current)


def _texts_with_remarks(current: Any) -> list[str]:
    match current:
        case str():
            return [current]
        case dict():
            return list(current)
        case _:
            return [item for item in current if isinstance(item, str) and item != "kept"] or [str(current)]


def test_a_text_that_could_be_one_of_several_is_not_guessed() -> None:
    with pytest.raises(ActionError, match="several"):
        unshown([line("x" * 300)], ["x" * 299 + "a", "x" * 299 + "b", "x" * 300])


@given(st.recursive(TEXT | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)))
def test_any_value_comes_back_as_itself(value: Any) -> None:
    assert unshown(shown(value), value) == value


MARKDOWN = [
    "[click](https://evil.example)", "![x](https://evil.example/x.png)", "<https://evil.example>", "<b>bold</b>",
    "<script>alert(1)</script>", "https://evil.example", "www.evil.example", "evil.example", "bob@evil.example",
    "[a]: https://evil.example", "[a][b]", "[^1]", "# Approve", "## x", "- x", "* x", "+ x", "1. x", "1) x", "> x",
    "**bold** __bold__ *i* _i_ ~~s~~ `c` ``c``", "| a | b |", "a | b", "|", "\\|", "\\", "\\\\|", "`|`", "x` | `y",
    "---", "***", "===", "--- | ---", ":--- | ---:", "```", "~~~", "    code", "\tcode", "$x^2$ and $5,000.00",
    "&lt;b&gt; &#60;b&#62;", "a\\",
    "a\n\n# Approve", "a\n| x | y |", "a  \nb", "`https://evil.example`|x", "https://a|b`c", "<!-- x -->", "{{x}}",
]  # fmt: skip


@pytest.mark.parametrize("text", MARKDOWN)
def test_data_is_nothing_but_text_in_markdown(text: str) -> None:
    _is_only_text(text)


@settings(max_examples=500)
@given(
    st.lists(st.sampled_from([*"[]()!<>|`*_~#-+.:=&;$\\\n /@", "http://", "www.", "a", "1", "b c"])).map("".join) | TEXT
)
def test_any_data_is_nothing_but_text_in_markdown(text: str) -> None:
    assume(text.strip())
    _is_only_text(text)


def _is_only_text(text: str) -> None:
    """Put data wherever a description has some, and look for anything that it made."""
    data = line(text)
    written = "\n\n".join(
        [markdown(data), markdown(f"Asked by: {data}."), markdown(data), "olga wrote:", f"> {markdown(data)}", "end"]
    )
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])

    tokens = parser.parse(written)

    kinds = [token.type for token in tokens if token.type.endswith("_open") or token.type not in _ORDINARY]
    assert kinds == _EXPECTED, data
    inline = [inner for token in tokens for inner in token.children or []]
    assert {inner.type for inner in inline} <= {"text", "text_special", "code_inline"}, data
    seen = ["".join(inner.content for inner in token.children or []) for token in tokens if token.type == "inline"]
    assert _squeezed(seen[0]) == _squeezed(data.strip()), data
    for inner in inline:
        if inner.type != "code_inline":
            assert not re.search(r"https?://|www\.|[-.\w+]@[-\w]+\.[-\w]", inner.content), data
    # Chat pages draw a formula of what stands between two of them.
    signs = re.findall(r"`[^`]*`|\\.|(\$)", markdown(data))
    assert signs.count("$") < 2, data


def _squeezed(text: str) -> str:
    return re.sub("‹U\\+0060›", "`", text).replace(" ", "")


_ORDINARY = {"inline", "paragraph_close", "blockquote_close"}
_EXPECTED = [*["paragraph_open"] * 4, "blockquote_open", "paragraph_open", "paragraph_open"]


@pytest.mark.parametrize(
    "text",
    [
        "Transfer $48,250.00 from A-2001 (Priya Natarajan) to A-2003 (Søren Ó Brien)",
        "Asked because of the rule large_transfer (policy.toml:31).",
        "Invoice #7 - 50% off & more, [sic] * see page 4",
        "Balance: -$5.00 ~ about",
    ],
)
def test_ordinary_text_reads_the_same_where_markdown_is_not_drawn(text: str) -> None:
    assert markdown(text) == text.replace("(policy.toml:31).", "`(policy.toml:31).`")
