"""What a run was denied is told: to the caller by the kernel, to the guest by
the exception.  The guest can lie about its line, and about nothing else."""

import os
import pickle
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import csandbox
import support
from csandbox import (
    GuestCrash,
    GuestError,
    Policy,
    TimeLimitError,
    violations,
)

NOTIFY = "user notification"
TESTS = Path(__file__).parent
QUESTION = 0x43534251


def told(source, **policy):
    """Return the Result of a run in which the kernel tells what it denies."""
    result = csandbox.execute(source, **policy)
    if NOTIFY not in result.isolation.mechanisms:
        pytest.skip("no user notification here")
    return result


def only(result):
    """Return the one violation of a run."""
    (violation,) = result.violations
    return violation


# --- what the caller is told -------------------------------------------------


@pytest.mark.parametrize(
    "policy", [{}, {"processes": 2}, {"start": "fork", "allow_threads": True}]
)
def test_a_denied_socket_is_told_with_its_arguments_and_line(policy):
    result = told(
        "import socket\n\nsocket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
        **policy,
    )
    violation = only(result)
    assert violation.syscall == "socket"
    assert violation.category == "network"
    assert violation.arguments == "AF_INET6, SOCK_DGRAM"
    assert violation.line == "<guest>:3"
    assert violation.count == 1
    assert violation.permitted_by is None
    assert "no network" in str(violation)


def test_a_run_that_is_denied_nothing_has_no_violations():
    assert told("sum(range(10))").violations == ()


def test_a_denied_fork_names_the_policy_that_permits_it():
    violation = only(told("import os; os.fork()"))
    assert violation.category == "processes"
    assert violation.permitted_by == "processes=1"
    assert violations.options([violation]) == ("--processes", "1")


def test_a_denied_program_names_the_policy_that_permits_it():
    result = told("import subprocess; subprocess.run(['true'])")
    assert {each.permitted_by for each in result.violations} == {"processes=1"}


def test_one_fork_too_many_names_a_larger_limit():
    result = told(
        "import os, time\n"
        "for _ in range(3):\n"
        "    if not os.fork():\n"
        "        time.sleep(60)\n",
        processes=2,
    )
    assert only(result).permitted_by == "processes=3"
    assert "larger processes=" in result.error.message
    assert result.error.type_name == "BlockingIOError"


def test_denials_are_told_of_each_child_and_thread():
    result = told(
        "import os, socket, threading\n"
        "def attempt():\n"
        "    try:\n"
        "        socket.socket()\n"
        "    except PermissionError as error:\n"
        "        assert 'csandbox denied' in str(error), error\n"
        "if not os.fork():\n"
        "    attempt()\n"
        "    os._exit(0)\n"
        "assert os.wait()[1] == 0\n"
        "threads = [threading.Thread(target=attempt) for _ in range(8)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n",
        processes=1,
    )
    result.unwrap()
    assert only(result).count == 9


@pytest.mark.parametrize(
    ("name", "arguments", "category", "text"),
    [
        ("unshare", (0x50000000,), "namespaces", "CLONE_NEWUSER | CLONE_NEWN"),
        ("setns", (3, 0), "namespaces", "3"),
        ("mount", (0, 0, 0, 0, 0), "namespaces", ""),
        ("chroot", (0,), "namespaces", ""),
        ("ptrace", (0, 0), "processes", "0, 0"),
        ("kill", (-1, 9), "processes", "-1, SIGKILL"),
        ("kill", (1, 15), "processes", "1, SIGTERM"),
        ("tgkill", (1, 1, 9), "processes", "1, 1"),
        ("execve", (0, 0, 0), "processes", ""),
        ("process_vm_readv", (1, 0, 0, 0, 0, 0), "processes", "1"),
        ("bpf", (0, 0, 0), "kernel", "0"),
        ("io_uring_setup", (1, 0), "kernel", "1"),
        ("keyctl", (0, 0), "kernel", "0"),
        ("perf_event_open", (0, 0, 0, 0, 0), "kernel", ""),
        ("setuid", (0,), "identity", "0"),
        ("setpriority", (0, 0, 3), "kernel", "0, 0"),
        ("sched_setaffinity", (0, 8, 1), "kernel", "0"),
        ("sched_setscheduler", (0, 1, 0), "kernel", "0, 1"),
        ("memfd_create", (0, 0), "kernel", ""),
    ],
)
def test_calls_that_matter_are_told(name, arguments, category, text):
    number = support.syscall_numbers()[name]
    result = told(
        "import ctypes\n"
        "call = ctypes.CDLL(None).syscall\n"
        f"call({number}, *{arguments})",
    )
    assert result.value == -1
    violation = only(result)
    assert (violation.syscall, violation.category) == (name, category)
    assert violation.arguments.startswith(text)


