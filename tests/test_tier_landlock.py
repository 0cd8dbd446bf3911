"""Runs where no namespace is to be had: Landlock, the filter and limits."""

import errno
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pytest

import csandbox
import hosts
import support
import test_escape_files
import test_escape_kernel
import test_escape_network
import test_escape_processes
import test_escape_runs
from csandbox import scratches, zygotes
from support import Attack

MODULES = (
    test_escape_files,
    test_escape_kernel,
    test_escape_network,
    test_escape_processes,
    test_escape_runs,
)
# Calls that are answered with "done" here, and do nothing.
PRETENDED = ("CHANGE_MODE", "CHANGE_TIME")
ATTACKS = {
    f"{module.__name__}.{name}": attack
    for module in MODULES
    for name, attack in vars(module).items()
    if isinstance(attack, Attack) and name not in PRETENDED
}


def run_guest(source, inputs=None, **options):
    return support.run_guest(source, inputs, bare=True, **options)


def value_of(source, inputs=None, **options):
    return run_guest(source, inputs, **options).unwrap()


# --- attacks -----------------------------------------------------------------


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_fails_without_namespaces(name, outside):
    others = {"interface": "eth0", "forked": False}
    inputs = {**outside.inputs(), **others}
    assert not ATTACKS[name].succeeds(inputs, (), bare=True)


@pytest.mark.parametrize(
    "expression",
    [
        "os.stat(secret)",
        "os.lstat(secret)",
        "os.access(secret, os.F_OK) or die()",
        "os.readlink('/proc/self/exe')",
        "os.chdir(os.path.dirname(secret))",
        "os.open(secret, os.O_PATH)",
        "os.open(secret, os.O_PATH | os.O_NOFOLLOW)",
        "os.truncate(shared, 0)",
        "os.chmod(shared, 0)",
        "os.utime(shared)",
        "os.unlink(shared)",
        "os.rename(shared, '/tmp/mine')",
        "os.mkdir(drop + '/made')",
        "os.rmdir(drop)",
        "os.mkfifo(drop + '/fifo')",
        "os.listdir(drop)",
        "os.stat('../../../../../etc/passwd')",
        "os.stat('/tmp/../../etc/passwd')",
    ],
)
def test_what_is_not_in_the_view_is_not_there(expression, outside):
    source = f"""
def die():
    raise FileNotFoundError
try:
    {expression}
    told = 'done'
except OSError as error:
    told = type(error).__name__
told
"""
    inputs = outside.inputs()
    assert value_of(source, inputs) == "FileNotFoundError"
    gone = {**inputs, "secret": "/no/such/file", "shared": "/no/file"}
    gone["drop"] = "/no"
    assert value_of(source, gone) == "FileNotFoundError"
    assert outside.shared.read_text() == "precious"


# Without the handler, as native code may.
RAW = """
MARK = 0x6d61726b65642121
def raw(name, *arguments):
    padded = (*arguments, 0, 0, 0, 0, 0)[:5]
    return answer(NR[name], *padded, MARK)
AT = -100
"""


