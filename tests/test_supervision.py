"""Hosts of every kind: a run ends right, and nothing of it is left."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

import hosts

# A zygote that takes its time to come up, so that a test can act meanwhile.
SLOW_START = """
import os, sys
import csandbox.sandbox  # loads all that a first run would
slow = sys.argv[1] + "/python"
with open(slow, "w") as file:
    file.write('#!/bin/sh\\nsleep 1\\nexec "%s" "$@"\\n' % sys.executable)
os.chmod(slow, 0o755)
sys.executable = slow
"""

# Every kind of ending, as a dict of what came of it.
EVERY_ENDING = """
import csandbox
def ending(source, **options):
    result = csandbox.execute(source, **{"timeout": 30, **options})
    return type(result.error).__name__ if result.error else result.value
def every_ending():
    return [
        ending("6 * 7"),
        ending("1 / 0"),
        ending("import sys; sys.exit(3)"),
        ending("import os; os.abort()"),
        ending("while True: pass", timeout=0.3),
        ending("object()"),
        ending("'x' * 10_000", result="4K"),
        ending("import sys; print('x' * 200_000); len(sys.stdin.read())",
               stdin="x" * 200_000),
    ]
"""
ENDINGS = [
    42,
    "GuestError",
    "GuestExit",
    "GuestCrash",
    "TimeLimitError",
    "ResultError",
    "LimitError",
    200_000,
]


# --- children and signals of the host ----------------------------------------

DISPOSITIONS = {
    "default": "",
    "ignored": "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    "handled": """
def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass
signal.signal(signal.SIGCHLD, reap)
""",
    "blocked": """
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
""",
}


@pytest.mark.parametrize("disposition", DISPOSITIONS)
def test_any_disposition_of_sigchld(disposition):
    program = (
        "import os, signal, hosts\n"
        + DISPOSITIONS[disposition]
        + EVERY_ENDING
        + """
from csandbox import zygotes
found = [every_ending()]
zygotes.shutdown()
found.append(every_ending())
hosts.show(found)
"""
    )
    assert hosts.run(program) == [ENDINGS, ENDINGS]


def test_handler_that_ticks_every_millisecond():
    ticks, found = hosts.run(
        "import signal, hosts\n"
        + EVERY_ENDING
        + """
ticks = 0
def tick(*_):
    global ticks
    ticks += 1
signal.signal(signal.SIGALRM, tick)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
found = every_ending() + every_ending()
signal.setitimer(signal.ITIMER_REAL, 0)
hosts.show([ticks, found])
"""
    )
    assert found == ENDINGS + ENDINGS
    assert ticks > 50


def test_handler_may_run_something_itself():
    program = """
import signal, csandbox, hosts
found = [csandbox.run("1")]
def handle(*_):
    found.append(csandbox.run("2"))
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.3)
found.append(csandbox.run("import time; time.sleep(1); 3"))
hosts.show(found)
"""
    assert hosts.run(program) == [1, 2, 3]


def test_handler_may_run_something_while_the_zygote_starts():
    program = (
        SLOW_START
        + """
import signal, hosts
found = []
def handle(*_):
    found.append(csandbox.run("2"))
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.3)
found.append(csandbox.run("3"))
hosts.show(found)
"""
    )
    assert hosts.run(program, seconds=20) == [2, 3]


INTERRUPT = """
import os, signal, sys, threading, time, csandbox, hosts
def interrupted(source, delay, call=csandbox.run, **options):
    "Seconds from the signal to KeyboardInterrupt."
    def hit():
        nonlocal sent
        sent = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)
    sent = None
    timer = threading.Timer(delay, hit)
    try:
        timer.start()
        call(source, **{"timeout": 25, **options})
        time.sleep(30)
    except KeyboardInterrupt:
        seconds = time.monotonic() - sent
    timer.join()
    return seconds
"""


@pytest.mark.parametrize(
    "source",
    [
        "while True: pass",
        "import time; time.sleep(1000)",
        "import os; much = b'x' * 65536\nwhile True: os.write(1, much)",
        "import os; os.close(1); os.close(2); os.close(3)\nwhile 1: pass",
        "from signal import *; signal(SIGINT, SIG_IGN)\nwhile True: pass",
    ],
)
def test_ctrl_c_kills_the_run(source):
    program = (
        INTERRUPT
        + """
