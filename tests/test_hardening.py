"""What hostile readings of the boundary found, kept closed."""

import errno
import hashlib
import io
import json
import os
import signal
import ssl
import struct
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from shutil import rmtree

import pytest

import csandbox
import hosts
import support
from csandbox import _csandbox, cli, zygotes
from csandbox.errors import GuestCrash, ResultError
from support import SECCOMP, X86, Attack
from test_escape_memory import SCANNER

PACKAGE = Path(csandbox.__file__).parent.parent


class Armed:
    """A sink that knows when the guest has printed something."""

    def __init__(self):
        self.event = threading.Event()
        self.text = b""

    def __call__(self, stream, chunk):
        self.text += chunk
        self.event.set()


@contextmanager
def beside(source, **options):
    """Run a guest that prints when it is ready; yields (sink, future)."""
    armed = Armed()
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(support.run_guest, source, sink=armed, **options)
        run.add_done_callback(lambda _: armed.event.set())
        assert armed.event.wait(60)
        yield armed, run


# --- threads and descriptors -------------------------------------------------

if X86:
    # A thread that ends at once, made by hand: libc's syscall() returns on
    # the new stack, to what lies on top of it.  The kernel clears the word.
    MAKE_THREAD = """
import time
stack = mmap.mmap(-1, 65536, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, 3)
end = code(bytes.fromhex('b83c000000' '31ff' '0f05'))  # exit(0)
def make_thread(flags):
    top = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + 65536 - 64
    at = ctypes.cast(end, ctypes.c_void_p).value
    ctypes.c_void_p.from_address(top).value = at
    word = ctypes.c_int(1)
    flags |= 0x200000  # CLONE_CHILD_CLEARTID
    syscall('clone', flags, top, 0, ctypes.byref(word), 0)
    for _ in range(1000):
        if word.value == 0:
            return True
        time.sleep(0.01)
    return False
"""
    # CLONE_VM, SIGHAND and THREAD, and what else a thread shares.
    CORE, FILES, FS, SYSVSEM = 0x10900, 0x400, 0x200, 0x40000
    SHARED = CORE | FILES | FS | SYSVSEM

    @pytest.mark.parametrize(
        "flags",
        [CORE, *(SHARED & ~each for each in (FILES, FS, SYSVSEM))],
        ids=["nothing", "descriptors", "directory", "semaphores"],
    )
    def test_cannot_make_a_thread_that_has_something_of_its_own(flags):
        Attack(f"{MAKE_THREAD}\nmake_thread({flags})", SECCOMP).check()
        source = f"""
[answer('clone', {flags} | more, 0, 0, 0, 0)
 for more in (0, 1 << 32, 0x80000, 0x1000000)]
"""
        assert set(support.value_of(source)) == {"EPERM"}

    def test_can_make_a_thread_that_shares_everything():
        source = f"""{MAKE_THREAD}
[make_thread({SHARED}), make_thread({SHARED} | 0x1000000 | 1 << 33)]
"""
        assert support.value_of(source) == [True, True]


def test_has_256_descriptors_whatever_its_threads_are():
    source = """
import threading
found = []
def take():
    while True:
        try:
            found.append(os.dup(0))
        except OSError as error:
            assert error.errno == errno.EMFILE
            break
for thread in [threading.Thread(target=take) for _ in range(8)]:
    thread.start()
    thread.join()
take()
[len(set(found)), max(found), answer('fcntl', 0, 0, 256)]
"""
    # Beside 0 to 2, the pipes of the job and the result, and the store.
    assert support.value_of(source) == [250, 255, "EINVAL"]


# --- futexes -----------------------------------------------------------------

WAKES = """
words = (ctypes.c_uint * 2)()
one = ctypes.addressof(words)
# WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAKE_BITSET; with a bit mask or what
# the word holds.
calls = ((1, 0), (3, 0), (4, 0), (5, 0), (10, 0xffffffff))
[
    [answer('futex', one, op | more, 1, 1, one + 4, last)
     for op, last in calls]
    for more in (0, 1 << 32, 128)
]
"""