@pytest.mark.parametrize(
    "call",
    [
        "raw('openat', AT, secret, os.O_RDONLY)",
        "raw('openat', AT, shared, os.O_WRONLY | os.O_TRUNC)",
        "raw('openat', AT, shared, os.O_RDONLY | os.O_TRUNC)",
        "raw('openat', AT, mine, os.O_RDONLY | os.O_TRUNC)",
        "raw('openat', AT, mine, os.O_WRONLY)",
        "raw('openat', AT, secret, os.O_PATH)",
        "raw('openat', AT, mine, os.O_PATH)",
        "raw('openat', AT, b'/tmp', os.O_TMPFILE | os.O_RDWR, 0o600)",
        "raw('openat', AT, b'.', os.O_TMPFILE | os.O_RDWR, 0o600)",
        "raw('unlinkat', AT, shared, 0)",
        "raw('unlinkat', AT, drop, 0x200)",
        "raw('renameat2', AT, shared, AT, drop + b'/other', 1)",
        "raw('mkdirat', AT, drop + b'/made', 0o700)",
        "raw('mknodat', AT, drop + b'/fifo', 0o10600, 0)",
        "raw('mknodat', AT, b'device', 0o20600, 0x0103)",
        "raw('newfstatat', AT, secret, bytes(256), 0)",
        "raw('fchmodat', AT, shared, 0)",
        "raw('fchownat', AT, shared, 1, 1, 0)",
        "raw('linkat', AT, shared, AT, b'link', 0)",
        "raw('symlinkat', shared, AT, b'link')",
        "raw('statx', AT, secret, 0, 0xfff, bytes(256))",
        "raw('utimensat', AT, shared, 0, 0)",
        "raw('truncate', shared, 0)",
        "raw('uname', bytes(400)) or 1",
        "raw('capget', bytes(8), bytes(24))",
    ],
)
def test_the_mark_is_no_privilege(call, outside):
    encoded = "; ".join(
        f"{name} = {name}.encode()"
        for name in ("secret", "shared", "drop", "mine")
    )
    inputs = {**outside.inputs(), "mine": os.__file__}
    before = os.stat(outside.shared), os.stat(os.__file__)
    value = value_of(
        f"{RAW}\n{encoded}\nopen('a', 'w').close()\n{call}", inputs
    )
    assert value != 0
    after = os.stat(outside.shared), os.stat(os.__file__)
    for one, other in zip(before, after, strict=True):
        assert (one.st_mtime_ns, one.st_size, one.st_mode) == (
            other.st_mtime_ns,
            other.st_size,
            other.st_mode,
        )


def test_native_code_can_tell_whether_there_is_a_file(outside):
    """What SECURITY.rst admits: that, and no more."""
    source = (
        RAW
        + """
[raw('openat', AT, path.encode(), 0) for path in (secret, '/no/such/file')]
"""
    )
    assert value_of(source, outside.inputs()) == ["EACCES", "ENOENT"]


@pytest.mark.parametrize(
    "call",
    [
        "answer(NR['kill'], host_pid, 0)",
        "answer(NR['kill'], -1, 0)",
        "answer(NR['kill'], 1, 0)",
        "answer(NR['tgkill'], host_pid, host_pid, 0)",
        "answer(NR['tkill'], host_pid, 0)",
        "answer(NR['getpgid'], host_pid)",
        "answer(NR['getsid'], host_pid)",
        "answer(NR['getpriority'], 0, host_pid)",
        "answer(NR['getpriority'], 2, 0)",
        "answer(NR['sched_getaffinity'], host_pid, 128, bytes(128))",
        "answer(NR['sched_getscheduler'], host_pid)",
        "answer(NR['sched_getparam'], host_pid, bytes(8))",
        "answer(NR['prlimit64'], host_pid, 7, 0, bytes(16))",
        "answer(NR['clock_gettime'], (~host_pid << 3) | 2, bytes(16))",
        "answer(NR['clock_getres'], (~host_pid << 3) | 2, bytes(16))",
        "answer(NR['timer_create'], (~host_pid << 3) | 2, 0, bytes(8))",
        "answer(NR['process_vm_readv'], host_pid, 0, 0, 0, 0, 0)",
        "answer(NR['ptrace'], 16, host_pid, 0, 0)",
        "answer(NR['pidfd_open'], host_pid, 0)",
        "answer(NR['prctl'], 1, 0)",
        "answer(NR['prctl'], 4, 1)",
        "answer(NR['shmget'], 0, 4096, 0o1600)",
        "answer(NR['mq_open'], b'x', 0, 0, 0)",
        "answer(NR['keyctl'], 0, -3, 0)",
        "answer(NR['sysinfo'], bytes(256))",
        "answer(NR['setpgid'], 0, host_pid)",
        "answer(NR['ioprio_get'], 1, host_pid)",
        "answer(NR['get_robust_list'], host_pid, bytes(8), bytes(8))",
        "answer(NR['kcmp'], host_pid, os.getpid(), 0, 0, 0)",
    ],
)
def test_other_processes_are_out_of_reach(call):
    assert isinstance(value_of(call, {"host_pid": os.getpid()}), str)