csandbox.run("1")
before = hosts.steady_counts()
seconds = interrupted(sys.argv[2], 0.4)
after = hosts.settled_counts(before)
value = csandbox.run("2")
print()
hosts.show([seconds, before, after, value])
"""
    )
    with hosts.Host(program, source) as host:
        code, out, err = host.end()
        assert (code, err) == (0, ""), err
        assert host.left() == []
    seconds, before, after, value = hosts.last_value(out)
    assert seconds < 12
    assert after == before
    assert value == 2


def test_ctrl_c_ends_a_flood_that_is_captured():
    program = (
        INTERRUPT
        + """
csandbox.run("1")
source = "import os; much = b'x' * 65536\\nwhile True: os.write(1, much)"
hosts.show(interrupted(source, 0.4, csandbox.execute))
"""
    )
    assert hosts.run(program) < 12


def test_ctrl_c_at_any_moment_of_a_run():
    program = (
        INTERRUPT
        + """
csandbox.run("1")
before = hosts.steady_counts()
slow = []
for i in range(150):
    seconds = interrupted("while True: pass", 0.0002 * (i % 75))
    if seconds > 12:
        slow.append([i, seconds])
        break
hosts.show([slow, before, hosts.settled_counts(before)])
"""
    )
    slow, before, after = hosts.run(program)
    assert slow == []
    assert after == before


def test_ctrl_c_at_any_moment_of_a_start():
    program = (
        INTERRUPT
        + """
import csandbox.sandbox
from csandbox import zygotes
before = hosts.steady_counts()
slow = []
for i in range(20):
    seconds = interrupted("while True: pass", 0.01 * i)
    if seconds > 12:
        slow.append([i, seconds])
    zygotes.shutdown()
hosts.show([slow, before, hosts.settled_counts(before)])
"""
    )
    slow, before, after = hosts.run(program)
    assert slow == []
    assert after == before


def test_ctrl_c_between_request_and_supervision_leaks_nothing():
    """At the worst moment: the cell exists, and nobody holds it yet."""
    program = """
import csandbox, csandbox.sandbox, hosts
from csandbox import cells
csandbox.run("1")
before = hosts.steady_counts()
honest = cells.start_run
def start_run(*args):
    cell = honest(*args)
    raise KeyboardInterrupt
cells.start_run = start_run
for _ in range(5):
    try:
        csandbox.run("2")
    except KeyboardInterrupt:
        pass
cells.start_run = honest
hosts.show([before, hosts.settled_counts(before), csandbox.run("3")])
"""
    before, after, value = hosts.run(program)
    assert after == before
    assert value == 3


def test_sigpipe_at_its_default_does_not_kill_the_host():
    program = """
import signal, csandbox, hosts
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
codes = []
for source in ("import os; os._exit(3)", "import os; os.close(0); 1 / 0"):
    for _ in range(10):
        result = csandbox.execute(source, stdin=b"x" * 1_000_000)
        codes.append(result.exit_code)
hosts.show([sorted(set(codes)), sorted(signal.sigpending())])
"""
    assert hosts.run(program) == [[1, 3], []]


# --- threads -----------------------------------------------------------------


def test_many_threads_at_once_each_get_their_own():
    program = """
import os, threading, csandbox, hosts
wrong = []
def work(n):
    for i in range(5):
        mark = f"{n}/{i}"
        result = csandbox.execute(
            "print(mark); import sys; mark + sys.stdin.read()",
            inputs={"mark": mark}, stdin=mark, timeout=60,
        )
        if (result.value, result.stdout) != (mark + mark, mark + "\\n"):
            wrong.append((mark, repr(result)))
threads = [threading.Thread(target=work, args=(n,)) for n in range(24)]
for thread in threads: thread.start()
for thread in threads: thread.join()
hosts.show([wrong, len(hosts.zygotes(os.getpid()))])
"""
    assert hosts.run(program) == [[], 1]


def test_thread_that_started_the_zygote_may_end():
    program = """
import threading, time, csandbox, hosts
found = []
thread = threading.Thread(target=lambda: found.append(csandbox.run("1")))
thread.start()
thread.join()
time.sleep(0.3)
found.append(csandbox.run("2"))
hosts.show(found)
"""
    assert hosts.run(program) == [1, 2]


def test_destructor_and_exit_function_may_run_something():
    program = """
import atexit, gc, sys
found = []
class Last:
    def __init__(self): self.cycle = self
    def __del__(self): found.append(csandbox.run("1"))