def test_wakes_none_but_its_own_threads():
    refused, high, private = support.value_of(WAKES)
    assert refused == high == ["EINVAL"] * 5
    assert private == [0] * 5
    assert support.value_of(WAKES, without={SECCOMP}) == [[0] * 5] * 3


def test_wakes_its_own_threads():
    source = """
import threading, time
word = (ctypes.c_uint * 1)()
at, found = ctypes.addressof(word), []
timeout = struct.pack('2q', 30, 0)
def wait():
    found.append(answer('futex', at, 128, 0, ctypes.c_char_p(timeout), 0, 0))
thread = threading.Thread(target=wait)
thread.start()
while answer('futex', at, 128 | 1, 1, 0, 0, 0) != 1:
    time.sleep(0.01)
thread.join()
found
"""
    assert support.value_of(source) == [0]


def test_joins_a_thread_of_libc():
    # pthread_join() waits, by a futex that is not private, for the kernel;
    # where it may not, it asks again and again.
    source = """
import time
def body(argument):
    time.sleep(1.5)
    done.append(argument)
    return 7
done, thread, start = [], ctypes.c_ulong(), time.process_time()
entry = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(body)
result = ctypes.c_void_p()
_libc.pthread_join.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
[
    _libc.pthread_create(ctypes.byref(thread), None, entry,
                         ctypes.c_void_p(5)),
    _libc.pthread_join(thread.value, ctypes.byref(result)),
    result.value, done, time.process_time() - start < 0.5
]
"""
    assert support.value_of(source) == [0, 0, 7, [5], True]


def test_locks_of_threading_work():
    source = """
import queue, threading
lock, barrier = threading.Lock(), threading.Barrier(4)
condition, ready = threading.Condition(), threading.Semaphore(0)
box, count = queue.Queue(1), 0
def work(number):
    global count
    for _ in range(200):
        with lock:
            count += 1
    barrier.wait(30)
    with condition:
        ready.release()
        condition.wait(30)
    box.put(number, timeout=30)
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
for thread in threads: thread.start()
for _ in threads: ready.acquire(timeout=30)
with condition:
    condition.notify_all()
found = sorted(box.get(timeout=30) for _ in threads)
for thread in threads: thread.join()
count, found
"""
    assert support.value_of(source) == (800, [0, 1, 2, 3])


# Both map a file that every run sees.
SHARED_WORD = """
import time
_libc.mmap.restype = ctypes.c_void_p
file = os.open(os.__file__, os.O_RDONLY)
at = _libc.mmap(None, ctypes.c_size_t(4096), 1, 1, file, ctypes.c_long(0))
"""
WAIT = (
    SHARED_WORD
    + """
word = ctypes.c_uint.from_address(at).value
print('waiting', flush=True)
answer('futex', at, 0, word,
       ctypes.c_char_p(struct.pack('2q', seconds, 0)), 0, 0)
"""
)
WAKE = (
    SHARED_WORD
    + """
end, found = time.monotonic() + seconds, set()
while time.monotonic() < end and 1 not in found:
    for op, last in ((1, 0), (10, 0xffffffff), (3, 0), (5, 0)):
        found.add(answer('futex', at, op, 1, 1, at + 4, last))
    time.sleep(0.01)
found
"""
)


def test_cannot_wake_another_run_through_a_file_of_the_view():
    def wake(without, waiting, waking):
        wait = {"seconds": waiting}
        with beside(WAIT, inputs=wait, without=without) as (_, waiter):
            woken = support.value_of(
                WAKE, {"seconds": waking}, without=without
            )
            return woken, waiter.result().unwrap()

    woken, result = wake({SECCOMP}, 30, 15)  # that it could
    assert (1 in woken, result) == (True, 0)
    assert wake((), 2, 0.2) == ({"EINVAL"}, "ETIMEDOUT")


