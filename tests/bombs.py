"""Programs that want all there is of something, and what ends each.

tests/test_bombs.py runs the table, benchmarks/limits.py prints what each of
them costs the host.
"""

from typing import NamedTuple


class Bomb(NamedTuple):
    """A guest, fields of its policy, and its possible ends.

    An end is the type of an error, and the limit or the guest's exception.
    """

    name: str
    source: str
    policy: dict
    ends: tuple


TIMEOUT = ("TimeLimitError", "timeout")
CPU = ("TimeLimitError", "cpu_time")
MEMORY = ("MemoryLimitError", "memory")
MEMORY_ERROR = ("GuestError", "MemoryError")
OS_ERROR = ("GuestError", "OSError")

SHORT = {"timeout": 0.5}
LONG = {"timeout": 20}

# touch(mapping, step) writes to a mapping, a byte in each step.
_TOUCH = """\
import mmap
def touch(mapping, step=mmap.PAGESIZE):
    for at in range(0, len(mapping), step):
        mapping[at] = 1
    return mapping
"""

# call(function, *numbers) raises OSError; leave(address) keeps a page of
# 20 MiB.
_RAW = """\
import ctypes, errno
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_long
def call(function, *numbers):
    result = function(*map(ctypes.c_long, numbers))
    if result == -1:
        raise OSError(ctypes.get_errno(), "refused")
    return result
def leave(at):
    ctypes.memset(at, 1, 20 << 20)
    call(libc.munmap, at + 4096, (20 << 20) - 4096)
"""