@pytest.mark.parametrize(
    "source",
    [
        "import ctypes, mmap, tempfile, uuid, platform, shutil",
        "import os; os.kill(os.getpid(), 0); os.kill(0, 0)",
        "import socket; pair = socket.socketpair()",
        "import asyncio; asyncio.run(asyncio.sleep(0))",
        "import threading; threading.Thread(target=print).start()",
        "import shutil; open('/tmp/a', 'x'); shutil.copy('/tmp/a', '/tmp/b')",
        "import os; os.sched_getaffinity(0); os.cpu_count()",
        "import ctypes; ctypes.CFUNCTYPE(None)(print)()",
        # So asks OpenMP how large a set of processors is.
        "import ctypes; ctypes.CDLL(None).sched_setaffinity(0, 8, None)",
    ],
)
def test_what_libraries_try_by_the_way_is_not_told(source):
    result = told(source)
    assert result.error is None
    assert result.violations == ()


def test_different_denials_are_bounded_and_the_same_are_counted():
    result = told(
        "import ctypes\n"
        "call = ctypes.CDLL(None).socket\n"
        "for family in range(100):\n"
        "    call(family, 1, 0); call(7, 1, 0)\n",
    )
    assert result.error is None
    assert len(result.violations) == 64
    counts = {each.arguments: each.count for each in result.violations}
    assert counts["7, SOCK_STREAM"] == 101


def of_guest(tried, **policy):
    return violations.told_by_guest(
        {"tried": tried}, Policy(**policy), frozenset({"pid namespace"})
    )


def test_a_call_that_the_guest_names_is_one_that_is_known():
    told = {"kind": "read-only", "path": "/x", "line": ""}
    for call, mode, text in (
        ("open", "w", "open('/x', 'w')"),
        ("open", "r", "open('/x')"),
        ("open", "w\x1b", "open('/x')"),
        ("open", "w" * 999, "open('/x', 'wwww')"),
        ("open", ["w"], "open('/x')"),
        ("mkdir", "w", "mkdir('/x')"),
        ("evil\x1b", "", "open('/x')"),
        (["mkdir"], "", "open('/x')"),
    ):
        (found,) = of_guest([{**told, "call": call, "mode": mode}])
        assert f"{found.syscall}({found.arguments})" == text


def test_a_policy_that_the_guest_names_is_of_its_own_shape():
    told = {"kind": "module", "path": "x.y", "line": ""}
    (found,) = of_guest([told], profile="compute")
    assert found.permitted_by == "preload=x.y"
    for path in ("x;y", "--help", "", "x..y"):
        for each in of_guest([{**told, "path": path}], profile="compute"):
            assert each.permitted_by is None
    told = {"kind": "threads", "line": ""}
    (found,) = of_guest([{**told, "path": "17"}])
    assert found.permitted_by == "threads=17"
    for alive in ("16", "many", "-17", "9" * 9999):
        for each in of_guest([{**told, "path": alive}], threads=16):
            assert each.permitted_by == "threads=17"


def test_an_account_of_files_is_read_as_text_whatever_it_is():
    for tried in (
        None,
        7,
        [7],
        [{}],
        [{"kind": "missing"}],
        [{"kind": [], "path": "/x", "line": ""}],
        [{"kind": "eaten", "path": "/x", "line": ""}],
        [{"kind": "missing", "path": 7, "line": ""}],
    ):
        assert of_guest(tried) == ()
    told = {"kind": "missing", "path": "/\x1b[2J" * 999, "line": "\x1b[2J"}
    violation, *rest = of_guest([told] * 9999)
    assert not rest
    assert violation.count == 64
    assert "\x1b" not in str(violation)
    assert len(str(violation)) < 5000


# --- K02: calls that end the run ---------------------------------------------