# --- what earlier runs leave in the zygote -----------------------------------

# Leaves exactly the accounts of its processes that the host is told.
SPEND = """
import time
end = time.process_time() + 0.02
while time.process_time() < end:
    pass
os._exit(status)
"""
FIND = (
    SCANNER
    + """
import random
own = random.randbytes(32)
wanted.append((own[:8], hashlib.sha256(own).digest()))
total, hits = scan(wanted)
[total, [len(each) for each in hits]]
"""
)


def accounts(result):
    """Return how the zygote noted a run's end, and the kernel before it."""
    usage = result.usage
    user, system = round(usage.user * 1e6), round(usage.system * 1e6)
    peak = usage.peak_memory // 1024
    # struct csb_status
    status = struct.pack(
        "=IiQQQ", 2, result.error.code << 8, user, system, peak
    )
    if user % 10**6 == 0:
        return [status]  # the kernel's would be too common
    return [
        status,
        # struct rusage, from the microseconds on
        struct.pack(
            "=QQQQ", user % 10**6, system // 10**6, system % 10**6, peak
        ),
    ]


def test_finds_no_account_of_earlier_runs():
    with ThreadPoolExecutor(3) as pool:
        runs = [
            pool.submit(support.run_guest, SPEND, {"status": status})
            for status in (201, 202, 203)
        ]
    found = [each for run in runs for each in accounts(run.result())]
    wanted = [(each[:8], hashlib.sha256(each).digest()) for each in found]
    total, hits = support.value_of(FIND, {"wanted": wanted}, memory="256G")
    assert total > 4 << 20
    *foreign, own = hits
    assert own > 0  # the scanner finds what is there
    assert not any(foreign)


# --- the command line --------------------------------------------------------


@pytest.fixture
def command(tmp_path, monkeypatch, capfdbinary):
    """Return a function that runs a program of these bytes by `csandbox`."""

    def run(content):
        program = tmp_path / "main.py"
        program.write_bytes(content)
        status = cli.main(["run", "--timeout=60", str(program)])
        return status, *capfdbinary.readouterr()

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    return run


@pytest.mark.parametrize(
    "cookie",
    [
        *("punycode", "idna", "rot13", "rot_13", "zlib", "bz2", "hex"),
        *("undefined", "unicode_escape", "raw_unicode_escape", "utf-7"),
        *("utf-16", "hz", "no-such-codec"),
    ],
)
def test_a_program_in_an_encoding_that_acts_is_not_decoded(command, cookie):
    source = f"# coding: {cookie}\nprint('it ran')\n".encode()
    status, out, err = command(source)
    assert (status, out) == (2, b"")
    assert err.startswith(b"csandbox: ")
    assert b"Traceback" not in err


@pytest.mark.parametrize(
    ("cookie", "codec"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("ascii", "ascii"),
        ("latin-1", "latin-1"),
        ("iso-8859-15", "iso8859-15"),
        ("cp1252", "cp1252"),
        ("koi8-r", "koi8-r"),
    ],
)
def test_a_program_in_a_plain_encoding_runs(command, cookie, codec):
    letter = {"ascii": "e", "koi8-r": "я"}.get(codec, "é")
    source = f"# coding: {cookie}\nprint(ascii('{letter}'))\n"
    status, out, err = command(source.encode(codec))
    assert (status, err) == (0, b"")
    assert out == f"{letter!a}\n".encode()


# Whatever of the standard library the command imports: none from beside the
# program.
SHADOW = "open(__file__ + '.imported', 'w').close()\nraise SystemExit(77)\n"


