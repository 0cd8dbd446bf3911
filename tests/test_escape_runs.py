"""One run reaches no other: not one beside it, not one after it."""

import os
import threading

import pytest

import csandbox
import support
from support import LANDLOCK, NETNS, SECCOMP


class Stop(Exception):
    """Ends the first run."""


class Neighbour:
    """A run that stays until it is told to go; a context manager."""

    STAY = """
import time
sys.stdout.flush()
while True:
    os.write(1, b'.')
    time.sleep(0.01)
"""

    def __init__(self, source, inputs=None, without=()):
        self.arguments = (source + self.STAY, inputs)
        self.without = without
        self.ready = threading.Event()
        self.leave = threading.Event()
        self.problem = None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            result = support.run_guest(
                *self.arguments, without=self.without, sink=self.sink
            )
            self.problem = result.error
        except Stop:
            pass
        finally:
            self.ready.set()

    def sink(self, stream, chunk):
        self.ready.set()
        if self.leave.is_set():
            raise Stop

    def __enter__(self):
        support.template(self.without)
        self.thread.start()
        self.ready.wait()
        return self

    def __exit__(self, *details):
        self.leave.set()
        self.thread.join()
        assert self.problem is None, self.problem


FUTEX = """
import csv
file = os.open(csv.__file__, os.O_RDONLY)
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
word = libc.mmap(None, 4096, 1, 1, file, ctypes.c_long(0))  # MAP_SHARED
value = ctypes.c_int.from_address(word).value
"""
# What one does, and what another would see of it; the layers between them.
CHANNELS = {
    "a futex on a file that both see": (
        FUTEX
        + """
import threading
wait = lambda: answer('futex', word, 0, value, 0, 0, 0)
threading.Thread(target=wait).start()
""",
        FUTEX
        + """
import time
end, woken = time.monotonic() + patience, 0
while not woken and time.monotonic() < end:
    woken = syscall('futex', word, 1, 1, 0, 0, 0)  # not private
woken
""",
        {SECCOMP},
    ),
    "abstract sockets": (
        """
import socket
listener = socket.socket(socket.AF_UNIX)
listener.bind('\\0' + token)
listener.listen()
""",
        """
import socket
socket.socket(socket.AF_UNIX).connect('\\0' + token) is None
""",
        {LANDLOCK, SECCOMP},
    ),
    "loopback": (
        """
import socket
listener = socket.socket()
listener.bind(('127.0.0.1', 40123))
listener.listen()
""",
        """
import socket
socket.socket().connect(('127.0.0.1', 40123)) is None
""",
        {NETNS, LANDLOCK, SECCOMP},  # between two runs, that is not set up
    ),
    "file locks": (
        """
import csv, fcntl
file = open(csv.__file__)
try:
    fcntl.flock(file, fcntl.LOCK_EX)
except OSError:
    pass
""",
        """
import csv, fcntl
try:
    fcntl.flock(open(csv.__file__), fcntl.LOCK_EX | fcntl.LOCK_NB)
    seen = False
except BlockingIOError:
    seen = True
seen
""",
        {SECCOMP},
    ),
    "record locks": (
        """
import csv, fcntl
file = open(csv.__file__)
fcntl.lockf(file, fcntl.LOCK_SH)
""",
        """
import csv, fcntl
lock = fcntl.fcntl(open(csv.__file__), fcntl.F_GETLK,
                   struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))
struct.unpack_from('h', lock)[0] != fcntl.F_UNLCK
""",
        {SECCOMP},
    ),
    "open file description locks": (
        """
import csv, fcntl
file = open(csv.__file__)
try:
    fcntl.fcntl(file, 37, struct.pack('hhqqi4x', 0, 0, 0, 0, 0))
except OSError:
    pass
""",
        """
import csv, fcntl
lock = fcntl.fcntl(open(csv.__file__), fcntl.F_GETLK,
                   struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))
struct.unpack_from('h', lock)[0] != fcntl.F_UNLCK
""",
        {SECCOMP},
    ),
}


@pytest.mark.parametrize(
    ("leave", "look", "layers"), CHANNELS.values(), ids=CHANNELS
)
def test_cannot_reach_the_run_beside_it(leave, look, layers):
    inputs = {"token": "between-runs", "patience": 10}
    attack = support.Attack(look, *layers)
    with Neighbour(leave, inputs, layers):
        assert attack.succeeds(inputs, layers), "it fails without layers"
    inputs["patience"] = 0.1
    for without in [*(layers - {each} for each in layers), set()]:
        # The one beside it need not succeed in its part.
        tolerant = f"try:\n exec({leave!r}, globals())\nexcept OSError: pass\n"
        with Neighbour(tolerant, inputs, without):
            assert not attack.succeeds(inputs, without), without