atexit.register(lambda: hosts.show(found))
atexit.register(lambda: found.append(csandbox.run("3")))
import csandbox, hosts
gc.set_threshold(1)
Last()
csandbox.run("0")
gc.collect()
atexit.register(lambda: found.append(csandbox.run("2")))
"""
    assert hosts.run(program) == [1, 2, 3]


# --- forks of the host -------------------------------------------------------

CHILD = """
def fork(work):
    "Do work in a child; its exit code says whether it did."
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            os._exit(code)
    return pid
def wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def check(source, value):
    found = csandbox.run(source, timeout=30)
    assert found == value, found
"""


def test_parent_and_child_both_run_after_a_fork():
    program = (
        "import os, csandbox, hosts\n"
        + CHILD
        + """
def child():
    check("2", 2)
    (mine,) = hosts.zygotes(os.getpid())
    assert mine not in theirs
    grandchild = fork(lambda: check("3", 3))
    check("4", 4)
    assert wait(grandchild) == 0
check("1", 1)
theirs = hosts.zygotes(os.getpid())
before = hosts.steady_counts()
children = [fork(child) for _ in range(3)]
for n in range(5):
    check(f"{n}", n)
found = [wait(pid) for pid in children]
same = hosts.zygotes(os.getpid()) == theirs
hosts.show([found, same, before, hosts.settled_counts(before)])
"""
    )
    found, same, before, after = hosts.run(program)
    assert found == [0, 0, 0]
    assert same
    assert after == before


def test_child_inherits_nothing_of_a_run_or_a_start():
    program = (
        SLOW_START
        + "import hosts, threading, time\n"
        + CHILD
        + """
def look():
    found = [
        what for what in hosts.descriptors().values()
        if "socket:" in what or "pidfd" in what or "eventfd" in what
    ]
    assert not found, found
found = []
asleep = "import time; time.sleep(1); "
threads = [
    threading.Thread(target=check, args=(asleep + str(n), n))
    for n in range(3)
]
for thread in threads: thread.start()
while any(thread.is_alive() for thread in threads):
    time.sleep(0.05)
    found.append(wait(fork(look)))
hosts.show(found)
"""
    )
    found = hosts.run(program)
    assert len(found) > 10
    assert set(found) == {0}


def test_fork_while_another_thread_is_in_a_run():
    program = (
        "import os, threading, time, csandbox, hosts\n"
        + CHILD
        + """
def work(n):
    check(f"import sys, time; sys.stdin.read(); time.sleep(1); {n}", n)
    done.append(n)
def child():
    check("import sys; sys.stdin.read(); 5", 5)
    time.sleep(3)  # lives on when the runs of the parent end
done = []
check("1", 1)
threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
for thread in threads: thread.start()
time.sleep(0.3)
children = [fork(child) for _ in range(3)]
for thread in threads: thread.join()
hosts.show([sorted(done), [wait(pid) for pid in children]])
"""
    )
    assert hosts.run(program) == [[0, 1, 2], [0, 0, 0]]


def test_forks_at_any_moment_of_a_run_do_not_stall_it():
    """A child may hold what it inherited for long."""
    program = (
        "import os, threading, time, csandbox, hosts\n"
        + CHILD
        + """
def work():
    while time.monotonic() < end:
        result = csandbox.execute(
            "import sys; sys.stdin.read()", stdin="abc", timeout=4)
        found.append(result.value if result.ok else repr(result.error))
check("1", 1)
end = time.monotonic() + 4
found = []
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads: thread.start()
children = []
while time.monotonic() < end:
    children.append(fork(lambda: time.sleep(5)))
    time.sleep(0.02)
for thread in threads: thread.join()
for pid in children: wait(pid)
hosts.show([len(found), sorted(set(found))])
"""
    )
    count, found = hosts.run(program)
    assert count > 20
    assert found == ["abc"]


def test_forks_at_any_moment_of_a_start():
    program = (
        "import os, threading, time, csandbox, hosts\n"
        "import csandbox.sandbox\n"
        "from csandbox import zygotes\n"
        + CHILD
        + """
def work():
    while time.monotonic() < end:
        check("1", 1)
        zygotes.shutdown()
end = time.monotonic() + 4
thread = threading.Thread(target=work)
thread.start()
children = []
while time.monotonic() < end:
    children.append(fork(lambda: check("2", 2)))
    time.sleep(0.1)