def test_modules_beside_the_program_are_not_imported(tmp_path):
    def start(module, *arguments, folder):
        environment = {**os.environ, "PYTHONPATH": str(folder)}
        environment.pop("PYTHONSAFEPATH", None)
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    (tmp_path / "module.py").write_text("import sys; print(*sys.modules)\n")
    before_ours = start("module", folder=tmp_path).stdout.split()
    assert "runpy" in before_ours
    for name in sys.stdlib_module_names.difference(before_ours):
        (tmp_path / f"{name}.py").write_text(SHADOW)
    (tmp_path / "main.py").write_text("print('it ran')\n")
    completed = start("csandbox", "run", "main.py", folder=PACKAGE)
    assert list(tmp_path.glob("*.imported")) == []
    assert (completed.stdout, completed.stderr) == ("it ran\n", "")


# --- the view ----------------------------------------------------------------

IN_A_PROJECT = """
import csandbox, json, os, sys
look = '''
import os, sys
found = {}
for path in paths:
    try:
        with open(path) as file:
            found[path] = file.read()
    except OSError:
        pass
found, os.listdir(prefix), sys.prefix == prefix
'''
inputs = {"paths": sys.argv[1:], "prefix": sys.prefix}
print(json.dumps(csandbox.run(look, inputs=inputs, timeout=60)))
"""


def test_a_venv_at_a_projects_root_does_not_show_the_project():
    project = Path(support.outside_of_tmp())
    try:
        subprocess.run(
            [sys.executable, "-m", "venv", "--without-pip", str(project)],
            check=True,
        )
        (package,) = project.glob("lib/*/site-packages")
        installed = package / "installed.py"
        secrets = [
            project / name
            for name in ("settings.py", "lib/settings.py", "share/key")
        ]
        secrets.append(package.parent / "beside_site_packages.py")
        for path in (installed, *secrets):
            path.parent.mkdir(exist_ok=True)
            path.write_text("of the project")
        paths = [each for each in sys.path if "site-packages" in each]
        completed = subprocess.run(
            [project / "bin" / "python", "-c", IN_A_PROJECT]
            + [str(path) for path in (installed, *secrets)],
            cwd="/",
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(PACKAGE), *paths]),
            },
            capture_output=True,
            text=True,
        )
        assert completed.returncode == 0, completed.stderr
        found, listed, same = json.loads(completed.stdout)
    finally:
        rmtree(project)
    assert same
    assert found == {str(installed): "of the project"}
    assert set(listed) <= {"bin", "lib", "pyvenv.cfg"}


def test_only_bundles_of_certificates_are_in_etc():
    source = """
found = []
for place, _, files in os.walk('/etc'):
    if 'alternatives' not in place:
        found += (os.path.join(place, file) for file in files)
found
"""
    assert set(support.value_of(source)) <= {
        "/etc/ld.so.cache",
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
        "/etc/ssl/openssl.cnf",
        "/etc/pki/tls/certs/ca-bundle.crt",
        *(
            str(path)
            for path in Path("/etc/pki/ca-trust/extracted/pem").rglob("*")
        ),
    }


def test_ssl_still_finds_the_certificates_of_the_host():
    source = """
import ssl
ssl.create_default_context().cert_store_stats()['x509_ca']
"""
    bundle = ssl.get_default_verify_paths().cafile
    here = ssl.create_default_context(cafile=bundle).cert_store_stats()
    assert support.value_of(source) == here["x509_ca"]


# --- sockets -----------------------------------------------------------------

SOCKET_OPTIONS = """
import socket
one, two = socket.socketpair()
def attempt(call, *arguments):
    try:
        call(*arguments)
        return 0
    except OSError as error:
        return errno.errorcode[error.errno]
program = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0xffff))
bpf = struct.pack('HxxxxxxQ', 1, ctypes.addressof(program))
[
    # ATTACH_FILTER, ATTACH_REUSEPORT_CBPF
    [attempt(one.setsockopt, 1, option, bpf) for option in (26, 51)],
    # ATTACH_BPF, ATTACH_REUSEPORT_EBPF, DETACH_FILTER, LOCK_FILTER,
    # PASSCRED, TIMESTAMPING, MARK, BUSY_POLL, SNDBUFFORCE, PASSPIDFD
    [attempt(one.setsockopt, 1, option, 1)
     for option in (50, 52, 27, 44, 16, 37, 36, 46, 32, 76)],
    # PEERGROUPS, PEERCRED, PEERPIDFD, PEERSEC, COOKIE, NETNS_COOKIE,
    # GET_FILTER, PEERNAME, MEMINFO
    [attempt(one.getsockopt, 1, option, 512)
     for option in (59, 17, 77, 31, 57, 71, 26, 28, 55)],
]
"""


