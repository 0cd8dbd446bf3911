"""The guest is alone: it starts, sees, signals and traces no other process,
and nothing of it outlives the run."""

import os
import signal
import subprocess
import sys
import time

import pytest

import support
from support import (
    LANDLOCK,
    LIMITS,
    SECCOMP,
    USERNS,
    VIEW,
    X86,
    Attack,
)

CHILD = """
if pid == 0:
    syscall('exit_group', 0)
os.waitpid(pid, 0)
pid > 2
"""
FORK = Attack("pid = os.fork()" + CHILD, SECCOMP)
CLONE = Attack("pid = syscall('clone', 17, 0, 0, 0, 0)" + CHILD, SECCOMP)
CLONE_HIGH = Attack(
    "pid = syscall('clone', 17 | 0xffff << 48, 0, 0, 0, 0)" + CHILD, SECCOMP
)
CLONE3 = Attack(
    """
arguments = struct.pack('8Q', 0, 0, 0, 0, 17, 0, 0, 0)
pid = syscall('clone3', ctypes.c_char_p(arguments), 64)
"""
    + CHILD,
    SECCOMP,
)
# vfork shares the stack until the child is gone: not a thing for C code.
VFORK = Attack(
    """
vfork = code(bytes.fromhex(
    'b83a000000'  # mov eax, 58
    '0f05'        # syscall
    '85c0'        # test eax, eax
    '7409'        # jz child
    '4898'        # cdqe
    'c3'          # ret
    '909090909090'
    '31ff'        # child: xor edi, edi
    'b8e7000000'  # mov eax, 231
    '0f05'        # syscall
))
pid = vfork()
if pid < 0:
    raise OSError(-pid, 'vfork')
os.waitpid(pid, 0)
pid > 2
""",
    SECCOMP,
)
EXEC = Attack(
    """
import subprocess
subprocess.run(
    [sys.executable, '-I', '-S', '-c', 'print(6 * 7)'],
    stdout=subprocess.PIPE,
).stdout == b'42\\n'
""",
    SECCOMP,
)
EXECVEAT = Attack(
    """
def strings(*texts):
    return (ctypes.c_char_p * 4)(*texts, None)
program = os.open(os.path.realpath(sys.executable), os.O_PATH)
reader, writer = os.pipe()
os.set_inheritable(writer, True)
pid = os.fork() if forked else 0
if pid == 0:
    text = f'import os; os.write({writer}, b"42")'.encode()
    syscall('execveat', program, ctypes.c_char_p(b''),
            strings(b'python', b'-c', text), strings(), 0x1000)
os.close(writer)
os.read(reader, 2) == b'42'
""",
    SECCOMP,
)
SEE_INIT = Attack("os.kill(1, 0) is None", LANDLOCK, SECCOMP)
OPEN_INIT = Attack("syscall('pidfd_open', 1, 0) > 0", SECCOMP)
SIGNAL_INIT = Attack(
    """
init = syscall('pidfd_open', 1, 0)
syscall('pidfd_send_signal', init, 0, 0, 0) == 0
""",
    LANDLOCK,
    SECCOMP,
)
LIMIT_INIT = Attack(
    """
limits = ctypes.create_string_buffer(16)
syscall('prlimit64', 1, 7, 0, limits) == 0
""",
    SECCOMP,
)
SCHEDULE_INIT = Attack(
    """
mask = ctypes.create_string_buffer(128)
length = syscall('sched_getaffinity', 0, 128, mask)
syscall('sched_setaffinity', 1, length, mask) == 0
""",
    USERNS,
    SECCOMP,
)
# The init shares the zygote's memory: to read it is to read the template of
# every later run.  The address is one that both have: fork copied it.
VECTOR = """
buffer = ctypes.create_string_buffer(16)
local = struct.pack('2Q', ctypes.addressof(buffer), 16)
remote = struct.pack('2Q', id(None), 16)
"""
READ_ZYGOTE = Attack(
    VECTOR
    + """
syscall('process_vm_readv', 1, ctypes.c_char_p(local), 1,
        ctypes.c_char_p(remote), 1, 0) == 16
""",
    USERNS,
    LANDLOCK,
    SECCOMP,
)
WRITE_ZYGOTE = Attack(
    VECTOR
    + """
ctypes.memmove(buffer, id(None), 16)  # what is there anyway
syscall('process_vm_writev', 1, ctypes.c_char_p(local), 1,
        ctypes.c_char_p(remote), 1, 0) == 16
""",
    USERNS,
    LANDLOCK,
    SECCOMP,
)
TRACE_ZYGOTE = Attack(
    "syscall('ptrace', 0x4206, 1, 0, 0) == 0",  # PTRACE_SEIZE
    USERNS,
    LANDLOCK,
    SECCOMP,
)
ENTER_INIT = Attack(  # its IPC namespace, which is the zygote's
    """
init = syscall('pidfd_open', 1, 0)
syscall('setns', init, 0x08000000) == 0
""",
    USERNS,
    LANDLOCK,
    SECCOMP,
)
TRACE_CHILD = Attack(
    """
syscall('prctl', 4, 1, 0, 0, 0)  # dumpable again, for itself
pid = os.fork()
if pid == 0:
    while True:
        os.read(os.pipe()[0], 1)
done = syscall('ptrace', 0x4206, pid, 0, 0) == 0
os.kill(pid, 9)
done
""",
    SECCOMP,
)
TRACE_ME = Attack("syscall('ptrace', 0, 0, 0, 0) == 0", SECCOMP)
STEAL_DESCRIPTOR = Attack(
    "syscall('pidfd_getfd', syscall('pidfd_open', 2, 0), 1, 0) > 0", SECCOMP
)
COMPARE = Attack("syscall('kcmp', 2, 2, 1, 0, 0) == 0", SECCOMP)
ESCAPES = {
    "see the init": SEE_INIT,
    "signal the init": SIGNAL_INIT,
    "read the zygote's memory": READ_ZYGOTE,
    "write the zygote's memory": WRITE_ZYGOTE,
    "trace the zygote": TRACE_ZYGOTE,
    "enter the zygote's namespaces": ENTER_INIT,
}


