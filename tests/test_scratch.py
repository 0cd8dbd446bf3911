"""The private /tmp: what is not there if there shall be none."""

import pytest

import csandbox
import support
from support import LANDLOCK, VIEW, Attack

WAYS = """
import os
ways = [
    lambda: open('/tmp/x', 'w'),
    lambda: os.mkdir('/tmp/d'),
    lambda: os.symlink('a', '/tmp/l'),
    lambda: os.mkfifo('/tmp/f'),
    lambda: os.link(os.__file__, '/tmp/h'),
    lambda: os.open('/tmp', os.O_TMPFILE | os.O_RDWR),
    lambda: os.utime('/tmp'),
]
refused = 0
for way in ways:
    try: way()
    except OSError: refused += 1
(refused, len(ways), os.getcwd())
"""


@pytest.mark.parametrize(
    "options",
    [{}, {"processes": 2}, {"start": "fork", "allow_threads": True}],
    ids=["alone", "several", "fork"],
)
def test_without_scratch_no_file_can_be_made(options):
    result = csandbox.execute(WAYS, scratch=0, timeout=60, **options)
    refused, count, folder = result.unwrap()
    assert (refused, folder) == (count, "/tmp")
    assert result.usage.scratch_bytes == 0
    # And with some they are not refused.
    assert csandbox.run(WAYS, timeout=60, **options)[0] <= 2


def test_without_scratch_tmp_is_as_the_view_has_it():
    source = "import os; os.listdir('/tmp')"
    below = {
        root.split("/")[2]
        for root in csandbox.zygotes.visible_roots()
        if root.startswith("/tmp/")
    }
    assert set(csandbox.run(source, scratch=0)) == below


# --- each layer alone --------------------------------------------------------

WRITE = Attack(
    "import os\n"
    "with open('/tmp/csandbox-test-written', 'w') as file: file.write('x')\n"
    "os.unlink('/tmp/csandbox-test-written') is None",
    VIEW,
    LANDLOCK,
)


def test_without_scratch_mount_and_landlock_each_refuse_it():
    WRITE.check(scratch=0)


def test_without_scratch_shared_memory_of_several_processes_says_so():
    result = csandbox.execute(
        "import mmap; mmap.mmap(-1, 4096)", scratch=0, processes=1
    )
    assert "pass a larger scratch=" in result.error.message
    source = "import mmap; mmap.mmap(-1, 4096)[0]"
    assert support.value_of(source, scratch=0) == 0