def test_options_of_sockets_load_no_code_and_tell_nothing_of_the_host():
    answers = support.value_of(SOCKET_OPTIONS)
    assert {each for part in answers for each in part} == {"ENOPROTOOPT"}
    programs, _, told = support.value_of(SOCKET_OPTIONS, without={SECCOMP})
    assert programs[0] == told[0] == told[1] == 0  # that it could


def test_ordinary_options_of_sockets_work():
    source = """
import socket
one, two = socket.socketpair()
options = [socket.SO_REUSEADDR, socket.SO_KEEPALIVE]
for option in options:
    one.setsockopt(socket.SOL_SOCKET, option, 1)
found = [one.getsockopt(socket.SOL_SOCKET, option) for option in options]
for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
    one.setsockopt(socket.SOL_SOCKET, option, 10000)
    found.append(one.getsockopt(socket.SOL_SOCKET, option) >= 10000)
for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
    time = struct.pack('2q', 2, 0)
    one.setsockopt(socket.SOL_SOCKET, option, time)
    found.append(one.getsockopt(socket.SOL_SOCKET, option, 16) == time)
linger = struct.pack('ii', 1, 5)
one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
found.append(
    one.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == linger)
for option in (socket.SO_TYPE, socket.SO_DOMAIN, socket.SO_PROTOCOL,
               socket.SO_ERROR, socket.SO_ACCEPTCONN):
    found.append(one.getsockopt(socket.SOL_SOCKET, option))
one.sendall(b'ping')
found + [two.recv(4), one.family.name, one.type.name]
"""
    assert support.value_of(source) == [
        *(1, 1, True, True, True, True, True, 1, 1, 0, 0, 0),
        *(b"ping", "AF_UNIX", "SOCK_STREAM"),
    ]


def test_streams_of_asyncio_work():
    source = """
import asyncio, socket
async def echo(end):
    reader, writer = await asyncio.open_connection(sock=end)
    writer.write((await reader.readline()).upper())
    await writer.drain()
    writer.close()
async def main():
    one, two = socket.socketpair()
    task = asyncio.create_task(echo(two))
    reader, writer = await asyncio.open_connection(sock=one)
    writer.write(b'hello\\n')
    line = await reader.readline()
    writer.close()
    await task
    return line, await asyncio.to_thread(sum, (1, 2))
asyncio.run(main())
"""
    assert support.value_of(source) == (b"HELLO\n", 3)


def test_cannot_send_or_receive_out_of_band():
    source = """
import socket
one, two = socket.socketpair()
found = []
for call in (lambda: one.send(b'x', socket.MSG_OOB),
             lambda: two.recv(1, socket.MSG_OOB)):
    try:
        found.append(call())
    except OSError as error:
        found.append(errno.errorcode[error.errno])
found
"""
    unsupported = errno.errorcode[errno.EOPNOTSUPP]  # it has two names
    assert support.value_of(source) == ["EACCES", unsupported]
    # Without the filter it can, unless the kernel was built without it.
    without = support.value_of(source, without={SECCOMP})
    assert without in ([1, b"x"], [unsupported, "EINVAL"])


# --- the disk, huge pages ----------------------------------------------------

SYNC = """
page = mmap.mmap(-1, 4096)
at = ctypes.addressof(ctypes.c_char.from_buffer(page))
file = os.open(os.__file__, os.O_RDONLY)
[
    answer('fsync', -1), answer('fdatasync', -1), answer('msync', 1, 1, 99),
    answer('fsync', file), answer('fdatasync', file), answer('msync', at, 1, 4)
]
"""