@pytest.mark.parametrize("attack", [FORK, CLONE, CLONE_HIGH, CLONE3])
def test_cannot_fork_or_clone(attack):
    attack.check()


if X86:

    def test_cannot_vfork():
        VFORK.check()


def test_cannot_execute_a_program():
    EXEC.check()
    assert EXECVEAT.succeeds({"forked": True}, {SECCOMP})
    assert not EXECVEAT.succeeds({"forked": False}, ())


def test_without_the_filter_the_limits_still_stop_a_fork():
    options = {"threads": 0}
    result = support.run_guest(FORK.source, without={SECCOMP}, **options)
    assert result.error.type_name == "BlockingIOError"
    without = {SECCOMP, LIMITS}
    assert support.value_of(FORK.source, without=without, **options)


def test_threads_are_allowed():
    source = """
import threading
found = []
threads = [threading.Thread(target=found.append, args=(n,)) for n in (1, 2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sorted(found)
"""
    assert support.value_of(source) == [1, 2]


def test_cannot_see_or_signal_the_init():
    SEE_INIT.check()
    SIGNAL_INIT.check()
    OPEN_INIT.check()


def test_cannot_change_how_the_init_runs():
    LIMIT_INIT.check()
    SCHEDULE_INIT.check()


def test_cannot_read_or_write_the_zygotes_memory():
    READ_ZYGOTE.check()
    WRITE_ZYGOTE.check()


def test_cannot_trace_the_zygote():
    TRACE_ZYGOTE.check()


def test_cannot_enter_the_zygotes_namespaces():
    ENTER_INIT.check()


@pytest.mark.parametrize(
    "attack", [TRACE_CHILD, TRACE_ME, STEAL_DESCRIPTOR, COMPARE]
)
def test_cannot_use_the_calls_of_debuggers(attack):
    attack.check()


# --- signals -----------------------------------------------------------------

SIGNAL = """
sent = []
for pid in pids:
    for number in (0, 15, 9):
        for call in (
            ('kill', pid, number),
            ('tgkill', pid, pid, number),
            ('tkill', pid, number),
            ('kill', -pid, number),
            ('kill', pid | 1 << 32, number),
        ):
            if not isinstance(answer(*call), str):
                sent.append(call)
sent
"""


@pytest.fixture
def victim():
    """A process of ours, of the guests' user if we may choose."""
    user = support.guest_uid() if os.geteuid() == 0 else None
    with subprocess.Popen(
        ["sleep", "60"], user=user, start_new_session=True
    ) as process:
        yield process
        process.kill()


def test_cannot_signal_a_process_of_the_host(victim):
    # No configuration lets this succeed, for there is no run without a PID
    # namespace; so the program is shown to work outside it.
    outside = f"pids = [{victim.pid}]\n" + support.GUEST
    outside += f"NR = {support.syscall_numbers()}\n{SIGNAL}\nprint(len(sent))"
    for without in ((), {SECCOMP}, {SECCOMP, LANDLOCK}):
        sent = support.value_of(
            SIGNAL, {"pids": [victim.pid, os.getpid()]}, without=without
        )
        assert sent == []
        assert victim.poll() is None
    completed = subprocess.run(
        [sys.executable, "-c", outside],
        capture_output=True,
        text=True,
        user=support.guest_uid() if _anyone_may_run() else None,
    )
    assert int(completed.stdout) > 0, completed.stderr
    lost = signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN  # its status
    assert victim.wait(10) == (0 if lost else -signal.SIGTERM)