def test_cannot_change_attributes_of_the_installation(tmp_path):
    source = """
os.chmod(mine, 0), os.utime(mine, (1, 1))
with open(mine) as file:
    os.fchmod(file.fileno(), 0), os.utime(file.fileno(), (1, 1))
"""
    before = os.stat(os.__file__)
    value_of(source, {"mine": os.__file__})
    after = os.stat(os.__file__)
    assert (before.st_mode, before.st_mtime) == (after.st_mode, after.st_mtime)


def test_cannot_tell_host_by_name_or_parent():
    source = "(os.getppid(), os.uname().nodename, os.getcwd())"
    assert value_of(source) == (0, "sandbox", "/tmp")


def test_cannot_learn_who_locks_a_file(outside):
    import fcntl

    mine = os.__file__
    with open(mine, "rb") as file:
        fcntl.lockf(file, fcntl.LOCK_SH)
        source = """
import fcntl, struct
with open(mine, 'rb') as file:
    asked = struct.pack('hhqqi', fcntl.F_WRLCK, 0, 0, 0, 0)
    got = struct.unpack('hhqqi', fcntl.fcntl(file, fcntl.F_GETLK, asked))
got[0], got[4]
"""
        assert value_of(source, {"mine": mine}) == (2, 0)


def test_has_no_capability_and_is_undumpable():
    source = """
import ctypes
libc = ctypes.CDLL(None)
[libc.prctl(n, 0, 0, 0, 0) for n in (3, 39, 21)]
"""
    assert value_of(source) == [0, 1, 2]


# --- what honest programs do -------------------------------------------------


def test_works_with_files_in_tmp():
    source = """
import shutil, tempfile, pathlib
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, 'a', 'b')
    path.parent.mkdir()
    path.write_text('one')
    path.rename(path.with_name('c'))
    os.replace(shutil.copy(path.with_name('c'), path), path.with_name('c'))
    os.truncate(path.with_name('c'), 2)
    os.chmod(path.with_name('c'), 0o600)
    os.utime(path.with_name('c'))
    os.chdir(path.parent)
    found = os.getcwd() == str(path.parent), os.listdir(), open('c').read()
    size = os.stat('c').st_size, os.path.getsize(path.with_name('c'))
    os.chdir('/tmp')
    walked = sum(len(files) for _, _, files in os.walk(folder))
    tempfile.TemporaryFile().write(b'x')
found, size, walked, os.listdir('/tmp'), os.path.realpath('.')
"""
    assert value_of(source) == (
        (True, ["c"], "on"),
        (2, 2),
        1,
        [],
        "/tmp",
    )


def test_names_that_are_taken():
    source = """
open('a', 'w').write('a'), open('b', 'w').write('bb'), os.mkdir('d')
errors = []
for call in ("os.rename('a', 'd')", "os.rename('d', 'a')", "os.unlink('d')",
             "os.rmdir('a')", "os.mkdir('d')", "os.link('a', 'x')",
             "os.rename('none', 'a')", "os.open('a', os.O_CREAT|os.O_EXCL)"):
    try:
        eval(call)
    except OSError as error:
        errors.append(type(error).__name__)
file = open('b')
os.rename('a', 'b')
os.mkdir('e'), os.rename('d', 'e')
errors, open('b').read(), file.read(), sorted(os.listdir())
"""
    assert value_of(source) == (
        [
            "IsADirectoryError",
            "NotADirectoryError",
            "IsADirectoryError",
            "NotADirectoryError",
            "FileExistsError",
            "PermissionError",
            "FileNotFoundError",
            "FileExistsError",
        ],
        "a",
        "bb",
        ["b", "e"],
    )


