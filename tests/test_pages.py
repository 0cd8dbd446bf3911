"""Pages that a zygote has copied while it forks, by what no cell may hold."""

import os
import time
from contextlib import suppress
from pathlib import Path

import pytest

import csandbox
import support
from csandbox import zygotes

IDLE = 0.5  # seconds; the zygote needs a moment in which nothing is asked


@pytest.fixture
def pid(monkeypatch):
    """Return the pid of a zygote that has had its moment."""
    zygotes.shutdown()
    # What a user may pin is bounded: one who has pinned nothing yet.
    monkeypatch.setattr(zygotes, "_uid", 20_000 + os.getpid() % 40_000)
    csandbox.run("1")
    pid = zygotes._registry.zygotes[zygotes.Template()].pid
    until = time.monotonic() + 10 * IDLE
    while os.geteuid() == 0 and not rings(pid) and time.monotonic() < until:
        time.sleep(0.1)
    zygotes.disarm()
    yield pid
    zygotes.shutdown()


def rings(pid):
    found = []
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.append(os.readlink(each))
    return [each for each in found if "io_uring" in each]


def needs_ring(pid):
    if os.geteuid() == 0 and not rings(pid):
        pytest.skip("no io_uring here")


def test_no_cell_holds_what_has_pages_copied(pid):
    needs_ring(pid)
    source = """
import os
held = []
for number in range(256):
    try:
        os.fstat(number)
    except OSError:
        continue
    held.append(number)
held
"""
    assert csandbox.run(source) == [0, 1, 2, 3, 4, 5]


def test_a_cell_makes_no_ring_of_its_own(pid):
    source = """
[answer(425, 1, ctypes.create_string_buffer(120)), answer(427, 3, 0, 0, 1)]
"""
    answers = csandbox.run(support.GUEST + source)
    assert set(answers) <= {"EPERM", "ENOSYS"}


def test_what_a_run_writes_to_copied_pages_no_other_sees(pid):
    needs_ring(pid)
    write = "import sys; sys.intern('x').__class__; import os; os.marker = 1"
    look = "import os; hasattr(os, 'marker')"
    csandbox.run(write)
    assert [csandbox.run(look) for _ in range(3)] == [False] * 3


def faults_of_cells(pid):
    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(stat[8])


def test_a_cell_writes_to_few_pages_that_it_must_copy_itself(pid):
    needs_ring(pid)
    if os.sysconf("SC_PAGESIZE") > 4096:
        pytest.skip("the pages are others")
    for _ in range(3):
        csandbox.run("1+1")
    time.sleep(IDLE)
    before = faults_of_cells(pid)
    for _ in range(10):
        csandbox.run("1+1")
    time.sleep(IDLE)
    # About 85, and 330 without the ring.
    assert (faults_of_cells(pid) - before) / 10 < 200
