"""profile="compute": all that Python can compute, with the fewest calls."""

import signal
from pathlib import Path

import pytest

import csandbox
import support
from csandbox import Policy, _csandbox, zygotes
from csandbox.errors import (
    GuestCrash,
    GuestError,
    GuestExit,
    LimitError,
    MemoryLimitError,
    OutputLimitError,
    PolicyError,
    TimeLimitError,
)
from support import LANDLOCK, SECCOMP, VIEW, Attack

COMPUTE = Policy(profile="compute", timeout=60)
NUMBERS = COMPUTE.replace(preload=("numpy", "pandas"))


def run(source, **options):
    return csandbox.run(source, policy=COMPUTE, **options)


def error_of(source, policy=COMPUTE, **options):
    return csandbox.execute(source, policy=policy, **options).error


# --- what computes -----------------------------------------------------------

WORK = {
    "big numbers": "pow(3, 20000) % 1000007",
    "json": "import json; json.loads(json.dumps({'a': [1.5, None]}))['a']",
    "re": r"import re; re.sub(r'(\w)\1', r'<\1>', 'aabb')",
    "math": "import cmath, math; math.isclose(abs(cmath.exp(1j)), 1)",
    "decimal": "from decimal import Decimal; str(Decimal(2).sqrt())[:6]",
    "fractions": "from fractions import Fraction; Fraction(1, 3) * 3 == 1",
    "datetime": """
from datetime import datetime, timedelta
str(datetime.strptime('2024-02-28', '%Y-%m-%d') + timedelta(days=2))
""",
    "statistics": "import statistics; statistics.median([3, 1, 2])",
    "hashlib": "import hashlib, hmac; hashlib.sha256(b'').hexdigest()[:8]",
    "zlib": "import zlib; zlib.decompress(zlib.compress(b'x' * 10000))[:3]",
    "zipfile": """
import io, zipfile
file = io.BytesIO()
with zipfile.ZipFile(file, 'w') as archive:
    archive.writestr('a', 'b')
zipfile.ZipFile(file).read('a')
""",
    "csv": "import csv, io; list(csv.reader(io.StringIO('a,b')))",
    "dataclasses": """
from dataclasses import dataclass
@dataclass
class Point: x: int
repr(Point(1))
""",
    "typing": """
import typing, enum
class Colour(enum.Enum): RED = 1
typing.get_type_hints(lambda: 0), Colour.RED.value
""",
    "generators": "sum(x * x for x in range(1000))",
    "classes": "type('C', (), {'f': lambda self: 7})().f()",
    "codecs": "'ü'.encode('cp1252'), 'ü'.encode('utf-16-le')",
    "unicodedata": "import unicodedata; unicodedata.name('ü')",
    "ast": "import ast; ast.unparse(ast.parse('a+b'))",
    "xml": """
import xml.etree.ElementTree as tree
tree.fromstring('<a><b/></a>')[0].tag
""",
    "gc": "import gc; a = []; a.append(a); del a; gc.collect() > 0",
    "pickle": "import copy, pickle; pickle.loads(pickle.dumps({1: [2]}))",
    "growing": """
grown = bytearray()
for _ in range(300): grown += bytes(100_000)
len(grown)
""",
}


@pytest.mark.parametrize("name", WORK)
def test_K01_it_computes_what_the_default_profile_does(name):
    assert run(WORK[name]) == csandbox.run(WORK[name], timeout=60)


def test_K01_randomness_is_there_and_each_runs_own():
    source = """
import os, random, secrets, uuid
os.urandom(8), random.random(), secrets.token_hex(8), str(uuid.uuid4())
"""
    for one, other in zip(run(source), run(source), strict=True):
        assert one != other


def test_K01_time_passes():
    source = """
import time
started = time.monotonic()
time.sleep(0.05)
(time.monotonic() - started >= 0.05, time.time() > 1e9,
 time.process_time() > 0, time.thread_time() > 0)
"""
    assert run(source) == (True,) * 4


def test_K01_locks_and_handlers_of_signals_work():
    source = """
import signal, threading
seen = []
signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
signal.raise_signal(signal.SIGUSR1)
lock = threading.Lock()
(seen, lock.acquire(), lock.acquire(timeout=0.05))
"""
    assert run(source) == ([signal.SIGUSR1], True, False)