def _anyone_may_run():
    return os.geteuid() == 0 and not support.environment_is_closed()


def test_kill_of_everything_reaches_nobody(victim):
    source = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
[answer('kill', -1, 15), answer('kill', 0, 15), os.getpid()]
"""
    assert support.value_of(source) == ["EPERM", 0, 2]
    # In its PID namespace there is nobody else but an init, which is immune.
    nobody = support.value_of(source, without={SECCOMP, LANDLOCK})
    assert nobody[0] in (0, "ESRCH")
    assert victim.poll() is None
    assert support.value_of("1") == 1


def test_may_signal_itself():
    source = """
import signal
got = []
for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: got.append(int(number)))
    os.kill(os.getpid(), number)
    signal.raise_signal(number)
sorted(got)
"""
    assert support.value_of(source) == [2, 2, 10, 10, 15, 15]


def test_sees_no_process_but_itself():
    source = """
[pid for pid in range(1, 5000)
 if answer('getpgid', pid) != 'ESRCH'], os.getpid(), os.getppid()
"""
    for without in ((), {SECCOMP}, {SECCOMP, LANDLOCK}):
        # 1 is the init of this run, which is in another session.
        pids, own, parent = support.value_of(source, without=without)
        assert set(pids) <= {1, 2}
        assert (own, parent) == (2, 0)


# --- outliving the run -------------------------------------------------------

# Prints the pid of a process that is meant to outlive the one that made it.
OUTLIVE = """
import signal, sys, time
first = os.fork()
if first:
    os.waitpid(first, 0)
    os._exit(0)
os.setsid()
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
if os.fork():
    os._exit(0)
os.write(1, b'%d' % os.getpid())
for descriptor in range(64):
    try:
        os.close(descriptor)
    except OSError:
        pass
time.sleep(120)
"""


def test_a_daemon_dies_with_the_run():
    # Outside, it is indeed left behind.
    completed = subprocess.run(
        [sys.executable, "-c", "import os\n" + OUTLIVE],
        stdout=subprocess.PIPE,
    )
    left = int(completed.stdout)
    time.sleep(0.1)
    os.kill(left, 0)
    os.kill(left, signal.SIGKILL)

    before = support.descendants(os.getpid()) | support.zygote_pids()
    result = support.run_guest(OUTLIVE, without={SECCOMP, LANDLOCK})
    assert result.error.code == 0
    assert support.left_behind(before) == set()
    assert result.usage.wall < 60

    denied = support.run_guest(OUTLIVE).error
    assert denied.type_name == "PermissionError"


ENDURE = {
    "a daemon thread": """
import threading, time
threading.Thread(target=time.sleep, args=(120,), daemon=True).start()
""",
    "threads that die with the process": """
import threading
def spin():
    while True: pass
for _ in range(8):
    threading.Thread(target=spin, daemon=True).start()
""",
    "a blocked exit": """
import atexit, time
atexit.register(time.sleep, 120)
""",
    "a stop": "import signal; os.kill(2, signal.SIGSTOP)",
    "a new session": """
try:
    os.setsid()
except OSError:
    pass
os.kill(2, 19)
""",
    "closed pipes": """
for descriptor in range(16):
    try:
        os.close(descriptor)
    except OSError:
        pass
while True: pass
""",
    "blocked signals": """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True: pass
""",
    "a loop in C": "sum(range(10**14))",
    "a wait in the kernel": "os.read(os.pipe()[0], 1)",
    "a pipe to itself that is full": "os.write(os.pipe()[1], bytes(1 << 20))",
}


@pytest.mark.parametrize("source", ENDURE.values(), ids=ENDURE)
def test_nothing_outlives_the_run(source):
    before = support.descendants(os.getpid()) | support.zygote_pids()
    result = support.run_guest(source, timeout=0.4)
    assert result.error is None or result.error.limit == "timeout"
    assert support.left_behind(before) == set()


def test_a_flood_of_output_does_not_outrun_the_deadline():
    result = support.run_guest(
        "while True: os.write(1, bytes(65536)); os.write(2, bytes(65536))",
        timeout=0.4,
    )
    assert result.error.limit == "timeout"
    assert len(result.stdout_bytes) <= 1 << 20


def test_the_view_shows_no_other_process():
    # Not even without the mount namespace: the PID namespace is its own.
    without = {VIEW, LANDLOCK, SECCOMP}
    source = "os.kill(host_pid, 0)"
    attack = Attack(source)
    assert not attack.succeeds({"host_pid": os.getpid()}, without)
