import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csandbox.text import ESCAPES, Inert, inert

BIDI = (
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain",
        "a\tb\nc\r\nd",
        "Grüße 漢字 🙂",
        "\u0645\u06cc\u200c\u062e 👩\u200d💻",
        "\\x1b",
    ],
)
def test_harmless_text_is_unchanged(text):
    assert inert(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\0b\x7f", "a\\x00b\\x7f"),
        ("\x9b31m", "\\x9b31m"),
        ("\x85\x0b\x0c", "\\x85\\x0b\\x0c"),
        ("100%\r  0%", "100%\\x0d  0%"),
        ("a\r\r\nb", "a\\x0d\r\nb"),
        ("evil\u202etxt.exe", "evil\\u202etxt.exe"),
        ("a\u2028b", "a\\u2028b"),
        ("lone \udc80 \ud800", "lone \\udc80 \\ud800"),
        ("tag \U000e0041", "tag \\U000e0041"),
    ],
)
def test_active_characters_become_visible(text, shown):
    assert inert(text) == shown


def test_every_control_and_bidi_character_becomes_visible():
    controls = "".join(map(chr, [*range(32), *range(127, 160)]))
    hidden = controls.replace("\t", "").replace("\n", "") + BIDI
    assert inert(hidden).isascii()
    assert inert(hidden).isprintable()


def test_no_escaped_character_counts_as_printable():
    assert [code for code in ESCAPES if chr(code).isprintable()] == []


def test_no_visible_character_is_escaped():
    kinds = {unicodedata.category(chr(code)) for code in ESCAPES}
    assert kinds <= {"Cc", "Cf", "Cn", "Zl", "Zp"}


@given(st.text(st.characters(exclude_categories=())))
def test_inert_text_is_active_nowhere_and_stays_as_it_is(text):
    shown = inert(text)
    assert inert(shown) == shown
    shown.encode("utf-8")
    assert not any(ord(char) in ESCAPES for char in shown.replace("\r\n", ""))


@given(st.binary(), st.lists(st.integers(0, 40)), st.booleans())
def test_chunks_give_the_same_text_as_the_whole(data, cuts, raw):
    stream, rest, text = Inert(raw=raw), data, ""
    for cut in cuts:
        text += stream.feed(rest[:cut])
        rest = rest[cut:]
    text += stream.feed(rest) + stream.finish()
    whole = data.decode("utf-8", "replace")
    assert text == (whole if raw else inert(whole))


def test_a_character_split_over_chunks_is_shown_once_and_whole():
    stream = Inert()
    parts = [stream.feed(bytes([byte])) for byte in "é🙂".encode()]
    assert parts == ["", "é", "", "", "", "🙂"]


def test_a_line_end_split_over_chunks_stays_a_line_end():
    stream = Inert()
    assert stream.feed(b"a\r") + stream.feed(b"\nb") == "a\r\nb"


def test_a_last_carriage_return_and_half_character_come_out_at_the_end():
    stream = Inert()
    assert stream.feed(b"a\r") == "a"
    assert stream.finish() == "\\x0d"
    stream = Inert()
    assert stream.feed(b"a\xf0\x9f") == "a"
    assert stream.finish() == "\ufffd"
