"""Runs that may have several processes: what works, and what they cannot."""

import os
import subprocess
import textwrap
import threading
import time

import pytest

import csandbox
import support
from csandbox import (
    GuestCrash,
    GuestError,
    GuestExit,
    MemoryLimitError,
    PolicyError,
    TimeLimitError,
)

NUMBERS = support.syscall_numbers()


def run(source, **policy):
    source = textwrap.dedent(source)
    if policy.get("start") == "fork":
        policy["allow_threads"] = True  # those of numpy, which others import
    return csandbox.run(source, **{"processes": 4, "timeout": 60, **policy})


class Watcher:
    """Counts the processes of a run from outside, as often as it can."""

    def __init__(self):
        self.most = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self):
        while not self._over.is_set():
            below = set()
            for zygote in support.zygote_pids():
                below |= support.descendants(zygote)
            self.most = max(self.most, len(below))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()


# --- what works --------------------------------------------------------------


def test_P11_processes_are_counted_by_policy():
    source = "import os\npid = os.fork()\nif pid == 0: os._exit(3)\n"
    source += "os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])"
    with pytest.raises(GuestError, match="not permitted"):
        csandbox.run(source)
    result = csandbox.execute(source, processes=1)
    assert (result.value, result.usage.peak_processes) == (3, 2)


def test_programs_of_the_system_can_be_executed():
    source = """
    import subprocess
    subprocess.run("ls -d /usr/bin | wc -l", shell=True, capture_output=True,
                   text=True, check=True).stdout
    """
    assert run(source).strip() == "1"


def test_python_can_be_executed():
    source = """
    import subprocess, sys
    subprocess.run([sys.executable, "-c", "print(6 * 7)"],
                   capture_output=True, text=True, check=True).stdout
    """
    assert run(source).strip() == "42"


# As with `python -c`, a function of the program itself is not there in a
# process that does not begin as a copy of this one.
POOL = """
import multiprocessing, sys
with open("/tmp/squares.py", "w") as file:
    file.write("def square(x): return x * x")
sys.path.insert(0, "/tmp")
from squares import square
with multiprocessing.get_context(method).Pool(2) as pool:
    value = pool.map(square, range(5))
value
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_has_its_pools(method):
    found = run(POOL, inputs={"method": method})
    assert found == [0, 1, 4, 9, 16]


def test_multiprocessing_shares_memory_locks_queues_and_values():
    source = """
from multiprocessing import Lock, Process, Queue, Value, shared_memory
def work(name, lock, queue, value):
    memory = shared_memory.SharedMemory(name)
    with lock: memory.buf[0] += 1
    with value: value.value += 1
    queue.put(0)
    memory.close()
memory = shared_memory.SharedMemory(create=True, size=100)
lock, queue, value = Lock(), Queue(), Value("i")
workers = [
    Process(target=work, args=(memory.name, lock, queue, value))
    for _ in range(3)
]
for each in workers: each.start()
for each in workers: queue.get()
for each in workers: each.join()
count = memory.buf[0]
memory.close(); memory.unlink()
count, value.value
"""
    assert run(source) == (3, 3)


def test_pools_of_futures_work():
    source = """
    import math
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(3) as pool:
        value = list(pool.map(math.factorial, range(5)))
    value
    """
    assert run(source) == [1, 1, 2, 6, 24]


def test_a_fork_of_the_host_may_have_processes_too():
    source = "import os\nif os.fork() == 0: os._exit(3)\nos.wait()[1]"
    assert run(source, start="fork") == 3 << 8


@pytest.mark.parametrize(
    ("ending", "code"),
    [("pass", 0), ("raise ValueError", 1), ("sys.exit(9)", 9)],
)
def test_a_child_that_ends_the_program_sends_no_result(ending, code):
    source = f"""
import os, sys
pid = os.fork()
if pid == 0:
    print("child")
    {ending}
else:
    pid = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
pid
"""
    result = csandbox.execute(source, processes=1)
    assert (result.value, result.stdout) == (code, "child\n")


def test_scratch_and_shared_memory_are_one_space():
    source = """
import errno
written, number = 0, 0
try:
    for written in range(1000):
        where = ("/tmp", "/dev/shm")[written % 2]
        with open(f"{where}/{written}", "wb") as file: file.write(bytes(65536))
except OSError as error:
    number = error.errno
written * 65536, number == errno.ENOSPC
"""
    written, full = run(source, scratch="4M")
    assert full
    assert written <= 4 << 20
    assert not csandbox.run("import os; os.path.exists('/dev/shm')")


# --- exactly so many ---------------------------------------------------------


def test_one_more_is_refused_until_one_has_ended():
    source = """
