"""profile="compute" in the lowest tier: no namespace and no Landlock, so that
the filter, the limits and a lock on the process are all there is."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

import support
from csandbox import _csandbox, jobs, sandbox, zygotes
from csandbox.errors import GuestError, MemoryLimitError, TimeLimitError
from csandbox.policy import Policy
from csandbox.zygotes import Template

HERE = Path(__file__).parent
ONLY = _csandbox.MECHANISMS["seccomp"] | _csandbox.MECHANISMS["rlimits"]
BARE = Template(compute=True, mechanisms=ONLY, preload=("ctypes",))


def execute(source, inputs=None, **policy):
    variables = {"NR": support.syscall_numbers(), **(inputs or {})}
    job, cargo = jobs.source_job(
        support.GUEST + source, "<guest>", [""], variables, None
    )
    policy = Policy(profile="compute", **{"timeout": 60, **policy})
    return sandbox._execute(job, cargo, b"", policy, template=BARE)


def value_of(source, inputs=None):
    return execute(source, inputs).unwrap()


# --- it computes, and ends as it should --------------------------------------


def test_it_computes_and_says_what_was_in_force():
    result = execute("sum(x)", {"x": list(range(1000))})
    assert result.unwrap() == 499_500
    assert result.isolation.mechanisms >= {"seccomp", "rlimits"}
    assert not result.isolation.mechanisms & {
        *("mount namespace", "pid namespace", "landlock"),
    }


def test_large_values_go_in_and_out():
    value = value_of("y = [bytes(x)] * 1; y[0][:3], bytes(20 << 20)", {"x": 3})
    assert value == (b"\0\0\0", bytes(20 << 20))


def test_endings_are_told_apart():
    assert type(execute("while True: pass", timeout=0.5).error) is (
        TimeLimitError
    )
    assert execute("while True: pass", cpu_time=0.3).error.limit == "cpu_time"
    assert execute("raise SystemExit(3)").exit_code == 3
    error = execute("x = bytearray(1 << 40)").error
    assert type(error) in (MemoryLimitError, GuestError)


# --- attacks -----------------------------------------------------------------

# What each would be worth without the filter, it is denied with it.
ATTACKS = {
    "read a file": "answer('openat', -100, b'/etc/passwd', 0, 0)",
    "open its own memory": "answer('openat', -100, b'/proc/self/mem', 2, 0)",
    "tell if a file is there": "answer('faccessat', -100, b'/etc', 0)",
    "look at a file": "answer('newfstatat', -100, b'/etc', bytes(256), 0)",
    "read a link": "answer('readlinkat', -100, b'/proc/self', bytes(9), 9)",
    "say where it is": "answer('getcwd', bytes(99), 99)",
    "go elsewhere": "answer('chdir', b'/')",
    "make a file": "answer('mkdirat', -100, b'/tmp/csandbox-test-x', 0)",
    "set times": "answer('utimensat', -100, b'/tmp', 0, 0)",
    "ask who its parent is": "answer('getppid')",
    "ask for its parent's limits": "answer('prlimit64', up, 7, 0, bytes(9))",
    "ask its parent's clock": "answer('clock_gettime', ~up * 8 | 2, bytes(9))",
    "signal its parent": "answer('kill', up, 0)",
    "signal all": "answer('kill', -1, 0)",
    "signal its group": "answer('kill', 0, 0)",
    "signal a thread of another": "answer('tgkill', up, up, 0)",
    "trace its parent": "answer('ptrace', 16, up, 0, 0)",
    "read its parent": "answer('process_vm_readv', up, 0, 0, 0, 0, 0)",
    "get hold of a process": "answer('pidfd_open', up, 0)",
    "outlive its parent": "answer('prctl', 1, 0, 0, 0, 0)",
    "become dumpable": "answer('prctl', 4, 1, 0, 0, 0)",
    "tell its host": "answer('uname', bytes(512))",
    "ask for the load": "answer('sysinfo', bytes(256))",
    "use a queue of the system": "answer('msgget', 1, 0o1777)",
    "use shared memory": "answer('shmget', 1, 4096, 0o1777)",
    "use a message queue": "answer('mq_open', b'x', 0x42, 0o600, 0)",
    "use keys": "answer('keyctl', 0, -3, 0)",
    "open a socket": "answer('socket', 1, 1, 0)",
    "make a process": "answer('fork')",
    "make a namespace": "answer('unshare', 0x10000000)",
    "execute": "answer('execve', b'/bin/true', 0, 0)",
    "wait for others": "answer('waitid', 0, 0, 0, 4, 0)",
    "change its priority": "answer('setpriority', 0, 0, 5)",
    "ask a priority": "answer('getpriority', 0, up)",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_denied(name):
    inputs = {"up": next(iter(support.zygote_pids()), 1)}
    said = value_of(ATTACKS[name], inputs)
    assert said in ("EPERM", "EACCES", "ENOSYS", "EINVAL"), said


def test_every_call_that_does_not_compute_is_denied():
    table = {
        n: number
        for _, n, f, number in _csandbox.syscalls(False, True)
        if f == "errno"
    }
    names = sorted(set(table) & set(support.syscall_numbers()))
    source = "{name: answer(name, *[-1] * 6) for name in names}"
    said = value_of(source, {"names": names})
    assert [n for n in names if type(said[n]) is int] == []


def test_a_signal_for_itself_is_delivered():
    source = """