def test_a_sync_is_done_at_once_and_does_not_reach_the_disk():
    assert support.value_of(SYNC) == [0] * 6
    without = support.value_of(SYNC, without={SECCOMP})
    assert without[:3] == ["EBADF", "EBADF", "EINVAL"]


def test_programs_that_sync_work():
    source = """
with open('/tmp/file', 'w+b') as file:
    file.write(b'x' * 8192)
    file.flush()
    os.fsync(file.fileno())
    os.fdatasync(file.fileno())
    with mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:2] = b'yy'
        mapped.flush()
    file.seek(0)
    found = file.read(4)
found
"""
    assert support.value_of(source) == b"yyxx"


def test_cannot_take_huge_pages():
    # Of no length, so that the kernel itself would say EINVAL.
    source = """
kinds = (0x40022, 0x40021, 0x40022 | 21 << 26, 0x40022 | 30 << 26)
[answer('mmap', 0, 0, 3, kind | high, -1, 0)
 for kind in kinds for high in (0, 1 << 32)]
"""
    assert set(support.value_of(source)) == {"ENOMEM"}
    assert "EINVAL" in support.value_of(source, without={SECCOMP})


# --- what it inherits --------------------------------------------------------


def test_does_not_run_ahead_as_its_host_does():
    found, nice = hosts.run(
        """
import os, csandbox, hosts
from csandbox import _csandbox
if _csandbox.is_root():
    os.nice(-7)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except OSError:
        pass  # a container without real-time scheduling
else:
    os.nice(5)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
source = '''
import os, threading
found = []
def look():
    found.append([os.sched_getscheduler(0), os.sched_getparam(0)[0],
                  os.getpriority(os.PRIO_PROCESS, 0)])
look()
thread = threading.Thread(target=look)
thread.start()
thread.join()
found
'''
hosts.show([csandbox.run(source, timeout=60),
            os.getpriority(os.PRIO_PROCESS, 0)])
"""
    )
    assert nice == (-7 if _csandbox.is_root() else 5)
    assert found == [[os.SCHED_OTHER, 0, max(nice, 0)]] * 2


def cells():
    """Return the pids, as the host sees them, of the cells there are."""
    zygote = zygotes._registry.zygotes[support.template()].pid
    found = []
    for pid in hosts.children(zygote):
        status = hosts.read(f"/proc/{pid}/status").decode()
        ids = [
            line.split()
            for line in status.splitlines()
            if line.startswith("NSpid:")
        ]
        if ids and ids[0][-1] == "2":
            found.append(pid)
    return found


@contextmanager
def cell_beside(source="print(1)"):
    """Run a guest that then sleeps; yields (what it printed, its pid)."""
    asleep = "\nimport time; time.sleep(1000)"
    zygotes.disarm()
    begun = support.template() in zygotes._registry.zygotes
    dying = cells() if begun else []
    with beside(source + asleep, timeout=2000) as (armed, run):
        # After it, one may have been armed for the next run.
        cell = next(pid for pid in cells() if pid not in dying)
        try:
            yield armed.text, cell
        finally:
            os.kill(cell, signal.SIGKILL)
        assert run.result().error.signal == signal.SIGKILL


def test_goes_before_its_host_when_memory_runs_out():
    with cell_beside() as (_, cell):
        assert hosts.read(f"/proc/{cell}/oom_score_adj") == b"1000\n"


def test_cannot_name_itself_in_the_hosts_eyes():
    source = """
import threading
name = ctypes.c_char_p(b'HOSTFAKE')
def work():
    found.append(answer('prctl', 15, name, 0, 0, 0))
found = []
thread = threading.Thread(target=work)
thread.start()
thread.join()
work()
print(found)
"""
    with cell_beside(source) as (printed, cell):
        assert printed == b"[0, 0]\n"
        comm = Path(f"/proc/{cell}/comm").read_text()
    assert "HOST" not in comm


