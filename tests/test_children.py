"""Children of a run among themselves: what they share, how they are counted,
and which of them decides the ending."""

import textwrap
import threading

import pytest

import csandbox
import support
from csandbox import (
    GuestCrash,
    GuestExit,
    PolicyError,
)

NUMBERS = support.syscall_numbers()


def run(source, **policy):
    source = textwrap.dedent(source)
    return csandbox.run(source, **{"processes": 4, "timeout": 60, **policy})


# --- what works --------------------------------------------------------------


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


# --- exactly so many ---------------------------------------------------------


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


# --- programs ----------------------------------------------------------------


# --- others ------------------------------------------------------------------


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