thread.join()
hosts.show(sorted({wait(pid) for pid in children}))
"""
    )
    assert hosts.run(program) == [0]


def test_fork_while_another_thread_ships_a_callable():
    program = (
        "import os, threading, time, csandbox, hosts\n"
        + CHILD
        + """
class Slow:
    def __reduce__(self):
        inside.set()
        time.sleep(1)
        return int, (3,)
inside = threading.Event()
thread = threading.Thread(target=csandbox.run, args=(abs, (Slow(),)))
thread.start()
inside.wait()
def child():
    assert csandbox.run(abs, (-4,)) == 4
pid = fork(child)
thread.join()
hosts.show(wait(pid))
"""
    )
    assert hosts.run(program, seconds=30) == 0


def test_fork_out_of_a_write_of_the_host():
    """The child returns into a run that is not its own."""
    program = """
import os, sys, csandbox, hosts
class Forking:
    pid = None
    def write(self, text):
        if self.pid is None:
            self.pid = os.fork()
    def flush(self): pass
real, sys.stdout = sys.stdout, Forking()
forking = sys.stdout
try:
    source = "import sys, time; print(1); time.sleep(0.5); 5"
    found = csandbox.run(source, timeout=30)
except csandbox.Cancelled:
    found = "cancelled"
except csandbox.SandboxError as error:
    found = repr(error)
sys.stdout = real
if forking.pid == 0:
    hosts.show([found, csandbox.run("6")])
    os._exit(0)
os.waitpid(forking.pid, 0)
hosts.show([found, csandbox.run("7")])
"""
    with hosts.Host(program) as host:
        code, out, err = host.end()
        assert (code, err) == (0, "")
        assert host.left() == []
    child, parent = out.splitlines()
    assert parent == "[5, 7]"
    assert child == '["cancelled", 6]'


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method):
    program = """
import multiprocessing, sys, csandbox, hosts
sources = [f"{n} * {n}" for n in range(8)]
if __name__ == "__main__":
    found = [csandbox.run("1")]
    context = multiprocessing.get_context(sys.argv[2])
    with context.Pool(2) as pool:
        found.append(pool.map(csandbox.run, sources))
    found.append(csandbox.run("2"))
    hosts.show(found)
"""
    squares = [n * n for n in range(8)]
    assert hosts.run(program, method) == [1, squares, 2]


# --- the end of the host -----------------------------------------------------


@pytest.mark.parametrize("moment", ["start", "run", "loop"])
def test_interpreter_exits_with_runs_in_daemon_threads(moment):
    program = """
import sys, threading, time, csandbox, csandbox.sandbox
def work():
    try:
        while True:
            csandbox.run(sources[moment], timeout=100)
    except csandbox.Cancelled:
        pass
moment = sys.argv[2]
sources = {"start": "1", "run": "while True: pass", "loop": "1"}
if moment != "start":
    csandbox.run("1")
for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.02 if moment == "start" else 0.4)
"""
    with hosts.Host(program, moment) as host:
        code, out, err = host.end(30)
        assert host.left() == []
    assert (code, out) == (0, "")
    assert err == ""


@pytest.mark.parametrize(
    "program",
    [
        "csandbox.run('1')",
        "csandbox.warm()",
        "csandbox.run('1', preload=('json',)); csandbox.run('2')",
        "csandbox.run('1', processes=1)",
        "csandbox.run('1', start='fork')",
        "csandbox.run('1'); sys.exit(0)",
        "atexit.register(csandbox.run, '1'); csandbox.run('1')",
    ],
)
def test_nothing_is_left_when_the_interpreter_has_ended(program):
    """Its zygotes are killed as it begins to end, and reaped in the end."""
    program = f"import atexit, sys, csandbox\n{program}"
    with hosts.Host(program) as host:
        assert host.process.wait(hosts.SECONDS) == 0
        assert host.processes() == []


def test_an_exit_function_may_give_a_zygotes_descriptor_to_others():
    program = """