# The strings that execve() put on the stack stand above libc's end of it.
INITIAL_STACK = """
end = ctypes.c_void_p.in_dll(_libc, '__libc_stack_end').value
reader, writer = os.pipe()
_libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
at, text = end & -4096, b''
while _libc.write(writer, at, 4096) == 4096:
    text += os.read(reader, 4096)
    at += 4096
"""


def test_finds_no_environment_of_the_host_on_its_stack():
    marker = "/csandbox-test/known-only-here"
    found = hosts.run(
        f"""
import csandbox, hosts, support
source = support.GUEST + {INITIAL_STACK!r} + '''
[b'known-only' + b'-here' in text, b'LANG' + b'=C.UTF' in text,
 b'import builtins' in text]
'''
hosts.show(csandbox.run(source, timeout=60))
""",
        env={"LD_LIBRARY_PATH": marker, "CSANDBOX_TEST_SECRET": marker},
    )
    # Its command line is there: that is the place.
    assert found == [False, False, True]


# --- values and verdicts -----------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        b"\x80\x05](" + b"\x8f" * (1 << 20) + b"e.",
        b"\x80\x05](" + b"]" * (1 << 20) + b"e.",
        b"\x80\x05](" + b"}" * (1 << 20) + b"e.",
        b"\x80\x05](" + b"(\x91" * (1 << 19) + b"e.",
    ],
    ids=["sets", "lists", "dicts", "frozensets"],
)
def test_a_value_of_empty_containers_stays_within_its_memory(payload):
    memory = 8 << 20
    tracemalloc.start()
    try:
        with pytest.raises((ValueError, MemoryError)):
            _csandbox.decode(payload, memory=memory)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < memory * 5 // 4


def test_a_result_of_empty_sets_is_refused():
    source = """
payload = b'\\x80\\x05](' + b'\\x8f' * (1 << 20) + b'e.'
frame = struct.pack('IIQQ', magic, kind, len(payload), 2**64 - 1) + payload
while frame:
    frame = frame[os.write(3, frame):]
"""
    inputs = {"magic": _csandbox.FRAME_MAGIC, "kind": _csandbox.FRAME_VALUE}
    result = support.run_guest(source, inputs, result="2M")
    assert type(result.error) is ResultError
    # An honest value crosses.
    assert len(support.value_of("[0] * 300_000", result="2M")) == 300_000


def test_a_signal_of_the_time_limit_sent_by_itself_is_a_crash():
    source = "import signal; os.kill(os.getpid(), signal.SIGXCPU)"
    error = support.run_guest(source, timeout=1000).error
    assert type(error) is GuestCrash
    assert error.signal == signal.SIGXCPU


STOPPED = """
import os, signal, sys, csandbox, hosts
from csandbox import zygotes
csandbox.run("0")
zygotes.ANSWER_SECONDS = 0.5
(zygote,) = hosts.zygotes(os.getpid())
class Stopping:
    def write(self, text): os.kill(zygote, signal.SIGSTOP)
    def flush(self): pass
real, sys.stdout = sys.stdout, Stopping()
try:
    # More than a pipe and a read of it hold: it cannot end before the stop.
    source = "print('x' * 300_000)\\n" + sys.argv[2]
    found = csandbox.run(source, timeout=1, result="4K")
except csandbox.SandboxError as error:
    found = type(error).__name__
sys.stdout = real
zygotes.ANSWER_SECONDS = 30
value = csandbox.run("2", timeout=60)
hosts.show([found, value, hosts.zygotes(os.getpid()) == [zygote]])
"""


def test_a_verdict_stands_when_the_zygote_is_stopped():
    verdicts = {
        "while True: pass": "TimeLimitError",
        "5": 5,
        "1 / 0": "GuestError",
        "'x' * 10_000": "LimitError",
    }
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(partial(hosts.run, STOPPED), verdicts))
    # And the zygote is replaced.
    assert found == [[each, 2, False] for each in verdicts.values()]
