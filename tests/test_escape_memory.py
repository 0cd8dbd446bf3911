"""Nothing of the host's memory is in the cell's own address space; and a
guest that breaks its interpreter breaks nothing else."""

import hashlib
import os
import secrets
import signal
import subprocess
import sys

import pytest

import support
from csandbox import zygotes
from csandbox.errors import GuestCrash, GuestError, GuestExit, SandboxError
from support import LANDLOCK, SECCOMP, USERNS

# Looks through all of its readable memory, without /proc.  mmap() with
# MAP_FIXED_NOREPLACE says whether anything lies in a range, so it finds every
# mapping there is; write() into a pipe copies what can be read, and answers
# EFAULT where it cannot.  Of each thing that it looks for it knows the first
# 8 bytes and the hash of the whole, so that it does not find itself.
SCANNER = """
import hashlib
PAGE, LEAF, TOP, END = 4096, 1 << 16, 1 << 36, (1 << 47) - 4096
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int,
                       ctypes.c_int, ctypes.c_int, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
_reader, _writer = os.pipe()
os.set_blocking(_writer, False)
def is_empty(address, size):
    # PROT_NONE; MAP_PRIVATE, ANONYMOUS, NORESERVE, FIXED_NOREPLACE
    if _libc.mmap(address, size, 0, 0x104022, -1, 0) != address:
        return False
    _libc.munmap(address, size)
    return True
def leaves(address, size):
    if is_empty(address, size):
        return
    if size <= LEAF:
        yield address, size
        return
    half = size // 2 & -LEAF
    yield from leaves(address, half)
    yield from leaves(address + half, size - half)
def everywhere():
    yield from leaves(LEAF, TOP - LEAF)
    for top in range(TOP, END, TOP):
        yield from leaves(top, min(TOP, END - top))
def pieces():
    for address, size in list(everywhere()):
        end = address + size
        while address < end:
            count = _libc.write(_writer, address, end - address)
            if count > 0:
                yield address, os.read(_reader, count)
                address = (address + count + PAGE - 1) & -PAGE
            else:
                address += PAGE
def scan(wanted, length=32):
    total, tail, after = 0, b'', None
    hits = [[] for _ in wanted]
    for address, data in pieces():
        total += len(data)
        text = (tail if address == after else b'') + data
        after = address + len(data)
        tail = text[1 - length:]
        for number, (prefix, digest) in enumerate(wanted):
            at = text.find(prefix)
            while at >= 0:
                found = text[at:at + length]
                if hashlib.sha256(found).digest() == digest:
                    hits[number].append(after - len(text) + at)
                at = text.find(prefix, at + 1)
    return total, hits
"""
LOOK = (
    SCANNER
    + """
import random
own = bytearray(random.randbytes(32))
pages = mmap.mmap(-1, 3 * PAGE)
pages[PAGE - 7:PAGE + 25] = own  # across a boundary
at = ctypes.addressof(ctypes.c_char.from_buffer(pages)) + PAGE - 7
wanted = [(prefix, digest), (bytes(own[:8]), hashlib.sha256(own).digest())]
total, (hits, own_hits) = scan(wanted)
[total, len(hits), len(own_hits), at in own_hits]
"""
)