import atexit, os, subprocess
def later():
    os.closerange(3, 256)
    other = subprocess.Popen(["sleep", "30"], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    found = [os.pidfd_open(other.pid) for _ in range(60)]
    print(other.pid, flush=True)
atexit.register(later)
import csandbox
csandbox.run("1")
"""
    with hosts.Host(program) as host:
        code, out, _ = host.end()
        state, *_ = hosts.stat(int(out))
        os.kill(int(out), signal.SIGKILL)
    assert (code, state) == (0, "S")


def test_interpreter_waits_for_runs_in_other_threads():
    program = """
import hosts, threading, csandbox
from concurrent.futures import ThreadPoolExecutor
source = "import time; time.sleep(0.7); print('done')"
threading.Thread(target=csandbox.run, args=(source,)).start()
ThreadPoolExecutor(2).submit(csandbox.run, source)
"""
    with hosts.Host(program) as host:
        assert host.end() == (0, "done\ndone\n", "")
        assert host.left() == []


KILLED = """
import csandbox, csandbox.sandbox
print("ready", flush=True)
csandbox.run("while True: pass", timeout=300)
"""


@pytest.mark.parametrize(
    "number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV]
)
def test_host_killed_during_a_run_leaves_nothing(number):
    # A death by signal as Python knows it, without a dump.
    with hosts.Host(KILLED, env={"PYTHONFAULTHANDLER": ""}) as host:
        host.line()
        hosts.wait_until(lambda: len(host.processes()) >= 3)
        time.sleep(0.1)
        host.kill(number)
        assert host.left() == []
        assert host.process.wait() == -number


def test_host_killed_while_the_zygote_starts_leaves_nothing():
    with hosts.Host(SLOW_START + KILLED) as host:
        host.line()
        hosts.wait_until(lambda: host.processes())
        time.sleep(0.1)
        host.kill()
        assert host.left() == []


def test_fork_of_a_killed_host_keeps_no_zygote():
    program = (
        SLOW_START
        + """
import threading, time
thread = threading.Thread(target=csandbox.run, args=("1",), daemon=True)
thread.start()
time.sleep(0.5)
if os.fork() == 0:
    print(os.getpid(), flush=True)
    time.sleep(60)
os.kill(os.getpid(), 9)
"""
    )
    with hosts.Host(program) as host:
        child = int(host.line())
        hosts.wait_until(lambda: host.processes() == [child], hosts.GONE)


def test_host_killed_at_any_moment_leaves_nothing():
    left = []
    for _ in range(12):
        with hosts.Host(KILLED) as host:
            host.line()
            time.sleep(random.random() * 0.25)
            host.kill()
            left += host.left()
    assert left == []


def test_host_that_becomes_another_program_leaves_nothing():
    program = """
import os, sys, csandbox
csandbox.run("1")
os.execv(sys.executable, [sys.executable, "-c", "input()", sys.argv[1]])
"""
    with hosts.Host(program, stdin=subprocess.PIPE) as host:
        assert host.left() == []
        host.process.stdin.write("\n")
        assert host.end() == (0, "", "")


# --- the end of the zygote ---------------------------------------------------


def test_zygote_killed_while_idle_is_replaced():
    program = """
import os, signal, csandbox, hosts
found = [csandbox.run("0")]
for n in range(1, 6):
    (zygote,) = hosts.zygotes(os.getpid())
    os.kill(zygote, signal.SIGKILL)
    hosts.wait_until(lambda: hosts.state(zygote) == "Z")
    found.append(csandbox.run(f"{n}"))
hosts.show([found, hosts.counts()["descriptors"]])
"""
    found, descriptors = hosts.run(program)
    assert found == [0, 1, 2, 3, 4, 5]
    assert descriptors < 8


def test_zygote_killed_a_moment_ago_is_replaced():
    """No job was given to it, so nothing is lost that could not run again."""
    program = """
import os, signal, csandbox, hosts
found = []
for n in range(20):
    csandbox.run("0")
    hosts.disarm()  # or the cell that waits may have begun when it is killed
    (zygote,) = hosts.zygotes(os.getpid())
    os.kill(zygote, signal.SIGKILL)
    try:
        found.append(csandbox.run(f"{n}"))
    except csandbox.SandboxError as error:
        found.append(repr(error))
hosts.show(found)
"""
    assert hosts.run(program) == list(range(20))


def test_zygote_killed_during_a_run():
    program = """
import os, signal, threading, time, csandbox, hosts
csandbox.run("0")
before = hosts.steady_counts()
found = []
for n in range(5):
    (zygote,) = hosts.zygotes(os.getpid())
    timer = threading.Timer(0.3, os.kill, (zygote, signal.SIGKILL))
    timer.start()
    result = csandbox.execute("while True: pass", timeout=30)
    found.append(type(result.error).__name__)
    timer.join()
    found.append(csandbox.run(f"{n}"))
hosts.show([found, before, hosts.settled_counts(before)])
"""
    found, before, after = hosts.run(program)
    assert found[::2] == ["UnavailableError"] * 5
    assert found[1::2] == [0, 1, 2, 3, 4]
    assert after == before


def test_zygote_killed_under_many_threads_costs_a_run_each_at_most():
    program = """
import contextlib, os, signal, threading, time, csandbox, hosts
kills, threads, lost = 6, 6, []
def work():
    while not over.is_set():
        try:
            csandbox.run("1", timeout=30)
        except csandbox.UnavailableError as error:
            lost.append([error.step, error.errno])
over = threading.Event()
workers = [
    threading.Thread(target=work, daemon=True) for _ in range(threads)]
for worker in workers: worker.start()
for _ in range(kills):
    time.sleep(0.5)
    for zygote in hosts.wait_until(lambda: hosts.zygotes(os.getpid())):
        with contextlib.suppress(ProcessLookupError):
            os.kill(zygote, signal.SIGKILL)
time.sleep(0.5)
over.set()
for worker in workers: worker.join()
hosts.show([len(lost) <= kills * threads, lost[:200], csandbox.run("1")])
"""
    few, lost, value = hosts.run(program)
    assert value == 1
    assert {step for step, _errno in lost} <= {"zygote"}
    assert few, len(lost)


def test_run_that_was_lost_costs_no_other_its_zygote():
    program = """
import os, signal, threading, csandbox, hosts
from csandbox import zygotes
csandbox.run("0")
(first,) = hosts.zygotes(os.getpid())
honest, found = zygotes.discard, []
def discard(*args):
    "Another thread was quicker, and has a zygote again."
    zygotes.discard = honest
    hosts.wait_until(lambda: hosts.state(first) == "Z")
    csandbox.run("1")
    found.append(hosts.zygotes(os.getpid()))
    honest(*args)
zygotes.discard = discard
threading.Timer(0.3, os.kill, (first, signal.SIGKILL)).start()
csandbox.execute("while True: pass", timeout=30)
csandbox.run("2")
found.append(hosts.zygotes(os.getpid()))
hosts.show(found)
"""
    before, after = hosts.run(program)
    assert before == after


def test_zygote_killed_at_any_moment_of_a_run():
    program = """
import os, random, signal, threading, time, csandbox, hosts
csandbox.run("0")
before = hosts.steady_counts()
slow, wrong = [], []
for n in range(25):
    zygotes = hosts.zygotes(os.getpid())
    timer = threading.Timer(
        random.random() * 0.03, lambda: [os.kill(z, 9) for z in zygotes])
    start = time.monotonic()
    timer.start()
    try:
        csandbox.run("while True: pass", timeout=2)
    except csandbox.UnavailableError as error:
        if error.step != "zygote": wrong.append(repr(error))
    except csandbox.TimeLimitError:
        pass  # it was killed before it was asked, and replaced
    timer.join()
    if time.monotonic() - start > 8: slow.append(time.monotonic() - start)
    while True:
        try:
            csandbox.run("1")
            break
        except csandbox.UnavailableError:
            pass
hosts.show([slow, wrong, before, hosts.settled_counts(before)])
"""
    slow, wrong, before, after = hosts.run(program)
    assert (slow, wrong) == ([], [])
    assert after == before


def test_stopped_zygote_is_given_up():
    program = """
import os, signal, csandbox, csandbox.sandbox, hosts
csandbox.sandbox.SETUP_SECONDS = 1
csandbox.run("0")
(zygote,) = hosts.zygotes(os.getpid())
hosts.disarm()
os.kill(zygote, signal.SIGSTOP)
try:
    found = csandbox.execute("1").error
except csandbox.UnavailableError as error:
    found = error
csandbox.sandbox.SETUP_SECONDS = 30
hosts.show([type(found).__name__, csandbox.run("2")])
"""
    assert hosts.run(program) == ["UnavailableError", 2]


# --- streams, descriptors and places -----------------------------------------


@pytest.mark.parametrize(
    "error", ["ValueError", "KeyboardInterrupt", "SystemExit", "OSError"]
)
def test_exception_out_of_a_write_ends_the_run(error):
    program = """
import builtins, sys, time, csandbox, hosts
class Failing:
    def write(self, text): raise kind("mine")
    def flush(self): pass
kind = getattr(builtins, sys.argv[2])
csandbox.run("1")
before = hosts.steady_counts()
real, sys.stdout = sys.stdout, Failing()
start = time.monotonic()
try:
    csandbox.run("while True: print('x' * 1000)", timeout=50)
except kind as error:
    found = str(error)
sys.stdout = real
seconds = time.monotonic() - start
hosts.show([found, seconds, before, hosts.settled_counts(before)])
"""
    found, seconds, before, after = hosts.run(program, error)
    assert found == "mine"
    assert seconds < 20
    assert after == before


def test_write_of_the_host_may_run_something_itself():
    program = """
import sys, csandbox, hosts
class Nesting:
    def write(self, text):
        found.append([text, csandbox.execute("print(7); 8").value])
    def flush(self): pass
found = []
real, sys.stdout = sys.stdout, Nesting()
csandbox.run("print(5, flush=True)")
sys.stdout = real
hosts.show(found)
"""
    assert hosts.run(program) == [["5\n", 8]]


CLOSED = """
import json, os, sys, csandbox, hosts
try:
    found = []
    for _ in range(3):
        found += [
            csandbox.run("print(1); import sys; sys.stdin.read()", stdin="a"),
            csandbox.execute("print(5)").stdout,
            csandbox.execute("import sys; print(6, file=sys.stderr)").stderr,
        ]
    hosts.disarm()
    before = hosts.descriptors()
    csandbox.run("1")
    hosts.disarm()
    found.append(sorted(hosts.descriptors()) == sorted(before))
except BaseException as error:
    found = repr(error)
with open(sys.argv[1] + "/found", "w") as file:
    json.dump(found, file)
"""


@pytest.mark.parametrize("numbers", [(0,), (1,), (2,), (0, 1, 2)])
def test_descriptors_0_to_2_may_be_closed(numbers):
    def close():
        for number in numbers:
            os.close(number)

    with hosts.Host(CLOSED, setup=close) as host:
        host.end()
        assert host.left() == []
        found = (host.home / "found").read_text()
    assert json.loads(found) == ["a", "5\n", "6\n"] * 3 + [True]


def test_descriptors_0_to_2_may_be_closed_behind_python_s_back():
    program = "import os\nos.closerange(0, 3)\n" + CLOSED.replace(
        "print(1); ", ""
    )
    with hosts.Host(program) as host:
        host.end()
        assert host.left() == []
        found = (host.home / "found").read_text()
    assert json.loads(found) == ["a", "5\n", "6\n"] * 3 + [True]


def test_few_descriptors_are_an_error_that_passes():
    program = """
import resource, csandbox, csandbox.sandbox, hosts
from csandbox import zygotes
from csandbox.errors import UnavailableError
import csandbox.remedies, cloudpickle
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
before = hosts.steady_counts()
found = []
for limit in range(4, 45):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        found.append(csandbox.run("5"))
    except UnavailableError as error:
        found.append([error.step, error.errno_name, error.remedy])
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    zygotes.shutdown()
    assert hosts.settled_counts(before) == before
# A zygote that runs, and no descriptors for its cells.
csandbox.run("1")
before = hosts.steady_counts()
for limit in range(4, 25):
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        found.append(csandbox.run("5"))
    except UnavailableError as error:
        found.append([error.step, error.errno_name, error.remedy])
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert hosts.settled_counts(before) == before
hosts.show(found)
"""
    found = hosts.run(program)
    assert 5 in found
    errors = [each for each in found if each != 5]
    assert {step for step, _, _ in errors} == {"host-descriptors"}
    assert all("ulimit -n" in remedy for _, _, remedy in errors), errors


def test_threads_beyond_the_descriptors_get_an_error_at_once():
    program = """
import collections, resource, threading, csandbox, hosts
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
csandbox.run("0")
before = hosts.steady_counts()
found = collections.Counter()
def work():
    for _ in range(5):
        try:
            found[csandbox.run("5", timeout=60)] += 1
        except csandbox.UnavailableError as error:
            found[f"{error.step} {error.errno_name}"] += 1
threads = [threading.Thread(target=work) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
hosts.show([found, before, hosts.settled_counts(before), csandbox.run("1")])
"""
    found, before, after, value = hosts.run(program)
    assert set(found) <= {"5", "host-descriptors EMFILE"}
    assert found["5"] > 0
    assert sum(found.values()) == 80
    assert after == before
    assert value == 1


def test_deleted_working_directory():
    program = """
import os, tempfile, csandbox, hosts
place = tempfile.mkdtemp()
os.chdir(place)
os.rmdir(place)
hosts.show([csandbox.run("1"), csandbox.run(len, ([1, 2],))])
"""
    assert hosts.run(program) == [1, 2]


def test_streams_of_any_kind():
    program = """
import io, sys, csandbox, hosts
class Plain:
    def __init__(self): self.text = ""
    def write(self, text): self.text += text
    def flush(self): pass
    def getvalue(self): return self.text
class Ascii(Plain):
    encoding = "ascii"
class Nothing(Plain):
    encoding = None
real = sys.stdout
found = []
source = "import sys; print('h\\u00e9'); print('e', file=sys.stderr); 3"
for stream in (None, io.StringIO(), Plain(), Ascii(), Nothing()):
    sys.stdout = sys.stderr = stream
    found.append([csandbox.run(source), stream and stream.getvalue()])
sys.stdout, sys.stderr = real, sys.__stderr__
hosts.show(found)
"""
    text = "h\u00e9\ne\n"
    assert hosts.run(program) == [
        [3, None],
        [3, text],
        [3, text],
        [3, "h\\xe9\ne\n"],
        [3, text],
    ]


def test_locale_that_is_not_utf8():
    program = """
import sys, csandbox, hosts
assert sys.stdout.encoding.lower() in ("ascii", "ansi_x3.4-1968"), sys.stdout
e = chr(0xe9)
found = [
    csandbox.run(f"print('{e}'); '{e}'"),
    csandbox.run(lambda x: x + e, ("x",)),
    csandbox.run("e + input()", inputs={"e": e}, stdin=e),
    csandbox.run("import os; os.environ['E']", env={"E": e}),
    csandbox.run("import sys; [sys.stdout.encoding,"
                 "sys.getfilesystemencoding(),"
                 "open('f', 'w').encoding.lower()]"),
]
try:
    csandbox.run(f"raise ValueError('{e}')")
except csandbox.GuestError as error:
    found.append(error.message)
hosts.show(found)
"""
    locale = {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "",
    }
    with hosts.Host(program, env=locale) as host:
        code, out, err = host.end()
    assert (code, err) == (0, "")
    printed, values = out.splitlines()
    assert printed == "\\xe9"
    assert hosts.last_value(values) == [
        "\u00e9",
        "x\u00e9",
        "\u00e9\u00e9",
        "\u00e9",
        ["utf-8", "utf-8", "utf-8"],
        "\u00e9",
    ]


def test_strange_environment_of_the_host():
    """Nothing of it reaches the zygote."""
    program = "import csandbox, hosts\nhosts.show(csandbox.run('1'))"
    environment = {
        "PYTHONHASHSEED": "0",
        "PYTHONINSPECT": "1",
        "PYTHONSTARTUP": "/nonexistent",
        "PYTHONWARNINGS": "error",
        "PYTHONMALLOC": "malloc",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LD_BIND_NOW": "1",
        "TZ": "Asia/Tokyo",
        "HOME": "/nonexistent",
        "BYTES": os.fsdecode(b"\xff\xfe"),
    }
    assert hosts.run(program, env=environment) == 1


@pytest.mark.parametrize(
    ("executable", "error"), [("", 2), ("/nonexistent", 2), ("/etc", 13)]
)
def test_python_that_cannot_be_started_is_told(executable, error):
    program = """
import sys, csandbox, csandbox.sandbox, hosts
real, sys.executable = sys.executable, sys.argv[2]
before = hosts.steady_counts()
try:
    found = csandbox.run("1")
except csandbox.UnavailableError as error:
    found = [error.step, error.errno]
sys.executable = real
hosts.show([found, before, hosts.settled_counts(before), csandbox.run("2")])
"""
    found, before, after, value = hosts.run(program, executable)
    assert found[1] == error
    assert after == before
    assert value == 2


def test_python_that_ends_at_once_is_told():
    program = """
import sys, csandbox, csandbox.sandbox, hosts
real, sys.executable = sys.executable, "/bin/false"
before = hosts.steady_counts()
try:
    found = csandbox.run("1")
except csandbox.UnavailableError as error:
    found = error.step
sys.executable = real
hosts.show([found, before, hosts.settled_counts(before), csandbox.run("2")])
"""
    found, before, after, value = hosts.run(program)
    assert found == "boot"
    assert after == before
    assert value == 2