LEAVE = """
import signal, socket, time
for directory in ('/tmp', '/dev/shm', '/', '/var/tmp', '/usr/lib'):
    try:
        open(f'{directory}/{token}', 'w').write(token)
    except OSError:
        pass
try:
    os.mkfifo('/tmp/fifo')
except OSError:
    pass
for call in (
    ('shmget', 4321, 4096, 0o1666),
    ('semget', 4321, 1, 0o1666),
    ('msgget', 4321, 0o1666),
    ('mq_open', ctypes.c_char_p(token.encode()), 0o102, 0o666, 0),
    ('add_key', ctypes.c_char_p(b'user'), ctypes.c_char_p(token.encode()),
     ctypes.c_char_p(b'y'), 1, -3),
):
    answer(*call)
os.environ[token] = 'x'
sys.path.append(token)
import builtins
builtins.left = token
"""
LOOK = """
import builtins
found = [
    f'{directory}/{name}'
    for directory in ('/tmp', '/dev', '/')
    for name in os.listdir(directory)
    if name == token or name == 'fifo'
]
for call in (
    ('shmget', 4321, 4096, 0),
    ('semget', 4321, 1, 0),
    ('msgget', 4321, 0),
    ('mq_open', ctypes.c_char_p(token.encode()), 0, 0, 0),
):
    if isinstance(answer(*call), int):
        found.append(call[0])
if token in os.environ or token in sys.path or hasattr(builtins, 'left'):
    found.append('interpreter')
found
"""


@pytest.mark.parametrize(
    "without", [set(), {SECCOMP}, {SECCOMP, LANDLOCK}], ids=str
)
def test_finds_nothing_of_a_run_beside_or_before(without):
    # Each cell has its own IPC namespace, /tmp and memory, in every
    # configuration; the look is shown to find what its own run left.
    inputs = {"token": "left-by-a-run"}
    own = support.value_of(LEAVE + LOOK, inputs, without=without)
    assert {"/tmp/left-by-a-run", "/tmp/fifo", "interpreter"} <= set(own)
    if SECCOMP in without:
        assert {"shmget", "semget", "msgget"} <= set(own)
    with Neighbour(LEAVE, inputs, without):
        assert support.value_of(LOOK, inputs, without=without) == []
    assert support.value_of(LOOK, inputs, without=without) == []


def test_cannot_find_or_signal_the_run_beside_it():
    source = """
found = []
for pid in range(1, 300):
    for call in (('kill', pid, 0), ('kill', pid, 9), ('tgkill', pid, pid, 9)):
        if pid != 2 and answer(*call) not in ('EPERM', 'ESRCH'):
            found.append(pid)
sorted(set(found))
"""
    for without in ((), {SECCOMP}, {SECCOMP, LANDLOCK}):
        with Neighbour("", without=without):
            found = support.value_of(source, without=without)
        # At most its own init, which is immune to it.
        assert found == ([1] if LANDLOCK in without else [])


def test_two_runs_at_once_do_not_share_scratch():
    source = "os.listdir('/tmp'), open('/tmp/x', 'x').write('1')"
    with Neighbour("open('/tmp/x', 'x').write('2')\n"):
        assert support.value_of(source)[1] == 1
    # There is nowhere else to share.
    assert not support.value_of("os.path.exists('/dev/shm')")


def test_randomness_is_not_shared():
    source = """
import random, ssl, uuid
[random.random(), os.urandom(8), ssl.RAND_bytes(8), str(uuid.uuid4()),
 str(uuid.uuid1()), __import__('tempfile').mktemp()]
"""
    for preload in ((), ("random", "ssl", "uuid", "tempfile")):
        policy = csandbox.Policy(preload=preload)
        runs = [
            csandbox.run("import os\n" + source, policy=policy)
            for _ in range(3)
        ]
        for values in zip(*runs, strict=True):
            assert len(set(values)) == 3


def test_a_crash_beside_it_does_not_hurt():
    with Neighbour(""):
        for source in ("os.abort()", "os._exit(3)", "ctypes.string_at(0)"):
            assert support.run_guest(source).error is not None
        assert support.value_of("1 + 1") == 2


def test_descriptors_are_not_those_of_another_run():
    source = "sorted(os.fstat(n).st_ino for n in range(4))"
    first = support.value_of(source)
    with Neighbour("print(sorted(os.fstat(n).st_ino for n in range(4)))"):
        second = support.value_of(source)
    assert set(first).isdisjoint(second)
    assert os.getpid() > 2
