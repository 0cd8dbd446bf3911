"""Runs are supervised while the host is busy with their output."""

import os
import time

import pytest

import hosts

# A stdout of the host that takes its time.
STALLING = """
import os, sys, threading, time
import csandbox, hosts
class Stalling:
    def __init__(self, seconds, every=1):
        self.seconds, self.every = seconds, every
        self.calls, self.text = 0, ""
    def write(self, text):
        self.calls += 1
        self.text += text
        if self.calls % self.every == 0:
            self.act()
        return len(text)
    def act(self):
        time.sleep(self.seconds)
    def flush(self):
        pass
def stalled(source, stream, **options):
    sys.stdout = stream
    try:
        return csandbox.run(source, **options)
    except csandbox.SandboxError as error:
        return error
    finally:
        sys.stdout = sys.__stdout__
csandbox.run("1")
before = hosts.steady_counts()
"""
SPIN = "print(1, flush=True)\nwhile True: pass"


def shown(program):
    value, before, after = hosts.run(
        STALLING
        + program
        + "\nhosts.show([value, before, hosts.settled_counts(before)])"
    )
    assert after == before
    return value


# --- limits ------------------------------------------------------------------


def test_timeout_holds_while_output_is_not_taken():
    name, took = shown(f"""
error = stalled({SPIN!r}, Stalling(3), timeout=1)
value = [type(error).__name__, error.result.usage.run]
""")
    assert name == "TimeLimitError"
    assert 1 <= took < 1.5


def test_timeout_holds_while_a_handler_of_signals_takes_long():
    name, took = shown("""
import signal
signal.signal(signal.SIGALRM, lambda *_: time.sleep(3))
signal.setitimer(signal.ITIMER_REAL, 0.5)
error = stalled("while True: pass", Stalling(0), timeout=1)
value = [type(error).__name__, error.result.usage.run]
""")
    assert name == "TimeLimitError"
    assert 1 <= took < 1.5


@pytest.mark.parametrize("source", [SPIN, "while True: pass"])
def test_timeout_holds_while_another_thread_keeps_the_gil(source):
    name, took, kept = shown(f"""
def keep():
    time.sleep(0.5)
    began = time.monotonic()
    sum(range(25 * 10**7))
    found.append(time.monotonic() - began)
found = []
thread = threading.Thread(target=keep)
thread.start()
error = stalled({source!r}, Stalling(0), timeout=1)
thread.join()
value = [type(error).__name__, error.result.usage.run, *found]
""")
    assert name == "TimeLimitError"
    assert 1 <= took < 1.5 < kept + 0.5


def test_cpu_time_holds_while_output_is_not_taken():
    name, user, took = shown(f"""
error = stalled({SPIN!r}, Stalling(3), timeout=20, cpu_time=0.5)
usage = error.result.usage
value = [error.limit, usage.user + usage.system, usage.run]
""")
    assert name == "cpu_time"
    assert 0.4 < user < 1
    assert took < 2.5


def test_memory_holds_while_output_is_not_taken():
    source = """
print(1, flush=True)
import time
held = bytearray(60 << 20)
with open("/tmp/file", "wb", 0) as file:
    while True:
        file.write(bytes(1 << 20))
        time.sleep(0.005)
"""
    name, took = shown(f"""
limits = dict(timeout=20, memory="100M", scratch="80M")
error = stalled({source!r}, Stalling(4), **limits)
value = [type(error).__name__, error.result.usage.run]
""")
    assert name == "MemoryLimitError"
    assert took < 3.5


def test_command_whose_output_nobody_reads_ends_its_guest():
    program = f"""
import sys
import hosts
from csandbox.cli import main
hosts.arm_none()
sys.exit(main(["run", "--timeout", "1", "-c", {FLOOD!r}]))
"""
    read, write = os.pipe()
    try:
        with hosts.Host(program, stdout=write) as host:
            hosts.wait_until(lambda: busy(host))
            time.sleep(2)
            assert not busy(host)
    finally:
        os.close(read)
        os.close(write)


FLOOD = "while True: print('x' * 1000)"


def busy(host):
    """Return the processes of guests: children of a zygote."""
    return [
        guest
        for zygote in hosts.zygotes(host.pid)
        for init in hosts.children(zygote)
        for guest in [init, *hosts.children(init)]
    ]


# --- output ------------------------------------------------------------------