def test_the_installation_is_there_and_read_only():
    source = """
def denied(call, *arguments):
    try:
        call(*arguments)
    except PermissionError:
        return True
folder = os.path.dirname(os.__file__)
(
    os.path.isdir(folder), 'os.py' in os.listdir(folder),
    os.stat(os.__file__).st_size > 0, os.access(os.__file__, os.R_OK),
    os.access(os.__file__, os.W_OK), denied(open, os.__file__, 'a'),
    denied(os.mkdir, folder + '/x'), denied(os.unlink, os.__file__),
    os.path.isdir('/usr'), os.path.realpath(os.__file__) == os.__file__,
)
"""
    yes = True
    assert value_of(source) == (yes, yes, yes, yes, False, *[yes] * 5)


def test_threads_trap_too():
    source = """
from concurrent.futures import ThreadPoolExecutor
def work(number):
    for turn in range(50):
        with open(f'/tmp/{number}', 'w') as file:
            file.write(str(turn))
        os.stat(f'/tmp/{number}')
        os.unlink(f'/tmp/{number}')
    return number
with ThreadPoolExecutor(8) as pool:
    total = sum(pool.map(work, range(8)))
total, os.listdir('/tmp')
"""
    assert value_of(source) == (28, [])


def test_can_signal_itself():
    source = """
import signal
got = []
signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
os.kill(os.getpid(), signal.SIGUSR1)
signal.raise_signal(signal.SIGUSR1)
got
"""
    assert value_of(source) == [1, 1]


@pytest.mark.parametrize(
    "source",
    [
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
        "[signal.signal(n, print) for n in signal.valid_signals() - {9, 19}]",
    ],
)
def test_programs_that_block_or_take_every_signal(source):
    after = "os.path.exists('/etc/passwd'), os.path.isdir('/tmp')"
    assert value_of(f"import signal\n{source}\n{after}") == (False, True)


def test_blocked_signals_wait():
    source = """
import signal
got = []
signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
os.kill(os.getpid(), signal.SIGUSR1)
early = list(got)
now = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
early, got, list(before), [int(each) for each in now]
"""
    assert value_of(source) == ([], [1], [], [10])


# --- scratch -----------------------------------------------------------------


def spots():
    """Return what lies in the directories of runs of this process."""
    return [
        name
        for base in scratches._bases.values()
        for name in os.listdir(base.path)
    ]


def limit_of(result):
    assert isinstance(result.error, csandbox.LimitError), result
    return result.error.limit


FILL = """
import time
for number in range(1000):
    with open(f'/tmp/{number}', 'wb') as file:
        file.write(bytes(1 << 20))
    %s
time.sleep(30)
"""


@pytest.mark.parametrize("then", ["", "os.unlink(file.name)"])
def test_scratch_is_bounded(then):
    held = FILL % (f"held = open(file.name); {then}" if then else "")
    kept = held.replace("held =", "globals()[f'h{number}'] =")
    result = run_guest(kept, scratch="8M", timeout=30)
    assert limit_of(result) == "scratch"
    assert result.usage.wall < 10
    assert not spots()


def test_scratch_is_bounded_in_one_file():
    source = """
try:
    with open('/tmp/x', 'wb') as file:
        file.seek(200 << 20)
        file.write(b'x')
except OSError as error:
    number = error.errno
number
"""
    assert value_of(source, scratch="1M", result="1M") == errno.EFBIG


def test_many_small_files_are_bounded():
    source = """
import time
for number in range(10**6):
    open(f'/tmp/{number}', 'w').close()
"""
    assert limit_of(run_guest(source, scratch="64K", timeout=30)) == "scratch"


