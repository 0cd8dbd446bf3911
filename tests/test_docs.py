"""Every document of the project is reStructuredText without a mistake."""

import io
from itertools import pairwise
from pathlib import Path

import pytest

core = pytest.importorskip("docutils.core")
ROOT = Path(__file__).parent.parent
WARNING, NEVER = 2, 5  # docutils' levels of messages


def documents():
    return sorted([*ROOT.glob("*.rst"), *ROOT.glob("docs/**/*.rst")])


def complaints(text, name=""):
    """Return what docutils says of a text, "" if nothing."""
    said = io.StringIO()
    core.publish_doctree(
        text,
        source_path=name,
        settings_overrides={
            "report_level": WARNING,
            "halt_level": NEVER,
            "warning_stream": said,
            "file_insertion_enabled": False,
        },
    )
    return said.getvalue()


def test_there_are_documents():
    assert len(documents()) >= 6


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_docutils_has_nothing_to_say(path):
    assert complaints(path.read_text(), str(path)) == ""


@pytest.mark.parametrize(
    "text",
    [
        "====  ====\na     b\n====  ====\n1     2\n",  # has no end
        "==  ==\na   b\n==  ==\nlong  2\n==  ==\n",
        "A section\n-----\n\nText.\n",
        "*Text.\n",
    ],
    ids=["no border", "overrun column", "short underline", "no end"],
)
def test_what_is_broken_is_found(text):
    assert "test" in complaints(text, "test")


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_no_mark_of_a_merge_is_left(path):
    # A line of seven may be the underline of a title of seven letters.
    lines = ["", *path.read_text().splitlines()]
    for before, line in pairwise(lines):
        assert not line.startswith(("<<<<<<<", ">>>>>>>"))
        assert line != "=======" or len(before) == 7