def test_a_callable_and_its_module_globals_are_shipped():
    def hypotenuse(a, *, b):
        import math

        return math.hypot(a, b)

    assert csandbox.run(hypotenuse, (3,), {"b": 4}, policy=COMPUTE) == 5.0


def test_numpy_and_pandas_are_usable_once_preloaded():
    pytest.importorskip("pandas")
    source = """
import io
import numpy as np, pandas as pd
frame = pd.DataFrame({'k': list('abab'), 'v': np.arange(4.0)})
frame = frame.merge(frame.groupby('k').v.mean().rename('m'), on='k')
text = frame.to_csv(index=False)
again = pd.read_csv(io.StringIO(text))
again['t'] = pd.to_datetime('2024-01-01') + pd.to_timedelta(again.v, 'D')
repr(again), again.to_html(), again.describe(), again.to_dict('records')
pivot = again.pivot_table(index='k', columns='t', values='m')
np.fft.fft(np.ones(8)), np.polynomial.Polynomial([1, 2]).roots()
np.linalg.svd(np.random.default_rng(1).normal(size=(60, 60)))
(float(again.m.sum()), pivot.shape, float((np.eye(300) @ np.eye(300)).sum()))
"""
    assert csandbox.run(source, policy=NUMBERS) == (6.0, (2, 4), 300.0)


def test_K04_millions_of_floats_go_in_and_come_out():
    numpy = pytest.importorskip("numpy")
    pytest.importorskip("pandas")
    data = numpy.arange(6e6)
    result = csandbox.execute("x * 2", inputs={"x": data}, policy=NUMBERS)
    assert (result.unwrap() == data * 2).all()
    # Two arrays, and no copy of one on its way in or out.
    assert result.usage.peak_memory < 2 * data.nbytes + (24 << 20)


def test_K04_sixty_mebibytes_come_out_and_no_more_than_the_limit():
    assert len(run("bytes(60 << 20)")) == 60 << 20
    assert sum(map(len, run("[b'x' * (1 << 20)] * 3 + ['y' * 100_001]"))) == (
        (3 << 20) + 100_001
    )
    error = error_of("bytes(2 << 20)", COMPUTE.replace(result="1M"))
    assert type(error) is LimitError
    assert error.limit == "result"


def test_K04_lists_of_many_things_go_in():
    given = [{"a": float(n), "b": str(n)} for n in range(50_000)]
    assert run("len(rows), rows[-1]", inputs={"rows": given}) == (
        50_000,
        {"a": 49_999.0, "b": "49999"},
    )


def test_K04_streams_work():
    result = csandbox.execute(
        "import sys\nprint(input(), 'x' * 100_000)\n"
        "print(sys.stdin.read(), file=sys.stderr)",
        stdin="a\n" + "b" * 200_000,
        policy=COMPUTE,
    )
    assert result.stdout == "a " + "x" * 100_000 + "\n"
    assert result.stderr == "b" * 200_000 + "\n"
    source = "import sys; sys.stdin.isatty(), sys.stdout.seekable()"
    assert run(source) == (False, False)


# --- how it ends -------------------------------------------------------------


def test_endings_are_told_apart():
    assert error_of("raise SystemExit(3)").code == 3
    assert error_of("import os; os._exit(4)").code == 4
    assert error_of("def f(): f()\nf()").type_name == "RecursionError"
    assert error_of("bytearray(1 << 40)").type_name == "MemoryError"
    assert error_of("import os; os.abort()").signal == signal.SIGABRT
    assert type(error_of("raise SystemExit")) is GuestExit
    source = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    assert error_of(source).type_name == "PermissionError"


def test_a_traceback_shows_the_lines_of_the_program():
    error = error_of("import json\njson.loads('{')")
    assert "json.loads('{')" in error.traceback
    assert "json/decoder.py" in error.traceback
    result = csandbox.execute(
        "import traceback, warnings\ntry: 1 / 0\n"
        "except Exception: traceback.print_exc()\nwarnings.warn('so')",
        policy=COMPUTE,
    )
    assert "try: 1 / 0" in result.stderr
    assert "UserWarning: so" in result.stderr


def test_limits_hold():
    loop = "while True: pass"
    assert type(error_of(loop, timeout=0.5)) is TimeLimitError
    assert error_of(loop, cpu_time=0.3).limit == "cpu_time"
    assert type(error_of("input() or 0", timeout=0.5)) is GuestError
    source = "while True: print('x' * 1000)"
    error = error_of(source, output="64K", output_action="kill")
    assert type(error) is OutputLimitError
    source = """
held = []
while True:
    try: held.append(bytearray(1 << 20))
    except MemoryError: break
len(held) < 64
"""
    result = csandbox.execute(source, policy=COMPUTE, memory="64M")
    assert result.value is True or type(result.error) is MemoryLimitError


