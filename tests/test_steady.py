"""Many runs, of many kinds and threads: none is refused, or sees another."""

import pytest

import hosts
from csandbox import _csandbox

PRELUDE = """
import os, resource, sys, threading, time
import csandbox, hosts
"""


def program(source, **options):
    return hosts.run(PRELUDE + source, **options)


# --- none is refused ---------------------------------------------------------


def test_runs_in_many_threads_go_on_and_on_without_an_error():
    """One in a thousand found no descriptor, when cells came and went."""
    wrong, runs = program("""
csandbox.warm()
wrong, runs = [], [0] * 6
end = time.monotonic() + 8
def work(number):
    while time.monotonic() < end:
        try:
            if csandbox.run("1+1") != 2: wrong.append("another value")
        except BaseException as error:
            wrong.append(repr(error))
        runs[number] += 1
threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
hosts.show([wrong[:5], min(runs)])
""")
    assert wrong == []
    assert runs > 20


def test_cells_that_wait_leave_room_where_a_user_may_have_few_processes():
    """Eight kinds of cells, that would be 16 processes if all waited."""
    if _csandbox.is_root():
        return  # whose processes are not bounded
    found = program("""
def tasks():
    "Count the tasks of this user."
    count = 0
    for pid in hosts.pids():
        try:
            if os.stat(f"/proc/{pid}").st_uid == os.getuid():
                count += len(os.listdir(f"/proc/{pid}/task"))
        except OSError:
            pass  # it has gone
    return count
most = tasks() - 1 + 8
resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
wrong = []
for turn in range(3):
    for kind in range(8):
        try:
            csandbox.run("1", memory=(100 << 20) + (kind << 20))
        except csandbox.UnavailableError as error:
            wrong.append([turn, kind, str(error)])
hosts.show(wrong)
""")
    assert found == []


@pytest.mark.parametrize("opened", [0, 24])
def test_runs_go_on_after_the_host_has_closed_all_descriptors(opened):
    """As a daemon does; what has their numbers then is not csandbox's."""
    found = program(f"""
csandbox.run("1")
os.closerange(3, 256)
files = [open(os.devnull) for _ in range({opened})]
before = [os.fstat(file.fileno()) for file in files]
values = [csandbox.run("2"), csandbox.run("3")]
after = [os.fstat(file.fileno()) for file in files]
hosts.show([values, after == before])
""")
    assert found == [[2, 3], True]


# --- none sees another -------------------------------------------------------

# Looks in the heap for what the zygote calls poll() with: one entry for each
# of its runs, POLLRDHUP.  Two that the guest makes itself must be found.
LOOKS = """
import ctypes, os, struct
libc = ctypes.CDLL(None)
libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
MARK = 3999
read, write = os.pipe()
def page(at):
    if libc.write(write, at, 4096) == 4096:
        return os.read(read, 4096)
own = libc.malloc(48)
ctypes.memmove(own, struct.pack("<ihh", MARK, 0x2000, 0) * 2, 16)
at, pages = libc.sbrk(0) & ~4095, []
while content := page(at := at - 4096):
    pages.append(content)
words = memoryview(b"".join(reversed(pages)))
found = []
for offset in range(0, len(words) - 8, 8):
    number, *events = struct.unpack_from("<ihhihh", words, offset)
    other = events.pop(2)
    if events == [0x2000, 0, 0x2000, 0] and 0 < number < 4096 > other > 0:
        found.append((number, other))
found
"""


@pytest.mark.parametrize("others", [2, 6])
def test_a_guest_finds_nothing_of_how_many_other_runs_there_are(others):
    found = program(f"""
looks = {LOOKS!r}
csandbox.warm()
def busy():
    csandbox.run("import time; time.sleep(2)", timeout=20)
threads = [threading.Thread(target=busy) for _ in range({others})]
for thread in threads: thread.start()
hosts.wait_until(lambda: csandbox.capacity().alive == {others})
time.sleep(0.3)
# Of kinds of which no cell waited, so that they see the zygote as it is.
found = [csandbox.run(looks, memory=f"{{n}}M") for n in range(300, 303)]
for thread in threads: thread.join()
hosts.show(found)
""")
    assert found == [[[3999, 3999]]] * 3