def test_K02_a_call_that_ends_the_run_is_named():
    number = support.syscall_numbers()["reboot"]
    result = told(f"import ctypes\nctypes.CDLL(None).syscall({number}, 0)")
    assert type(result.error) is GuestCrash
    assert result.error.signal == signal.SIGSYS
    assert result.error.syscall == "reboot"
    assert "reboot()" in str(result.error)
    assert only(result).syscall == "reboot"
    copy = pickle.loads(pickle.dumps(result.error))
    assert (copy.signal, copy.syscall) == (signal.SIGSYS, "reboot")


def test_K02_a_signal_that_the_guest_sends_itself_is_told_apart():
    result = told("import os, signal; os.kill(os.getpid(), signal.SIGSYS)")
    assert result.error.signal == signal.SIGSYS
    assert result.error.syscall == ""
    assert result.violations == ()


# --- what the guest is told --------------------------------------------------


def test_the_exception_says_what_was_denied_and_why():
    with pytest.raises(GuestError) as caught:
        told("import socket; socket.socket()").unwrap()
    message = caught.value.message
    assert message.startswith("[Errno 13] Permission denied: csandbox denied ")
    assert "socket(AF_INET, SOCK_STREAM): there is no network" in message


def test_the_exception_stays_what_it_is():
    result = told(
        "import copy, errno, os, pickle\n"
        "try:\n"
        "    os.fork()\n"
        "except OSError as error:\n"
        "    e = error\n"
        "again = pickle.loads(pickle.dumps(e))\n"
        "assert type(e) is type(again) is PermissionError\n"
        "assert e.errno == e.args[0] == again.errno == errno.EPERM\n"
        "assert e.strerror == e.args[1] == again.strerror\n"
        "assert e.filename is None and len(e.args) == 2\n"
        "assert str(e) == str(again) == f'[Errno 1] {e.strerror}'\n"
        "'csandbox denied' in str(e)\n"
    )
    assert result.unwrap() is True


@pytest.mark.parametrize("start", ["zygote", "fork"])
def test_exceptions_of_the_programs_own_are_as_ever(start):
    result = csandbox.execute(
        """
import errno, io, os, pickle
assert type(OSError(13, "x")) is PermissionError
assert type(OSError(1, "x", "f")) is PermissionError
assert type(OSError(11, "x")) is BlockingIOError
assert type(OSError(2, "x")) is FileNotFoundError
assert type(OSError("x")) is OSError
assert OSError(13, "x", "f").filename == "f"
assert OSError(13, "x", "f", None, "g").filename2 == "g"
assert OSError(13, "x", "f").args == (13, "x")
assert str(PermissionError(13, "x")) == "[Errno 13] x"
assert PermissionError().args == ()
assert PermissionError(1, 2, 3, 4, 5, 6).args == (1, 2, 3, 4, 5, 6)
assert BlockingIOError(11, "x", 5).characters_written == 5

class Own(PermissionError):
    def __init__(self, what):
        super().__init__(13, "own")
        self.what = what
own = Own("w")
assert (own.errno, own.strerror, own.what) == (13, "own", "w")

class New(PermissionError):
    def __new__(cls, a, b):
        return super().__new__(cls, a, b)
assert New(1, "n").errno == 1

class Plain(PermissionError):
    pass
assert str(Plain(13, "p")) == "[Errno 13] p"

class Deep(Plain):
    def __new__(cls, *args):
        return super().__new__(cls, *args)
    def __init__(self, *args):
        super().__init__(*args)
assert Deep(13, "d").errno == 13
try:
    PermissionError(x=1)
except TypeError:
    right = True
right
""",
        start=start,
        allow_threads=start == "fork",
    )
    assert result.unwrap() is True


def test_an_error_that_is_no_denial_is_left_alone():
    result = told(
        "import os, ctypes\n"
        "texts = []\n"
        "ctypes.CDLL(None).socket(2, 1, 0)  # its error is not asked for\n"
        "os.mkdir('/tmp/d'); open('/tmp/d/f', 'w').close()\n"
        "os.chmod('/tmp/d', 0)\n"
        "for attempt in (lambda: open('/tmp/d/f'),\n"
        "                lambda: os.listdir('/tmp/d')):\n"
        "    try:\n"
        "        attempt()\n"
        "    except PermissionError as error:\n"
        "        texts.append(str(error))\n"
        "texts"
    )
    texts = result.unwrap()
    assert len(texts) >= 1
    assert not [each for each in texts if "csandbox" in each]