def test_room_that_is_only_asked_for_is_not_taken():
    """posix_fallocate() could take a disk before anybody looks."""
    source = """
def grown(size):
    with open('/tmp/x', 'ab') as file:
        os.posix_fallocate(file.fileno(), 0, size)
    info = os.stat('/tmp/x')
    return info.st_size, info.st_blocks
[grown(1 << 20), grown(1 << 10)]
"""
    assert value_of(source) == [(1 << 20, 0), (1 << 20, 0)]


def test_files_are_so_few_that_the_host_can_remove_them_in_time():
    source = """
number = 0
while True:
    number += 1
    open(f'/tmp/{number}', 'w').close()
"""
    began = time.monotonic()
    result = run_guest(source, scratch="4G", memory="8G", timeout=30)
    assert limit_of(result) == "scratch"
    assert time.monotonic() - began < 15


def test_one_run_knows_no_directory_of_another():
    source = (
        RAW
        + """
room = ctypes.create_string_buffer(4096)
raw('getcwd', room, 4096)
room.value.decode()
"""
    )
    places = {pathlib.PurePath(value_of(source)).parent for _ in range(3)}
    assert len(places) == 3
    assert all(len(place.name) > 12 for place in places), places


def test_deep_trees_are_bounded_and_removed():
    source = """
import time
for number in range(3000):
    os.mkdir('d'); os.chdir('d')
time.sleep(30)
"""
    assert limit_of(run_guest(source, timeout=30)) == "scratch"
    assert not spots()


def test_files_that_were_closed_and_unlinked_do_not_count():
    source = """
for number in range(64):
    with open('/tmp/x', 'wb') as file:
        file.write(bytes(1 << 20))
    os.unlink('/tmp/x')
    import time; time.sleep(0.01)
'done'
"""
    assert value_of(source, scratch="8M") == "done"


def test_odd_modes_and_links_are_removed(tmp_path):
    (tmp_path / "kept").write_text("precious")
    source = """
os.umask(0)
os.mkdir('closed', 0); os.mkdir('half'); os.mkdir('half/x', 0o500)
os.mkdir('full'); os.mkdir('full/inner'); open('full/inner/x', 'w').close()
os.open('file', os.O_CREAT | os.O_WRONLY, 0)
os.mkfifo('fifo')
"""
    run_guest(source).unwrap()
    assert not spots()
    base = next(iter(scratches._bases.values()))
    hostile = pathlib.Path(base.path, "hostile")
    hostile.mkdir()
    (hostile / "link").symlink_to(tmp_path)
    deep = hostile
    for _ in range(40):
        deep = deep / "d"
        deep.mkdir()
        (deep / "link").symlink_to(tmp_path)
        (deep / "file").touch()
    deep.chmod(0o500)
    deep.parent.chmod(0o100)
    csandbox._csandbox.clear_directory(base.fd, "hostile")
    assert not hostile.exists()
    assert (tmp_path / "kept").read_text() == "precious"


def test_the_umask_of_the_host_is_not_that_of_its_directory():
    program = """
import os, hosts, support
os.umask(0o177)
source = "open('/tmp/x', 'w').write('ab'), os.umask(0)"
hosts.show(support.run_guest(source, bare=True).unwrap())
"""
    assert hosts.run(program) == [2, 0o022]


def test_no_scratch():
    source = """
try:
    open('/tmp/x', 'w')
except OSError as error:
    told = type(error).__name__
told
"""
    assert value_of(source, scratch=0) == "FileNotFoundError"


def test_nowhere_to_write(monkeypatch, tmp_path):
    run_guest("1")
    monkeypatch.setattr(scratches, "_bases", {})
    monkeypatch.setattr(scratches, "_MEMORY", str(tmp_path / "none"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "neither"))
    with pytest.raises(csandbox.UnavailableError, match="scratch=0") as caught:
        run_guest("1")
    assert caught.value.step == "scratch"
    assert value_of("1", scratch=0) == 1