BOMBS = (
    Bomb("infinite loop", "while True: pass", SHORT, (TIMEOUT,)),
    Bomb(
        "infinite loop in 8 threads",
        """\
import threading
def spin():
    while True: pass
for _ in range(8):
    threading.Thread(target=spin).start()
""",
        SHORT,
        (TIMEOUT, CPU),
    ),
    Bomb("10**10**8", "10**10**8", SHORT, (TIMEOUT,)),
    Bomb(
        "catastrophic regex",
        "import re; re.match('(a+)+$', 'a' * 60 + 'b')",
        SHORT,
        (TIMEOUT,),
    ),
    Bomb("'a' * 10**10", "'a' * 10**10", LONG, (MEMORY_ERROR,)),
    Bomb(
        "list doubling",
        "x = [0]\nwhile True: x += x",
        LONG,
        (MEMORY_ERROR,),
    ),
    Bomb(
        "heap of small objects",
        "x = None\nwhile True: x = (x, 1.5)",
        LONG,
        (MEMORY_ERROR, MEMORY),
    ),
    Bomb(
        "mmap, shared",
        _TOUCH + "touch(mmap.mmap(-1, 2 << 30))",
        LONG,
        (OS_ERROR,),
    ),
    Bomb(
        "mmap, shared, but for a page unmapped",  # its pages would stay
        _RAW
        + "while True: leave(call(libc.mmap, 0, 20 << 20, 3, 0x21, -1, 0))",
        LONG,
        (OS_ERROR,),
    ),
    Bomb(
        "mmap of /dev/zero, shared, but for a page unmapped",
        _RAW + "import os\nfile = os.open('/dev/zero', os.O_RDWR)\n"
        "while True: leave(call(libc.mmap, 0, 20 << 20, 3, 1, file, 0))",
        LONG,
        (("GuestError", "PermissionError"),),
    ),
    Bomb(
        "mmap, private",
        _TOUCH + "x = []\nwhile True:\n"
        "    x.append(mmap.mmap(-1, 1 << 20, flags=mmap.MAP_PRIVATE))\n"
        "    touch(x[-1])",
        LONG,
        (OS_ERROR, MEMORY_ERROR),
    ),
    Bomb(
        "memfd",
        "import os\nfile = os.memfd_create('x')\n"
        "while True: os.write(file, bytes(1 << 20))",
        LONG,
        (OS_ERROR,),
    ),
    Bomb(
        "the result's store",
        "import os\nwhile True: os.write(5, bytes(1 << 20))",
        LONG,
        (("GuestError", "PermissionError"),),  # it is sealed
    ),
    Bomb(
        "tmpfs fill",
        "file = open('/tmp/x', 'wb')\nwhile True: file.write(bytes(1 << 20))",
        LONG,
        (OS_ERROR,),
    ),
    Bomb(
        "tmpfs and heap together",
        "open('/tmp/x', 'wb').write(bytes(60 << 20))\n"
        "kept = b'x' * (500 << 20)\nimport time; time.sleep(60)",
        LONG,
        (MEMORY,),
    ),
    Bomb(
        "a million files",
        "for n in range(10**6): open(f'/tmp/{n}', 'w').close()",
        LONG,
        (OS_ERROR,),
    ),
    Bomb(
        "a million directories, each in the last",
        "import os\nfor n in range(10**6): os.mkdir('d'); os.chdir('d')",
        {"timeout": 2},
        (OS_ERROR, TIMEOUT),
    ),
    Bomb(
        "deleted files that stay open",
        "import os\nopened = []\nwhile True:\n"
        "    opened.append(open('/tmp/x', 'wb'))\n"
        "    os.unlink('/tmp/x')\n"
        "    opened[-1].write(bytes(1 << 20))",
        LONG,
        (OS_ERROR,),
    ),
    Bomb(
        "thread bomb",
        "import threading\nwait = threading.Event().wait\n"
        "while True: threading.Thread(target=wait, daemon=True).start()",
        LONG,
        (("GuestError", "RuntimeError"),),
    ),
    Bomb(
        "fork bomb, processes=0",
        "import os\nwhile True: os.fork()",
        LONG,
        (("GuestError", "PermissionError"),),
    ),
    Bomb(
        "fork bomb, processes=5",
        "import os\nwhile True:\n    try: os.fork()\n"
        "    except BlockingIOError: pass",
        {"timeout": 1, "processes": 5},
        (TIMEOUT, CPU),
    ),
    Bomb(
        "memory of 5 processes together",
        _TOUCH
        + """\
import os, time
for _ in range(5):
    if os.fork() == 0:
        kept = touch(mmap.mmap(-1, 150 << 20, flags=mmap.MAP_PRIVATE))
        break
time.sleep(60)
""",
        {"timeout": 20, "processes": 5},
        (MEMORY,),
    ),
    Bomb(
        "pipe-buffer bomb",
        """\
import os
while True:
    for end in os.pipe():
        os.set_blocking(end, False)
    try:
        while True: os.write(end, bytes(4096))
    except BlockingIOError:
        pass
""",
        LONG,
        (OS_ERROR,),
    ),
    Bomb(
        "socket-buffer bomb",
        """\
import socket
kept = []
while True:
    for end in socket.socketpair():
        kept.append(end)
        end.setblocking(False)
        try:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 30)
            while True: end.send(bytes(4096))
        except BlockingIOError:
            pass
""",
        LONG,
        (OS_ERROR,),
    ),
    Bomb(
        "page-table bomb by sparse touching",
        "import mmap\nx = []\nwhile True:\n"
        "    x.append(mmap.mmap(-1, 64 << 20, prot=mmap.PROT_READ))\n"
        "    for at in range(0, 64 << 20, 2 << 20): x[-1][at]",
        LONG,
        (OS_ERROR, MEMORY),
    ),
    Bomb(
        "deep recursion",
        "def f(): return f()\nf()",
        LONG,
        (("GuestError", "RecursionError"),),
    ),
    Bomb(
        "deep recursion, without Python's limit",
        "import sys\nsys.setrecursionlimit(2**31 - 1)\n"
        "class A:\n    def __getattr__(self, name):"
        " return getattr(self, name + 'x')\nA().x",
        LONG,
        (
            ("GuestCrash", "SIGSEGV"),
            ("GuestError", "RecursionError"),  # Python 3.12 and later
        ),
    ),
    Bomb("infinite print", "while True: print('x' * 999)", SHORT, (TIMEOUT,)),
    Bomb(
        "infinite print, output_action='kill'",
        "while True: print('x' * 999)",
        {"timeout": 20, "output_action": "kill"},
        (("OutputLimitError", "output"),),
    ),
    Bomb(
        "10 GB result",
        "[bytes([n % 256]) * 10**6 for n in range(10**4)]",
        LONG,
        (MEMORY_ERROR,),
    ),
    Bomb(
        "10 GB result, announced",
        "import os, struct\n"
        "os.write(3, struct.pack('IIQQ', 0x46425343, 2, 10**10, 2**64 - 1))\n"
        "while True: os.write(3, bytes(1 << 20))",
        LONG,
        (("LimitError", "result"),),
    ),
    Bomb(
        "zip bomb",
        "import gzip\ngzip.decompress(gzip.compress(bytes(1 << 24)) * 640)",
        LONG,
        (MEMORY_ERROR,),
    ),
    Bomb(
        "SIGSTOP to itself",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
        SHORT,
        (TIMEOUT,),
    ),
    Bomb("sleep forever", "import time\ntime.sleep(1e6)", SHORT, (TIMEOUT,)),
    Bomb(
        "ignoring every signal",
        """\
import signal
for number in signal.valid_signals():
    try: signal.signal(number, signal.SIG_IGN)
    except OSError: pass
while True: signal.pthread_sigmask(0, signal.valid_signals())
""",
        SHORT,
        (TIMEOUT,),
    ),
    Bomb(
        "flood of denied system calls",
        "import os\nwhile True:\n    try: os.fork()\n"
        "    except PermissionError: pass",
        SHORT,
        (TIMEOUT,),
    ),
)


def end_of(error):
    """Return the end that an error is, as the table writes it."""
    kind = type(error).__name__
    for name in ("limit", "type_name", "signal_name"):
        if hasattr(error, name):
            return kind, getattr(error, name)
    return kind, ""