import signal
seen = []
signal.signal(signal.SIGUSR1, lambda *given: seen.append(given[0]))
signal.raise_signal(signal.SIGUSR1)
seen
"""
    assert value_of(source) == [signal.SIGUSR1]


# --- what holds it -----------------------------------------------------------


def cells():
    zygote = zygotes._registry.zygotes[BARE].pid
    return [
        pid for pid, parent in support.parents().items() if parent == zygote
    ]


class Sleeping:
    """A cell that sleeps, looked at from outside."""

    def __init__(self):
        value_of("1")
        self.thread = Thread(target=self.run)
        self.outcome = None

    def run(self):
        self.outcome = execute("import time\ntime.sleep(20)")

    def __enter__(self):
        self.thread.start()
        end = time.monotonic() + 10
        while not cells() and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.2)
        (self.pid,) = cells()
        return self

    def __exit__(self, *exception):
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self.thread.join()


def status_of(pid):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_it_has_no_capability_and_no_file():
    with Sleeping() as cell:
        status = status_of(cell.pid)
        assert int(status["CapPrm"], 16) == 0
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        if not _csandbox.is_root():
            return
        # That of a process that has ended: nothing has a name there.
        for place in ("root", "cwd"):
            assert not os.path.exists(f"/proc/{cell.pid}/{place}/etc")
            assert not os.path.exists(f"/proc/{cell.pid}/{place}/..")


def test_it_ends_with_its_zygote():
    with Sleeping() as cell:
        zygote = zygotes._registry.zygotes[BARE]
        os.kill(zygote.pid, signal.SIGKILL)
        end = time.monotonic() + 5
        while cell.pid in support.parents() and time.monotonic() < end:
            time.sleep(0.01)
        assert cell.pid not in support.parents()
        zygotes.discard(BARE, zygote)


# --- under a filter like those of containers ---------------------------------

OUTSIDE = """
import json, os, signal
import csandbox, support
policy = csandbox.Policy(profile="compute", timeout=60, preload=("ctypes",))
variables = {"NR": support.syscall_numbers(), "up": os.getpid()}
def run(source, **options):
    return csandbox.execute(
        support.GUEST + source, inputs=variables, policy=policy, **options
    )
attacks = json.loads(os.environ["ATTACKS"])
source = "[" + ", ".join(attacks) + "]"
found = [
    run("1").isolation.tier,
    run("import json; json.dumps([0.5] * 100_000)[:9]").value,
    [said for said in run(source).unwrap() if type(said) is int],
    len(run("bytes(20 << 20)").unwrap()),
    type(run("while True: pass", timeout=0.5).error).__name__,
    run("while True: pass", cpu_time=0.5).error.limit,
    run("open('/etc/passwd')").error.type_name,
    type(csandbox.execute("1", profile="compute", timeout=5).error).__name__,
]
try:
    csandbox.run("1")
    found.append("a run of the default profile")
except csandbox.UnavailableError as error:
    found.append(error.guarantee)
print(json.dumps(found))
"""


@pytest.mark.parametrize("option", ["--no-landlock", "--strict"])
def test_it_runs_where_nothing_else_can(option):
    attacks = json.dumps(list(ATTACKS.values()))
    done = subprocess.run(
        [
            sys.executable,
            HERE / "outer.py",
            option,
            sys.executable,
            "-c",
            OUTSIDE,
        ],
        env={
            **os.environ,
            "ATTACKS": attacks,
            "PYTHONPATH": f"{HERE}:{HERE.parent}",
        },
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        *("compute", "[0.5, 0.5", [], 20 << 20, "TimeLimitError"),
        *("cpu_time", "PermissionError", "NoneType", "files"),
    ]