def test_what_a_killed_host_left_is_swept(tmp_path):
    left = tmp_path / "csandbox-0123456789abcdef"
    (left / "run-1" / "tmp").mkdir(parents=True)
    (left / "run-1" / "tmp" / "x").touch()
    scratches._sweep(str(tmp_path))
    assert not left.exists()


def test_what_a_living_host_has_is_not_swept(tmp_path):
    base = scratches._Base(str(tmp_path), 0o700)
    scratches._sweep(str(tmp_path))
    assert os.path.isdir(base.path)
    base.remove()
    assert not os.listdir(tmp_path)


# --- who it is ---------------------------------------------------------------


def test_each_run_is_a_user_of_its_own_if_there_are_any_to_give():
    first, second = (run_guest("os.getresuid()") for _ in range(2))
    assert first.value == (first.isolation.uid,) * 3
    told = "own user id" in first.isolation.mechanisms
    if scratches._own_uids():
        assert told
        assert first.value != second.value != (0, 0, 0)
        assert value_of("os.getresgid(), os.getgroups()")[1] == []
    else:
        assert not told
        assert first.isolation.uid == os.getuid()


def test_start_by_a_fork_of_the_host():
    source = "import os; (os.getcwd(), os.path.exists('/etc/passwd'))"
    assert value_of(source, start="fork", allow_threads=True) == (
        "/tmp",
        False,
    )
    assert not spots()


# --- supervision and endings -------------------------------------------------


def test_endings_are_told_apart():
    assert value_of("1 + 1") == 2
    error = run_guest("1 / 0").error
    assert isinstance(error, csandbox.GuestError)
    assert isinstance(
        run_guest("import time; time.sleep(60)", timeout=0.3).error,
        csandbox.TimeLimitError,
    )
    spin = run_guest("while True: pass", cpu_time=0.3, timeout=20)
    assert limit_of(spin) == "cpu_time"
    eat = "x = []\nwhile True: x.append(bytearray(1 << 20))"
    memory = run_guest(eat, memory="64M").error
    assert isinstance(memory, csandbox.MemoryLimitError | csandbox.GuestError)
    crash = run_guest("import ctypes; ctypes.string_at(0)").error
    assert isinstance(crash, csandbox.GuestCrash)
    assert crash.signal == signal.SIGSEGV
    assert run_guest("raise SystemExit(3)").exit_code == 3


def test_threads_are_bounded():
    source = """
import threading, time
def start():
    try:
        threading.Thread(target=time.sleep, args=(20,), daemon=True).start()
    except RuntimeError:
        return False
    return True
count = sum(start() for _ in range(40))
time.sleep(5)
count
"""
    result = run_guest(source, threads=4)
    if result.error is None:
        assert result.value <= 4
    else:
        assert limit_of(result) == "threads"


def test_processes_are_refused():
    with pytest.raises(csandbox.UnavailableError, match="processes=0"):
        run_guest("1", processes=2)


def test_cannot_fork():
    assert value_of("answer(NR['clone'], 17, 0, 0, 0, 0)") == "EPERM"


def test_the_end_of_the_zygote_ends_its_cells():
    seen = []

    def sink(_, chunk):
        if not seen:
            seen.append(int(chunk))
            os.kill(zygote_pid(), signal.SIGKILL)

    source = "import time; print(os.getpid(), flush=True); time.sleep(60)"
    began = time.monotonic()
    result = run_guest(source, sink=sink)
    assert isinstance(result.error, csandbox.UnavailableError)
    assert time.monotonic() - began < 10
    assert is_gone(seen[0])
    assert value_of("1 + 1") == 2
    assert not spots()


def zygote_pid():
    bare = support.template(bare=True)
    return zygotes._registry.zygotes[bare].pid


