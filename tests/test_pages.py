"""Pages that a zygote has copied while it forks, by what no cell may hold."""

import ctypes
import mmap
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


def faults_of_a_cell(pid):
    if os.sysconf("SC_PAGESIZE") > 4096:
        pytest.skip("the pages are others")
    for _ in range(3):
        csandbox.run("1+1")
    time.sleep(IDLE)
    before = faults_of_cells(pid)
    for _ in range(10):
        csandbox.run("1+1")
    time.sleep(IDLE)
    return (faults_of_cells(pid) - before) / 10


def test_a_cell_writes_to_few_pages_that_it_must_copy_itself(pid):
    needs_ring(pid)
    # About 15, 85 before Linux 6.15, and 330 without the ring.
    assert faults_of_a_cell(pid) < 200


def needs_guards():
    """Skip where the kernel knows no guards in mappings of files."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    size = mmap.PAGESIZE
    with Path(os.__file__).open("rb") as file:
        place = libc.mmap(None, size, 1, 2, file.fileno(), 0)
    refused = libc.madvise(ctypes.c_void_p(place), size, 102)
    libc.munmap(ctypes.c_void_p(place), size)
    if refused:
        pytest.skip("no guards in mappings of files here")


def test_a_cell_begins_with_the_pages_of_files_that_it_reads(pid):
    needs_ring(pid)
    needs_guards()
    assert faults_of_a_cell(pid) < 50


def mappings(pid):
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        places, rights, offset, _, _, *path = line.split(maxsplit=5)
        start, end = (int(each, 16) for each in places.split("-"))
        yield start, end, rights, int(offset, 16), "".join(path)


if os.geteuid() == 0:  # nobody else may look into a zygote

    def test_code_is_the_files_in_a_zygote_that_hands_pages_down(pid):
        seen = []
        with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
            for start, end, rights, offset, path in mappings(pid):
                if rights != "r-xp" or not path.startswith("/"):
                    continue
                memory.seek(start)
                there = memory.read(end - start)
                with Path(path).open("rb") as file:
                    file.seek(offset)
                    of_file = file.read(end - start)
                assert there[: len(of_file)] == of_file, path
                seen.append(path)
        assert any("_csandbox" in each for each in seen)

    def test_nothing_is_writable_and_executable(pid):
        csandbox.run("1")
        time.sleep(IDLE)
        processes = [pid, *support.descendants(pid)]
        for each in processes:
            for mapping in mappings(each):
                assert not {"w", "x"} <= set(mapping[2]), mapping