@pytest.mark.parametrize("pause", ["", "; time.sleep(0.0003)"])
def test_output_comes_whole_and_in_order(pause):
    source = f"""
import sys, time
for i in range(3000):
    print(i, flush=True){pause}
    if i % 10 == 0:
        print(-i, file=sys.stderr, flush=True)
"""
    assert shown(f"""
stream, errors = Stalling(0.02, every=5), Stalling(0.003, every=7)
sys.stderr = errors
stalled({source!r}, stream)
sys.stderr = sys.__stderr__
value = [
    stream.text.split() == [str(i) for i in range(3000)],
    errors.text.split() == [str(-i) for i in range(0, 3000, 10)],
]
""") == [True, True]


def test_output_beyond_the_limit_is_not_kept_while_it_is_not_taken():
    source = "print(1, flush=True)\nfor _ in range(30_000): print('x' * 999)"
    length, grown = shown(f"""
stream = Stalling(1)
resident = hosts.resident()
stalled({source!r}, stream, output="1M", output_action="drop")
value = [len(stream.text), hosts.resident() - resident]
""")
    assert length < (1 << 20) + 200
    assert grown < 8 << 20


def test_exception_of_the_sink_ends_the_run():
    kind, took = shown(f"""
class Failing(Stalling):
    def act(self):
        time.sleep(0.3)
        raise LookupError
began = time.monotonic()
try:
    value = stalled({SPIN!r}, Failing(0), timeout=20)
except LookupError as error:
    value = [type(error).__name__, time.monotonic() - began]
""")
    assert kind == "LookupError"
    assert took < 3


# --- what else a sink may do -------------------------------------------------


def test_sink_may_run_something_itself():
    assert shown("""
found = []
class Nested(Stalling):
    def act(self):
        found.append(csandbox.run("6 * 7"))
value = [stalled("print(1, flush=True); 5", Nested(0)), found]
""") == [5, [42]]


def test_sink_may_fork_the_host():
    source = "print(1, flush=True); import time; time.sleep(0.5); 5"
    for leave in ("os._exit(7)", "return"):
        assert shown(f"""
class Forking(Stalling):
    def act(self):
        time.sleep(0.1)
        self.pid = os.fork()
        if self.pid == 0:
            {leave}
stream = Forking(0)
value = stalled({source!r}, stream)
if stream.pid == 0:
    os._exit(7)
code = os.waitstatus_to_exitcode(os.waitpid(stream.pid, 0)[1])
value = [value, code]
""") == [5, 7]


def test_run_may_be_killed_while_its_output_is_not_taken():
    assert (
        shown(f"""
from csandbox import zygotes
hosts.arm_none()
def kill():
    time.sleep(0.5)
    for run in list(zygotes._registry.runs):
        run.kill()
    found.append(bool(hosts.wait_until(lambda: not guests()) or True))
    found.append(time.monotonic() - began)
def guests():
    return [
        child
        for zygote in hosts.zygotes(os.getpid())
        for child in hosts.children(zygote)
    ]
found, began = [], time.monotonic()
thread = threading.Thread(target=kill)
thread.start()
stalled({SPIN!r}, Stalling(3), timeout=20)
thread.join()
value = found[1] < 2
""")
        is True
    )


def test_host_may_exit_while_a_sink_blocks():
    program = (
        STALLING
        + f"""
class Stuck(Stalling):
    def act(self):
        started.set()
        time.sleep(1000)
started = threading.Event()
sys.stdout = Stuck(0)
threading.Thread(
    target=csandbox.run, args=({SPIN!r},), kwargs=dict(timeout=20), daemon=True
).start()
started.wait()
time.sleep(0.2)
sys.stdout = sys.__stdout__
"""
    )
    assert hosts.run(program) is None


# --- stacks ------------------------------------------------------------------


@pytest.mark.parametrize("options", ["", ", processes=1"])
def test_thread_with_the_smallest_stack_may_run_something(options):
    source = "print('x' * 100_000); import time; time.sleep(0.3)"
    if options:
        source = (
            "import subprocess, sys\n"
            "subprocess.run([sys.executable, '-c', '1'])\n" + source
        )
    assert (
        shown(f"""
found = []
csandbox.run("1"{options})
before = hosts.steady_counts()
def work():
    found.append(csandbox.execute({source!r}, timeout=20{options}))
threading.stack_size(32768)
thread = threading.Thread(target=work)
thread.start()
thread.join()
value = len(found[0].stdout) if found[0].error is None else repr(found[0])
""")
        == 100_001
    )