def is_gone(pid):
    """Whether it ends soon; as PID 1 this process may have its zombie."""
    for _ in range(200):
        if hosts.state(pid) == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def open_to_all():
    """A directory in which no other host sweeps, nor has any."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        os.chmod(place, 0o711)  # runs may have users of their own
        yield place


HOST = """
import os, sys, threading
sys.path[:0] = sys.argv[1:3]
import support
from csandbox import scratches
scratches._MEMORY = sys.argv[3]  # where no other host sweeps
def sink(_, chunk):
    pid = next(iter(support.zygotes._registry.zygotes.values())).pid
    os.write(1, b"%d %s" % (pid, chunk))
    for base in scratches._bases.values():
        os.write(1, base.path.encode() + b"\\n")
support.run_guest(
    "import time; print(os.getpid(), flush=True); time.sleep(60)",
    sink=sink, bare=True,
)
"""


def test_the_end_of_the_host_ends_zygote_and_cells(open_to_all):
    tests = os.path.dirname(__file__)
    host = subprocess.Popen(
        [
            *(sys.executable, "-c", HOST),
            *(os.path.dirname(tests), tests, open_to_all),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    zygote, cell = map(int, host.stdout.readline().split())
    base = host.stdout.readline().strip()
    host.kill()
    host.wait()
    host.stdout.close()
    assert is_gone(zygote)
    assert is_gone(cell)
    assert os.path.isdir(base)
    scratches._sweep(os.path.dirname(base))
    assert not os.path.exists(base)


GIVES_UP_ROOT = """
import os, sys
import csandbox
def value():
    return csandbox.run("open('/tmp/x', 'w').close(); 1")
found = [value()]
pid = os.fork()
if not pid:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    os._exit(value())
found.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
os.setgroups([]); os.setgid(65534); os.setuid(65534)
found.append(value())
assert found == [1, 1, 1], found
"""


@pytest.mark.parametrize("outer", [(), ("--no-pidfd",)])
def test_a_host_may_give_up_root(outer):
    """As servers do, before or after their first run."""
    if not scratches._own_uids():
        return  # then there is nothing to give up, or nobody could go on
    here = pathlib.Path(__file__).parent
    program = [sys.executable, "-c", GIVES_UP_ROOT]
    done = subprocess.run(
        [sys.executable, here / "outer.py", *outer, *program],
        env={**os.environ, "PYTHONPATH": f"{here}:{here.parent}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    # What only root could remove: the next root does.
    for parent in scratches._parents():
        scratches._sweep(parent)


LEAVES = """
import multiprocessing, os, csandbox
from csandbox import scratches, tiers, zygotes
real = zygotes.build_plan
def run():
    template = zygotes.Template(mechanisms=BARE)
    return csandbox.sandbox._execute(*job(), template=template)
def job():
    from csandbox import jobs
    job, cargo, policy = jobs.prepare("1", (), None, None, None, None, {})
    return {**job, "on_unsupported": "error"}, cargo, b"", policy
import csandbox.sandbox
run()
base, = scratches._bases.values()
worker = multiprocessing.get_context("fork").Process(target=run)
worker.start()
worker.join()
after_worker = os.listdir(base.parent)
if os.fork() == 0:
    run()
    os._exit(0)
os.wait()
"""


def test_workers_and_forks_leave_no_directory(open_to_all):
    """They end by _exit(): multiprocessing is asked, the rest is swept."""
    program = f"""
from csandbox import scratches
scratches._MEMORY = {open_to_all!r}
BARE = {support.BARE}
{LEAVES}
import hosts
hosts.show(len(after_worker))
"""
    assert hosts.run(program) == 1
    assert os.listdir(open_to_all) == []


def test_a_hundred_runs_at_once():
    values = []

    def work(number):
        source = f"open('/tmp/x', 'w').write('{number}'); open('x').read()"
        values.append(int(value_of(source)))

    workers = [
        threading.Thread(target=work, args=(number,)) for number in range(100)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(values) == list(range(100))
    assert not spots()