# --- what it has not ---------------------------------------------------------


def test_K01_no_file_opens_and_the_error_says_why():
    for opening in (
        "open('/etc/hostname')",
        "open('/tmp/new', 'w')",
        "import os; os.open('/', os.O_RDONLY)",
        "import pathlib; pathlib.Path(pathlib.__file__).read_text()",
    ):
        error = error_of(opening)
        assert error.type_name == "PermissionError"
        assert 'profile="compute" opens no file' in error.message
    source = "import os; os.path.exists('/'), os.access('/', os.R_OK)"
    assert run(source) == (False, False)


def test_K01_an_import_of_what_is_not_there_says_what_to_do():
    error = error_of("import sqlite3")
    assert error.type_name == "ModuleNotFoundError"
    assert "preload=('sqlite3',)" in error.message
    assert "<csandbox>" not in error.traceback
    assert csandbox.run(
        "import sqlite3; sqlite3.connect(':memory:').execute('select 7')"
        ".fetchone()",
        policy=COMPUTE,
        preload=("sqlite3",),
    ) == (7,)
    source = "import importlib.util; importlib.util.find_spec('sqlite3')"
    assert run(source) is None
    source = """
try: import numpy
except ImportError as error: name = error.name
name
"""
    assert run(source) == "numpy"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("import threading; threading.Thread(target=int).start()", None),
        ("import os; os.fork()", "PermissionError"),
        ("import os; os.pipe()", "PermissionError"),
        ("import os; os.dup(1)", "PermissionError"),
        ("import os; os.listdir('/')", "PermissionError"),
        ("import os; os.mkdir('/tmp/x')", "PermissionError"),
        ("import _socket; _socket.socket()", "PermissionError"),
        ("import _socket; _socket.socketpair()", "PermissionError"),
        ("import resource; resource.getrlimit(7)", None),
        ("import mmap; mmap.mmap(-1, 4096, prot=7)", "PermissionError"),
    ],
)
def test_it_gets_no_thread_process_descriptor_or_executable_memory(
    source, kind
):
    error = error_of(source, preload=("_socket", "resource"))
    assert type(error) is GuestError
    assert kind in (None, error.type_name)


def test_a_time_zone_of_a_file_is_refused():
    for zone in ("Europe/Paris", ":CET", "CET", "/etc/localtime"):
        with pytest.raises(PolicyError, match="TZ must be UTC or a rule"):
            COMPUTE.replace(env={"TZ": zone})
    policy = COMPUTE.replace(env={"TZ": "CET-1CEST,M3.5.0,M10.5.0/3"})
    source = "import time; time.localtime(1_700_000_000).tm_hour, time.tzname"
    assert csandbox.run(source, policy=policy) == (23, ("CET", "CEST"))


# --- attacks, by machine code or what is as good -----------------------------

# Each is stopped by the filter alone, and by nothing else here.
READ = Attack(
    "syscall('openat', -100, b'/etc/passwd', 0, 0) >= 0",
    VIEW,
    LANDLOCK,
    SECCOMP,
)
ATTACKS = {
    "look at a file": "syscall('newfstatat', -100, b'/', bytes(256), 0) == 0",
    "look at a descriptor": "syscall('fstat', 1, bytes(256)) == 0",
    "map code": """
at = syscall('mmap', 0, 4096, 7, 0x22, -1, 0)
at > 0
""",
    "make data code": """
page = mmap.mmap(-1, 4096)
at = ctypes.addressof(ctypes.c_char.from_buffer(page))
syscall('mprotect', at, 4096, 5) == 0
""",
    "map shared memory": "syscall('mmap', 0, 4096, 3, 0x21, -1, 0) > 0",
    "map the store as shared": "syscall('mmap', 0, 4096, 3, 1, 5, 0) > 0",
    "copy a descriptor": "syscall('dup', 1) > 2",
    "make a pipe": "syscall('pipe2', bytes(8), 0) == 0",
    "start a thread": """
stack = mmap.mmap(-1, 65536)
top = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + 65536
# Its first act would be to crash, as nothing is on its stack.
try: syscall('clone', 0x50f00 | 0x80, top, 0, 0, 0)
except OSError: raise
""",
    "set a limit": "syscall('prlimit64', 0, 7, 0, bytes(16)) == 0",
    "ask who it is": "syscall('getuid') >= 0",
}


