"""README.rst runs as printed."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.rst").read_text()
BIN = Path(sys.executable).parent


def blocks(language):
    """Return the code blocks of a language, without their indent."""
    found = re.findall(
        rf"^\.\. code-block:: {language}\n\n((?:    .*\n|\n)+)", README, re.M
    )
    return [re.sub(r"^    ", "", text, flags=re.M).strip() for text in found]


def commands():
    """Yield each console command and the output printed below it."""
    for block in blocks("console"):
        for each in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, output = each.partition("\n")
            yield command, output.strip()


def test_python_examples_give_what_is_printed():
    source = "\n".join(blocks("pycon")) + "\n"
    test = doctest.DocTestParser().get_doctest(
        source, {"__name__": "__main__"}, "README.rst", "README.rst", 0
    )
    assert len(test.examples) >= 9
    printed = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    runner.run(test, out=printed.append)
    assert runner.failures == 0, "".join(printed)


@pytest.mark.parametrize(("command", "output"), list(commands()))
def test_commands_print_what_is_printed(command, output):
    command = command.replace(".venv/bin/", "")
    done = subprocess.run(
        command,
        shell=True,
        cwd=ROOT,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == output


def test_set_up_is_two_commands_of_one_line():
    # .ci runs them as they stand here.
    assert [len(block.splitlines()) for block in blocks("sh")] == [1, 1]


def test_the_files_that_it_names_exist():
    names = re.findall(r"\b(?:[\w-]+/)*[\w-]+\.(?:rst|py|txt)\b", README)
    assert len(names) >= 5
    for name in names:
        assert (ROOT / name).is_file(), name