# Reads the end of the stack, where what has returned has left things.
READS_STACK = """
import ctypes, os, re
libc = ctypes.CDLL(None)
libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
at = ctypes.c_void_p.in_dll(libc, "__libc_stack_end").value | 4095
read, write = os.pipe()
pages = []
while libc.write(write, at - 4095, 4096) == 4096 and len(pages) < 64:
    pages.append(os.read(read, 4096))
    at -= 4096
stack = b"".join(reversed(pages))
"""


def test_a_guest_finds_nothing_of_its_setting_up_on_its_stack():
    """It was its status in /proc, and so its number among the processes of
    this machine, and among those that its zygote has had for all its runs; and
    the numbers of namespaces, of which each run has some."""
    found = program(f"""
source = {READS_STACK!r} + '''
words = memoryview(stack).cast("L")
[*re.findall(b"NS[a-z]+:[ -~\\\\t]*", stack),
 *(word for word in words if 0xF0000000 <= word <= 0xF00FFFFF)]
'''
csandbox.warm()
hosts.show([str(csandbox.run(source)) for _ in range(9)])
""")
    assert found == ["[]"] * 9


def test_a_limit_on_memory_says_nothing_of_how_many_runs_there_were():
    """The zygote keeps a stack for each that was in it at a time."""
    found = program("""
looks = "import resource; resource.getrlimit(resource.RLIMIT_DATA)[0]"
def limit():
    "Of a cell that was forked now."
    hosts.disarm()
    return csandbox.run(looks)
csandbox.warm()
# The zygote grows as well when it gets all ready that cells begin with.
alone = [limit() for _ in range(40)]
def busy():
    csandbox.run("import time; time.sleep(1)", timeout=20)
threads = [threading.Thread(target=busy) for _ in range(8)]
for thread in threads: thread.start()
hosts.wait_until(lambda: csandbox.capacity().alive == 8)
beside = limit()
for thread in threads: thread.join()
hosts.show([alone[-1], beside, limit()])
""")
    assert found == found[:1] * 3


# --- nothing of it is left ---------------------------------------------------

READY = """
while not csandbox.run("import sys; 'cloudpickle' in sys.modules"): pass
(zygote,) = hosts.zygotes(os.getpid())
"""


def test_the_end_of_a_run_that_was_not_short_is_awaited():
    """It may have made what the kernel takes long to remove."""
    found = program(f"""
hosts.arm_none()
{READY}
source = "x = b'y' * 150_000_000; import time; time.sleep(0.03)"
def left():
    csandbox.run(source, timeout=60)
    return hosts.children(zygote)
hosts.show([left() for _ in range(3)])
""")
    assert found == [[], [], []]


def test_a_cell_that_a_short_run_has_asked_for_comes_when_it_is_wanted():
    """Even before the end of that run, in whose socket the request lies."""
    found = program(f"""
{READY}
pool = csandbox.zygotes._registry.armed
def living():
    with open(f"/proc/{{zygote}}/task/{{zygote}}/children") as file:
        return {{*file.read().split()}}
def came():
    "Whether the next came before the end of this; None if it was not short."
    csandbox.warm()
    old, start = living(), time.monotonic()
    csandbox.run("1")
    if time.monotonic() - start > 0.001:
        return None
    ((*_, (_, _, run)),) = pool._waiting.values()
    assert run.waits()
    while old & (now := living()):
        if now - old and old & living(): return True
    hosts.wait_until(lambda: run.waits() and run.ready)
    return False
found, end = [], time.monotonic() + 10
while time.monotonic() < end and True not in found and len(found) < 40:
    found += [each for each in [came()] if each is not None]
hosts.show(found)
""")
    assert True in found or len(found) < 40