import errno, subprocess
def sleep(): return subprocess.Popen(["sleep", "100"])
found = set()
for _ in range(50):
    two = [sleep(), sleep()]
    try: sleep()
    except BlockingIOError as error: found.add(errno.errorcode[error.errno])
    else: found.add("a third")
    two[0].kill(); two[0].wait()
    two[0] = sleep()
    for each in two: each.kill(); each.wait()
found
"""
    assert run(source, processes=2) == {"EAGAIN"}


BOMBS = {
    "of children": "while True:\n  try: os.fork()\n  except OSError: pass",
    "of orphans": "while True:\n"
    "  try:\n    if os.fork() and os.getpid() != 2: os._exit(0)\n"
    "  except OSError: pass",
    "of threads": "import threading\ndef work():\n  while True:\n"
    "    if libc.syscall(NR_clone, 17, 0, 0, 0, 0) == 0: libc.pause()\n"
    "for _ in range(9): threading.Thread(target=work).start()",
    "of vforks": "while True:\n"
    "  try: os.posix_spawn('/bin/sleep', ['sleep', '9'], {})\n"
    "  except OSError: pass",
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_has_never_more_children_than_the_policy_says(bomb):
    source = "import os, ctypes\nlibc = ctypes.CDLL(None)\n" + BOMBS[bomb]
    source = source.replace("NR_clone", str(NUMBERS["clone"]))
    run("0", processes=5)
    before = time.monotonic()
    others = sum(
        len(support.descendants(each)) for each in support.zygote_pids()
    )
    with Watcher() as watcher:
        result = csandbox.execute(
            source, processes=5, timeout=1.5, cpu_time=60
        )
    assert type(result.error) is TimeLimitError
    assert time.monotonic() - before < 4
    # Init, the first, and five; some end before they are seen.
    assert watcher.most - others <= 7
    assert result.usage.peak_processes == 6


# A fork takes long, as its process has much memory; meanwhile its newest child
# ends and is gone, and a small, quick child forks.
SLOW_FORK = """
import mmap, os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def fork(work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    return pid
def help():
    victim = int(os.read(orders, 20))
    time.sleep(0.001)
    os.kill(victim, 9)
    end, made = time.monotonic() + 0.004, []
    while time.monotonic() < end:
        try: made.append(fork(signal.pause))
        except BlockingIOError: pass
    os.write(answers, b"%d\\n" % len(made))
    signal.pause()
most = 0
for _ in range(ROUNDS):
    (orders, order), (answer, answers) = os.pipe(), os.pipe()
    helper = fork(help)
    victim = fork(signal.pause)
    memory = mmap.mmap(-1, 400 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE)
    for at in range(0, len(memory), mmap.PAGESIZE): memory[at] = 1
    os.write(order, b"%d\\n" % victim)
    try: made = bool(fork(signal.pause))
    except BlockingIOError: made = False
    most = max(most, 1 + made + int(os.read(answer, 20)))
    os.kill(-1, signal.SIGKILL)
    memory.close()
    for each in orders, order, answer, answers: os.close(each)
    time.sleep(0.05)
most
"""


def test_a_fork_under_way_counts_until_its_child_is_seen():
    source = SLOW_FORK.replace("ROUNDS", "20")
    assert run(source, processes=3, memory="2G") == 3


def test_threads_are_not_traded_for_processes():
    source = """
import os
made = 0
for _ in range(20):
    try: made += bool(os.fork()) or os.system("sleep 100")
    except OSError: pass
made
"""
    assert run(source, processes=2, threads=16) <= 2


def test_many_short_children_one_after_another_are_all_granted():
    source = """
import os
for _ in range(300):
    if os.fork() == 0: os._exit(0)
    os.wait()
"""
    run(source, processes=1)


# --- the end -----------------------------------------------------------------

SURVIVORS = {
    "sessions": "os.setsid()",
    "deaf": "signal.pthread_sigmask(signal.SIG_SETMASK, "
    "signal.valid_signals())",
    "orphans": "os.fork() and os._exit(0)",
    "stopped": "os.kill(os.getpid(), signal.SIGSTOP)",
}


@pytest.mark.parametrize("way", SURVIVORS)
@pytest.mark.parametrize("start", ["zygote", "fork"])
def test_nothing_outlives_the_run(way, start):
    run("0")
    before = support.descendants(os.getpid())
    source = f"""
import os, signal, time
if os.fork() == 0:
    {SURVIVORS[way]}
    time.sleep(1000)
time.sleep(0.1)
"""
    run(source, start=start)
    assert not support.descendants(os.getpid()) - before


@pytest.mark.parametrize("source", ["os.kill(-1, 9)", "os.kill(1, 9)"])
def test_signals_to_all_or_to_init_reach_the_run_alone(source):
    other = []
    thread = threading.Thread(
        target=lambda: other.append(run("import time; time.sleep(1); 5"))
    )
    thread.start()
    code = f"""
    import contextlib, os, time
    if os.fork() == 0: time.sleep(9)
    with contextlib.suppress(PermissionError): {source}
    7
    """
    assert run(code) == 7
    thread.join()
    assert other == [5]


def test_an_orphan_can_do_no_more_than_its_parent():
    source = """
import os, socket
read, write = os.pipe()
def tries():
    for attempt in (
        lambda: os.open("/etc/shadow", os.O_RDONLY),
        lambda: os.open("/proc/1/environ", os.O_RDONLY),
        lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
        lambda: os.unshare(os.CLONE_NEWUSER) if hasattr(os, "unshare")
        else libc_unshare(),
        lambda: os.chroot("/tmp"),
    ):
        try: attempt()
        except OSError: yield "refused"
        else: yield "done"
def libc_unshare():
    import ctypes
    if ctypes.CDLL(None).unshare(0x10000000): raise OSError
if os.fork() == 0:
    if os.fork(): os._exit(0)
    while os.getppid() != 1: pass
    os.write(write, " ".join(tries()).encode())
    os._exit(0)
os.wait()
os.read(read, 100).decode()
"""
    assert run(source).split() == ["refused"] * 5


# --- programs ----------------------------------------------------------------


def test_a_program_is_as_confined_as_the_guest():
    program = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
status = libc.prctl(39, 0, 0, 0, 0), libc.prctl(21, 0, 0, 0, 0)
traced = libc.ptrace(16, os.getppid(), 0, 0)
moved = libc.unshare(0x10000000)
print(status, traced, moved, sorted(os.listdir("/dev")), os.getresuid())
"""
    source = """
import subprocess, sys
subprocess.run([sys.executable, "-c", program], capture_output=True,
               text=True, check=True).stdout
"""
    # No new privileges, and a filter is loaded.
    text = run(source, inputs={"program": program})
    assert text.startswith("(1, 2) -1 -1 ")


def test_a_setuid_program_gains_nothing():
    source = """
import os, stat, subprocess
found = [
    each.path for each in os.scandir("/usr/bin")
    if each.is_file() and each.stat().st_mode & stat.S_ISUID
]
subprocess.run(["su", "-c", "id"], capture_output=True).returncode != 0, (
    os.statvfs("/usr/bin").f_flag & os.ST_NOSUID != 0), found
"""
    refused, nosuid, found = run(source)
    assert refused
    assert nosuid
    if not found:
        pytest.skip("there is no setuid program in /usr/bin")


def test_a_program_inherits_the_streams_alone():
    source = """
import os, subprocess, sys
code = '''
import os
found = []
for fd in range(256):
    try: os.fstat(fd)
    except OSError: continue
    found.append(fd)
print(found)
'''
subprocess.run([sys.executable, "-c", code], close_fds=False,
               capture_output=True, text=True).stdout
"""
    assert run(source).strip() == "[0, 1, 2]"


# --- others ------------------------------------------------------------------


def test_bombs_do_not_keep_the_host_from_forking():
    bomb = "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass"
    errors = []

    def explode():
        result = csandbox.execute(bomb, processes=5, timeout=3, cpu_time=60)
        errors.append(type(result.error))

    threads = [threading.Thread(target=explode) for _ in range(5)]
    for each in threads:
        each.start()
    time.sleep(1)
    for _ in range(20):
        subprocess.run(["true"], check=True)
    for each in threads:
        each.join()
    assert errors == [TimeLimitError] * 5


def test_memory_of_children_counts():
    source = """
import os, time
for _ in range(3):
    if os.fork() == 0:
        held = bytearray(b"x") * (60 << 20)
        time.sleep(100)
time.sleep(100)
"""
    error = csandbox.execute(source, processes=3, memory="128M").error
    assert type(error) is MemoryLimitError


def test_the_first_process_alone_decides_the_ending():
    for source, kind in {
        "os.kill(2, 9)": GuestCrash,
        "os._exit(3)": GuestExit,
    }.items():
        code = "import os, time\nif os.fork() == 0:\n  time.sleep(99)\n"
        assert type(csandbox.execute(code + source, processes=1).error) is kind


@pytest.mark.parametrize("wrong", [-1, 1025, 1.5, "2", True])
def test_numbers_that_make_no_sense_are_refused(wrong):
    with pytest.raises((PolicyError, TypeError)):
        csandbox.Policy(processes=wrong)


def test_with_none_nothing_of_it_is_there():
    source = "import os; os.path.exists('/usr/bin/env'), os.listdir('/dev')"
    programs, devices = csandbox.run(source)
    assert not programs
    assert "shm" not in devices
    assert csandbox.execute("1").usage.peak_processes == 1