def test_nothing_of_it_stays_in_the_host():
    before = PermissionError.__init__
    csandbox.execute("import os; os.fork()", start="fork", allow_threads=True)
    assert PermissionError.__init__ is before
    assert str(OSError(1, "x")) == "[Errno 1] x"
    with pytest.raises(PermissionError) as caught:
        raise OSError(1, "Operation not permitted")
    assert caught.value.args == (1, "Operation not permitted")


# --- lies --------------------------------------------------------------------

LIES = f"""\
import ctypes, errno, random
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def prctl(*words):
    words = [ctypes.c_long(each) for each in words]
    return libc.syscall({support.syscall_numbers()["prctl"]}, *words)
def ask(*words):
    return prctl({QUESTION}, *words)
"""


def test_a_question_without_a_denial_is_answered_no():
    result = told(
        LIES + "random.seed(7)\n"
        "[ask(*(random.getrandbits(64) - 2**63 for _ in range(5)))"
        " for _ in range(300)] == [0] * 300"
    )
    assert result.unwrap() is True
    assert result.violations == ()


def test_a_lie_about_the_line_is_inert_text_of_a_bounded_size():
    result = told(
        LIES + "libc.socket(2, 1, 0)\n"
        "first = ask(13 | 0x7fffffff << 32,"
        " *[int.from_bytes(b'\\x1b]0;<b>\\n', 'little')] * 4)\n"
        "second = ask(13, 0, 0, 0, 0)\n"
        "first > 0, second"
    )
    assert result.unwrap() == (True, 0)
    name, _, line = only(result).line.rpartition(":")
    assert line == str(0x7FFFFFFF)
    assert name == "?]0;<b>?" * 4


def test_a_question_with_another_errno_is_answered_no():
    result = told(LIES + "libc.socket(2, 1, 0); ask(1, 0, 0, 0, 0)")
    assert result.unwrap() == 0
    assert only(result).line is None


# --- floods, races -----------------------------------------------------------

FLOOD = """\
import ctypes, threading
call = ctypes.CDLL(None).socket
def flood():
    while True:
        call(2, 1, 0)
threads = [threading.Thread(target=flood, daemon=True) for _ in range(15)]
for thread in threads: thread.start()
flood()
"""


def processor_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def test_a_flood_of_denials_costs_the_host_little_and_ends_in_time():
    told("1")
    began, used = time.monotonic(), processor_seconds()
    result = told(FLOOD, timeout=2.0)
    took, used = time.monotonic() - began, processor_seconds() - used
    assert type(result.error) is TimeLimitError
    assert took < 10
    assert used < 0.5
    assert 256 < only(result).count < 10_000


def test_children_that_are_killed_as_they_ask_are_no_trouble():
    result = told(
        "import ctypes, os, signal\n"
        "call = ctypes.CDLL(None).socket\n"
        "for _ in range(40):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        while True:\n"
        "            call(2, 1, 0)\n"
        "    call(10, 1, 0)\n"
        "    os.kill(child, signal.SIGKILL)\n"
        "    assert os.waitpid(child, 0)[1] == signal.SIGKILL\n",
        processes=2,
        timeout=60,
    )
    assert result.error is None
    assert len(result.violations) in (1, 2)


# --- no listener -------------------------------------------------------------