def find_in_a_fork(prefix, digest):
    """Return how often the scanner finds it in a copy of this process."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        answer = "failed"
        try:
            scope = {}
            exec(support.GUEST + SCANNER, scope)
            answer = len(scope["scan"]([(prefix, digest)])[1][0])
        except BaseException as error:
            answer = repr(error)
        finally:
            os.write(writer, str(answer).encode())
            os._exit(0)
    os.close(writer)
    with open(reader) as file:
        found = file.read()
    os.waitpid(pid, 0)
    return int(found)


def look_for(canary, **options):
    """Return how often the guest finds it, having shown that it can."""
    prefix, digest = canary[:8], hashlib.sha256(canary).digest()
    total, hits, own_hits, at_its_place = support.value_of(
        LOOK, {"prefix": prefix, "digest": digest}, memory="256G", **options
    )
    assert total > 4 << 20
    assert own_hits > 1  # in the mapping, and in the object it came from
    assert at_its_place
    return hits


def test_no_memory_of_the_host_is_in_the_cell(monkeypatch):
    canary = secrets.token_hex(16).encode()
    digest = hashlib.sha256(canary).digest()
    monkeypatch.setenv("CSANDBOX_TEST_CANARY", canary.decode())
    held = [canary, canary.decode(), bytearray(canary) * 1000]
    # It is in a copy of this process, which start="fork" would be.
    assert find_in_a_fork(canary[:8], digest) >= 3
    # A zygote that starts now would inherit it if any did.
    zygotes.shutdown()
    for without in ((), {SECCOMP}, {SECCOMP, USERNS, LANDLOCK}):
        assert look_for(canary, without=without) == 0
    assert held


def test_no_input_of_another_run_is_in_the_cell():
    canary = secrets.token_hex(16).encode()
    held = "held = bytes(canary); canary.decode()"
    assert support.value_of(held, {"canary": canary}) == canary.decode()
    assert look_for(canary) == 0
    # What a run is given, it has: the scanner would have found it.
    given = {"canary": canary, "prefix": canary[:8]}
    given["digest"] = hashlib.sha256(canary).digest()
    assert support.value_of(LOOK, given, memory="256G")[1] > 0


# The host's session keyring is inherited by whatever it starts.  A process
# of its own plays the host, so that this one's keyring stays as it is.
KEYS = """
import ctypes, subprocess, sys
import support
from support import LANDLOCK, SECCOMP, USERNS
NR = support.syscall_numbers()
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    result = libc.syscall(NR[name], *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result
call('keyctl', 1, None)  # join a new session keyring
key = call('add_key', b'user', b'csandbox-test', b'the secret', 10, -3)
read = '''
data = ctypes.create_string_buffer(32)
size = answer('keyctl', 11, key, data, 32)
data.raw[:size] if isinstance(size, int) else size
'''
search = '''
answer('keyctl', 10, -3, ctypes.c_char_p(b'user'),
       ctypes.c_char_p(b'csandbox-test'), 0)
'''
plain = (f"NR = {NR}; key = {key}\\n{support.GUEST}"
         + read.replace('data.raw', 'print(data.raw').replace('] if', ']) if'))
print(subprocess.run([sys.executable, '-c', plain],
                     capture_output=True).stdout.decode().strip())
for without in ((), {SECCOMP}, {SECCOMP, LANDLOCK, USERNS}):
    print(support.value_of(read, {'key': key}, without=without),
          support.value_of(search, without=without))
"""


def test_cannot_read_the_hosts_keys():
    paths = [os.path.dirname(support.__file__), *sys.path]
    completed = subprocess.run(
        [sys.executable, "-c", KEYS],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    lines = completed.stdout.splitlines()
    if "OSError" in completed.stderr and not lines:
        pytest.skip("this kernel has no keyrings for us")
    assert lines, completed
    assert lines[0] == "b'the secret'"  # a plain child has it
    assert lines[1] == "EPERM EPERM"
    for line in lines[2:]:
        assert line in ("EACCES ENOKEY", "ENOKEY ENOKEY"), line
    assert len(lines) == 4


# --- broken interpreters -----------------------------------------------------


def check_contained(result):
    """The guest may end in any way; the host goes on."""
    assert result.error is None or isinstance(result.error, SandboxError)
    assert support.value_of("6 * 7") == 42


JUNK = """
import random, types
random.seed(seed)
def victim(a, b):
    return [a, b, (a, b)]
junk = bytes(
    each for _ in range(200)
    for each in (random.randrange(256), random.randrange(256))
)
victim.__code__ = victim.__code__.replace(
    co_code=junk, co_stacksize=random.randrange(1, 100),
    co_consts=(1, None, 'x'), co_nlocals=2,
)
victim(1, 2)
"""


def test_hostile_bytecode_ends_the_cell_only():
    endings = set()
    for seed in range(40):
        result = support.run_guest(JUNK, {"seed": seed}, timeout=5)
        endings.add(type(result.error))
    assert GuestCrash in endings
    check_contained(result)


SMASHES = {
    "read of nothing": "ctypes.string_at(0)",
    "write to nothing": "ctypes.memset(8, 1, 8)",
    "None": "ctypes.memset(id(None), 0xff, 16); [None] * 10",
    "a type": "ctypes.memset(id(dict), 0x41, 400); dict(a=1)",
    "the heap": """
for start in range(id([]) & -4096, (id([]) & -4096) + 65536, 64):
    ctypes.memset(start, 0x42, 32)
[object() for _ in range(10000)]
""",
    "the stack": """
import random
local = ctypes.c_char()
ctypes.memset(ctypes.addressof(ctypes.c_long.from_address(
    ctypes.cast(_libc.write, ctypes.c_void_p).value)), 0, 1)
""",
    "malloc": """
block = ctypes.CDLL(None).malloc
block.restype = ctypes.c_void_p
ctypes.memset(block(64), 0x43, 4096)
[bytes(1000 + n) for n in range(1000)]
""",
    "a double free": """
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
block = libc.malloc(100)
libc.free(block)
libc.free(block)
libc.free(block)
""",
    "a jump": "ctypes.CFUNCTYPE(None)(0x1234567890)()",
    "an illegal instruction": "code(bytes(16) + b'\\x0f\\x0b')()",
    "endless recursion in C": """
import sys
sys.setrecursionlimit(10**9)
def f(): return f()
eval('[' * 50) if False else None
class R:
    def __repr__(self): return repr(self)
repr(R())
""",
    "abort": "os.abort()",
    "a division by zero": "ctypes.CDLL(None).raise_ if 0 else os.kill(2, 8)",
    "unmapped code": """
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
at = ctypes.cast(_libc.read, ctypes.c_void_p).value & -4096
_libc.munmap(at - 65536, 1 << 20)
os.getpid()
""",
}


@pytest.mark.parametrize("source", SMASHES.values(), ids=SMASHES)
def test_a_smashed_interpreter_ends_the_cell_only(source):
    result = support.run_guest(source, timeout=5)
    assert type(result.error) in (GuestCrash, GuestError, GuestExit) or (
        result.error is None or result.error.limit == "timeout"
    )
    check_contained(result)


def test_crashes_are_told_by_their_signal():
    for number in (
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGKILL,
        signal.SIGSYS,
    ):
        source = f"os.kill(os.getpid(), {int(number)})"
        result = support.run_guest(source)
        assert type(result.error) is GuestCrash
        assert result.error.signal == number


def test_a_guest_cannot_forge_a_time_limit():
    # It signals itself what the kernel sends at the end of its CPU time.
    result = support.run_guest(f"os.kill(2, {int(signal.SIGXCPU)})")
    assert type(result.error) is GuestCrash


def test_smashed_modules_do_not_reach_the_host_or_the_next_run():
    source = """
import builtins, json
for module in list(sys.modules.values()):
    for name in list(vars(module)):
        if not name.startswith('__'):
            try:
                setattr(module, name, None)
            except Exception:
                pass
"""
    before = dict(vars(sys.modules["builtins"]))
    check_contained(support.run_guest(source))
    assert vars(sys.modules["builtins"]) == before