def test_no_path_is_opened_by_a_bare_call():
    READ.check(profile="compute")


@pytest.mark.parametrize("name", sorted(set(ATTACKS) - {"start a thread"}))
def test_the_filter_stops_what_does_not_compute(name):
    attack = Attack(ATTACKS[name], SECCOMP)
    attack.check(profile="compute")


def test_the_filter_stops_a_thread_made_by_hand():
    result = support.run_guest(ATTACKS["start a thread"], profile="compute")
    assert result.error.type_name == "PermissionError"


def test_O03_callbacks_of_ctypes_need_code_and_do_not_work():
    source = "ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7)()"
    assert support.value_of(source) == 7
    error = support.run_guest(source, profile="compute").error
    assert error.type_name in ("MemoryError", "PermissionError")
    error = support.run_guest("code(b'\\xc3')()", profile="compute").error
    assert error.type_name == "PermissionError"


def test_O03_code_that_the_guest_wrote_does_not_run():
    source = """
page = mmap.mmap(-1, 4096)
page.write(b'\\xc3' * 64)
at = ctypes.addressof(ctypes.c_char.from_buffer(page))
function = ctypes.cast(at, ctypes.POINTER(ctypes.c_int))
_libc.qsort(ctypes.create_string_buffer(16), 2, 8, ctypes.c_void_p(at))
"""
    error = support.run_guest(source, profile="compute").error
    assert type(error) is GuestCrash
    assert error.signal == signal.SIGSEGV


def test_the_calls_of_the_machine_kill_as_ever():
    result = support.run_guest("answer('reboot')", profile="compute")
    assert result.error.signal == signal.SIGSYS


def test_a_filter_of_another_profile_is_noticed(monkeypatch):
    real = _csandbox.build_plan

    def build(*arguments, **options):
        plan = bytearray(real(*arguments, **{**options, "compute": False}))
        compute_at = 4 * 12  # common/plan.h, after `several`
        plan[compute_at : compute_at + 4] = (1).to_bytes(4, "little")
        return bytes(plan)

    monkeypatch.setattr(_csandbox, "build_plan", build)
    made = set(zygotes._registry.zygotes)
    with pytest.raises(csandbox.UnavailableError) as caught:
        csandbox.run("1", policy=COMPUTE, preload=("errno",))
    for template in set(zygotes._registry.zygotes) - made:
        zygotes.discard(template, zygotes._registry.zygotes[template])
    assert caught.value.step == "canary"
    assert caught.value.detail.startswith("canary ")


# --- nothing is left ---------------------------------------------------------


def test_a_run_holds_no_scratch_space():
    result = csandbox.execute("1", policy=COMPUTE)
    assert result.usage.scratch_bytes == 0


def test_runs_do_not_see_each_other():
    source = "import json; json.left = 1; import sys; sys.left = 1"
    run(source)
    source = "import json, sys; hasattr(json, 'left') or hasattr(sys, 'left')"
    assert run(source) is False


# --- the published sizes -----------------------------------------------------


def may(several, compute):
    """Return how many calls of this machine such a guest may make."""
    known = support.syscall_numbers()
    table = _csandbox.syscalls(several, compute)
    allowed = [name for _, name, fate, _ in table if fate != "errno"]
    kills = [name for _, name, fate, _ in table if fate == "kill"]
    return len({*allowed} & {*known}) - len({*kills} & {*known})


def words_of(path):
    return " ".join(path.read_text().split())


if support.X86:

    def test_K01_the_sizes_that_are_published_are_those_of_the_tables():
        root = Path(__file__).parent.parent
        sizes = may(False, False), may(True, False), may(False, True)
        sentence = (
            "By default {} system calls are open to a guest, with "
            '``processes`` {}, and with ``profile="compute"`` {}'
        ).format(*sizes)
        assert sentence in words_of(root / "SECURITY.rst")
        sentence = f"{sizes[2]} system calls are left to it"
        assert sentence in words_of(root / "README.rst")
        sentence = f"{sizes[2]} system calls, none of which takes a path"
        assert sentence in words_of(root / "CHANGES.rst")