def without_notification(source):
    """Return what a program printed in a process that may not listen."""
    done = subprocess.run(
        [
            sys.executable,
            str(TESTS / "outer.py"),
            "--namespaces",
            "--no-notify",
            sys.executable,
            "-c",
            source,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    return done.stdout


def test_where_the_kernel_tells_nothing_all_is_denied_all_the_same():
    text = without_notification(
        "import csandbox\n"
        "result = csandbox.execute('import socket; socket.socket()')\n"
        "print(result.error.message, result.violations)\n"
        f"print({NOTIFY!r} in result.isolation.mechanisms)\n"
    )
    assert text == "[Errno 13] Permission denied ()\nFalse\n"


def test_where_forks_cannot_be_counted_they_are_refused_with_a_remedy():
    text = without_notification(
        "import csandbox\n"
        "try:\n"
        "    csandbox.run('1', processes=1)\n"
        "except csandbox.UnavailableError as error:\n"
        "    print(error.guarantee, error.step, error.remedy)\n"
    )
    assert text.startswith("processes cell-forks ")
    assert "processes=0" in text


# Loads the filters of a cell as cell/notify.c and cell/seccomp.c do.
HUNG_UP = """\
import ctypes, errno, os, struct, sys
from csandbox import zygotes
plan = zygotes.build_plan(zygotes.Template())
at = struct.unpack_from("=4I", plan, 52)  # told, listener: place and length
libc = ctypes.CDLL(None, use_errno=True)
kept = []
def program(place, length):
    kept.append(ctypes.create_string_buffer(plan[place : place + 8 * length]))
    fields = struct.pack("@HP", length, ctypes.addressof(kept[-1]))
    kept.append(ctypes.create_string_buffer(fields))
    return kept[-1]
assert libc.prctl(38, 1, 0, 0, 0) == 0
listener = libc.syscall(int(sys.argv[1]), 1, 8, program(*at[2:]))
assert listener >= 0, ctypes.get_errno()
assert libc.prctl(22, 2, program(*at[:2]), 0, 0) == 0
os.close(listener)
for call in (
    lambda: libc.socket(2, 1, 0),
    lambda: libc.unshare(0x10000000),
    lambda: libc.fork(),
    lambda: libc.execve(b"/bin/true", None, None),
    lambda: libc.kill(1, 0),
    lambda: libc.mount(None, None, None, 0, None),
):
    ctypes.set_errno(0)
    assert call() == -1
    assert ctypes.get_errno() == errno.ENOSYS, ctypes.get_errno()
os.write(1, b"none of them ran")
os._exit(0)
"""


def test_what_nobody_answers_does_not_run():
    told("1")
    number = support.syscall_numbers()["seccomp"]
    done = subprocess.run(
        [sys.executable, "-c", HUNG_UP, str(number)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "none of them ran", done.stderr


# --- files -------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/home/somebody/data.csv", "/etc/passwd", "data.csv"]
)
def test_a_file_that_is_not_shown_is_told(path):
    result = csandbox.execute(f"def f():\n    open({path!r})\nf()")
    violation = only(result)
    assert violation.category == "files"
    assert violation.arguments == repr(path)
    assert violation.line == "<guest>:2"
    assert "inputs=" in violation.text
    assert "is not in what the sandbox shows" in str(result.error)


def test_a_place_that_is_read_only_is_told():
    result = csandbox.execute("import os; open(os.__file__, 'a')")
    assert only(result).category == "files"
    assert "read-only in the sandbox" in str(result.error)


@pytest.mark.parametrize(
    "source",
    [
        "open('/tmp/nothing')",
        "import os; open(os.path.join(os.path.dirname(os.__file__), 'no.py'))",
        "import os; os.mkdir('/tmp/d', 0); os.listdir('/tmp/d')",
        "raise FileNotFoundError('of its own')",
        "raise KeyError('/home')",
    ],
)
def test_a_file_that_is_the_programs_own_affair_is_not_told(source):
    result = csandbox.execute(source)
    assert result.error is not None
    assert result.violations == ()
    assert "sandbox" not in str(result.error)


FULL = """\
file = open('/tmp/f', 'wb', 0)
while True:
    file.write(bytes(2**20))
"""
THREADS = """\
import threading, time
while True:
    threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
"""


@pytest.mark.parametrize(
    ("source", "field"), [(FULL, "scratch="), (THREADS, "threads=")]
)
def test_an_error_at_a_limit_names_its_field(source, field):
    result = csandbox.execute(source, scratch="1M", threads=4)
    assert field in str(result.error)


# --- words for each kind of denial -------------------------------------------


TOLD = """\
import csandbox, sys
result = csandbox.execute(sys.argv[1])
print(str(result.error).splitlines()[-1])
for each in result.violations:
    print(each.syscall, each.permitted_by, each.text)
"""


def in_tier_without_namespaces(source):
    """Return the last line of a run's error there, and what was denied."""
    done = subprocess.run(
        [
            *(sys.executable, str(TESTS / "outer.py"), sys.executable, "-c"),
            TOLD,
            source,
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()


WRITES = [
    ("import os; os.mkdir('/data')", "mkdir", "'/data'"),
    ("open('/usr/x', 'w')", "open", "'/usr/x', 'w'"),
    ("open('/usr/x', mode='ab')", "open", "'/usr/x', 'ab'"),
    (
        "import pathlib; pathlib.Path('/usr/x').write_text('')",
        "open",
        "'/usr/x', 'w'",
    ),
    ("import os; os.open('/usr/x', os.O_CREAT)", "open", "'/usr/x', 'w'"),
]


@pytest.mark.parametrize(("source", "call", "arguments"), WRITES)
def test_a_write_is_told_as_one(source, call, arguments):
    result = csandbox.execute(source)
    assert "read-only in the sandbox; /tmp can be" in str(result.error)
    violation = only(result)
    assert (violation.syscall, violation.arguments) == (call, arguments)


@pytest.mark.parametrize("source", [WRITES[0][0], WRITES[1][0], WRITES[3][0]])
def test_without_namespaces_a_write_is_told_as_one(source):
    last, violation = in_tier_without_namespaces(source)
    assert last.endswith("is read-only in the sandbox; /tmp can be written to")
    assert violation.endswith(violations.WRITE_HINT)


@pytest.mark.parametrize(
    "source", ["import os; os.listdir('/root')", "open('/etc/shadow')"]
)
def test_without_namespaces_a_refused_read_is_told_as_one(source):
    last, violation = in_tier_without_namespaces(source)
    assert "read-only" not in last
    assert last.endswith("pass what the program reads as inputs= or stdin=")
    assert violation.endswith(violations.FILES_HINT)


@pytest.mark.parametrize(
    "source",
    [
        "import os; os.fork()",
        "import os; os.symlink('/tmp/a', '/tmp/b')",
        "import os; open('/tmp/a', 'x'); os.link('/tmp/a', '/tmp/b')",
        "import multiprocessing; multiprocessing.Lock()",
    ],
)
def test_without_namespaces_none_of_these_is_said_to_be_permitted(source):
    last, *rest = in_tier_without_namespaces(source)
    assert "see csandbox doctor" in last
    assert rest
    for each in (last, *rest):
        assert "processes=1" not in each
    assert all(" None " in each for each in rest)


SHARED = [
    "multiprocessing.Lock()",
    "multiprocessing.Queue()",
    "multiprocessing.Pool(1)",
    "shared_memory.SharedMemory(create=True, size=10)",
]


@pytest.mark.parametrize("source", SHARED)
def test_what_processes_share_names_the_policy_that_permits_it(source):
    source = (
        "import multiprocessing\nfrom multiprocessing import shared_memory\n"
        f"{source}"
    )
    result = csandbox.execute(source)
    assert "processes=1 permits shared memory" in str(result.error)
    assert only(result).permitted_by == "processes=1"


def test_a_name_of_shared_memory_that_is_not_there_is_the_programs_affair():
    result = csandbox.execute(
        "from multiprocessing.shared_memory import SharedMemory\n"
        "SharedMemory('none')",
        processes=1,
    )
    assert "permits shared memory" not in str(result.error)


def test_a_module_that_is_not_there_says_what_helps():
    result = csandbox.execute("import nosuchmodule")
    assert "not modules beside the program" in str(result.error)
    for source in ("import json.nothing", "import a.b", "raise ImportError()"):
        source = f"import sys; sys.modules['a'] = sys\n{source}"
        error = csandbox.execute(source).error
        assert "beside the program" not in str(error)


def test_computing_a_module_that_is_not_there_has_its_own_words():
    result = csandbox.execute("import nosuchmodule", profile="compute")
    assert "preload=" in str(result.error)
    assert "beside the program" not in str(result.error)


def test_a_thread_too_many_names_the_policy_that_permits_it():
    result = csandbox.execute(THREADS, threads=4)
    if result.error.__class__ is GuestError:  # else the limit ended it
        assert only(result).permitted_by == "threads=5"


def test_code_without_places_has_its_words_all_the_same():
    result = csandbox.execute(
        "code = compile(\"open('/home/x')\", 'x.py', 'exec')\n"
        "exec(code.replace(co_linetable=b''))"
    )
    (note,) = result.error.notes
    assert "is not in what the sandbox shows" in note
    assert only(result).arguments == "'/home/x'"


@pytest.mark.parametrize("processes", [0, 1])
def test_errors_of_its_own_cost_a_program_little(processes):
    """An event loop meets EAGAIN all the time: 3000 took 3 s."""
    source = """
import os, time
reading, _ = os.pipe()
os.set_blocking(reading, False)
began = time.monotonic()
for _ in range(3000):
    try: os.read(reading, 1)
    except BlockingIOError: pass
time.monotonic() - began
"""
    assert csandbox.run(source, processes=processes) < 1
