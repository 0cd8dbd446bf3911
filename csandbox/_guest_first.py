"""The first of our side that runs inside, and all that most jobs need of it.

A cell that is asked for as soon as its zygote stands has what is here, and no
module of the standard library: enough to give the value of an expression of
numbers, strings and the functions that only compute.  Whatever else is asked
of it, it loads the rest first, as the zygote does for later cells when it has
nothing to do.  Not trusted, like all of _guest.py.
"""

import gc
import marshal
import sys
from _imp import _fix_co_filename
from builtins import __dict__ as _guests_own
from posix import _exit, read, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any

    from csandbox._guest import furnish, main, preload
    from csandbox._guest_ready import be_example, settle

RESULT_FD, JOB_FD, STORE_FD, INPUTS_FD = 3, 4, 5, 6
FRAME_MAGIC = 0x46425343
FRAME_VALUE, FRAME_ERROR, FRAME_UNSUPPORTED, FRAME_RESERVE = 2, 3, 4, 5
# Magic, kind: 4 bytes each; length, at: 8 bytes each; of this machine's order.
HEADER = 24
PAGE = 4096  # most jobs are no longer

INLINE = 2**64 - 1  # in `at`
LARGE = 64 * 1024  # bytes that go to the store, and not through the pipe

# Without a job for so long, a cell ends.
IDLE_SECONDS = 30

SHORT = 200  # characters of a source

# What can neither reach the rest of Python nor change anything.
_PLAIN_NAMES = """
abs all any ascii bin bool bytes chr complex dict divmod enumerate filter float
frozenset hash hex int len list map max min oct ord pow range repr reversed
round set slice sorted str sum tuple zip
"""
_PLAIN = frozenset(_PLAIN_NAMES.split())

# Imported by an idle zygote, one after another, so that it never keeps a
# request waiting for long; then the rest of our side, and what callables need.
_pieces: "list[str]" = [
    *("_ast", "site", "signal", "pickle", "linecache", "traceback"),
    *("", "cloudpickle"),
]
_order = sys.byteorder

# Set by the bootstrap: the module _csandbox; the variables that most guests
# get; code, marshalled, of the other files of our side, and of the one that
# only numpy's users need; whether all is needed before anything else.
CORE: "Any" = None
ENVIRONMENT: "dict[str, str]" = {}
REST: "list[bytes]" = []
VALUES = b""
WHOLE = False
_is_whole = False
# What a first expression gave or raised, which main() need not do again.
_known: "list[tuple[object, BaseException | None]]" = []


# --- in the zygote -----------------------------------------------------------


def begin(names: "str | None") -> bool:
    """Import what the policy names; of None, one more thing of what may help.

    Return whether there is more of that.
    """
    if names is None:
        return _import_piece()
    if names or WHOLE:
        load_rest()
        preload(names)
        _pieces[:] = [] if WHOLE else _pieces[-1:]
    gc.freeze()
    return bool(_pieces)


def _import_piece() -> bool:
    if not _pieces:
        return False
    name = _pieces.pop(0)
    try:
        if not name:
            load_rest()
            preload("")
        elif _is_whole:
            preload(name)
        else:
            __import__(name)
    except ImportError:
        return bool(_pieces)  # a cell that needs it says so
    return bool(_pieces)


def improve(quietly: int) -> bool:
    """Make cells cheaper, when all is imported; see settle()."""
    return settle(quietly)


def rehearse_as_cell() -> None:
    """Do what cells do, in a fork of the zygote that ends then."""
    be_example()


def load_rest() -> None:
    """Load the other files of our side, of which main() is the cells'."""
    global _is_whole
    if not _is_whole:
        for each in REST:
            exec(loaded(each), globals())
    _is_whole = True


def loaded(code: bytes) -> "CodeType":
    """Return marshalled code as ours: no traceback shows where it was."""
    found: CodeType = marshal.loads(code)
    _fix_co_filename(found, "<csandbox>")
    return found


# --- in a cell ---------------------------------------------------------------


def enter(prepared: bool) -> None:
    """Do the job of this cell, and end the process."""
    if _is_whole:
        main(prepared=prepared)
    await_job()
    begun = read_some(PAGE)
    if int.from_bytes(begun[8:16], _order) == len(begun) - HEADER:
        answer = _plain_answer(marshal.loads(begun[HEADER:]))
        if answer is not None:
            _send(FRAME_VALUE, answer)
            _exit(0)
    load_rest()
    furnish()
    main(begun=begun)


def _plain_answer(job: "dict[str, Any]") -> "bytes | None":
    """Return the pickle of a plain expression's value, None of all else.

    What it warns of, it would again: that is left to main().
    """
    source = job.get("source", "\n")
    if len(source) > SHORT or "\n" in source or job.get("explain"):
        return None
    if job["outputs"] is not None or job["payload"] or job["stored"]:
        return None
    errors, sys.stderr = sys.stderr, _Noted()
    value, raised = None, None
    try:
        code = compile(source, job["filename"], "eval")
        if not _is_plain(code) or sys.stderr.written:
            return None
        try:
            value = eval(code, {"__builtins__": _guests_own})
        except BaseException as error:
            # As if it had been evaluated later, without this frame.
            begun = error.__traceback__
            raised = error.with_traceback(begun and begun.tb_next)
        if not sys.stderr.written:
            _known.append((value, raised))
        return None if raised or not _known else _plain_pickle(value)
    except BaseException:
        return None
    finally:
        sys.stderr = errors


class _Noted:
    """In the place of stderr, where warnings would be shown."""

    written = False

    def write(self, _text: str) -> None:
        self.written = True


def _is_plain(code: "CodeType") -> bool:
    return _PLAIN.issuperset(code.co_names) and all(
        _is_plain(each) for each in code.co_consts if type(each) is type(code)
    )


def _plain_pickle(value: object) -> "bytes | None":
    """Return the pickle of a short, simple value without the module's help."""
    if value is None or value is True or value is False:
        written = {None: b"N", True: b"\x88", False: b"\x89"}[value]
    elif type(value) is int:
        size = value.bit_length() // 8 + 1
        data = value.to_bytes(size, "little", signed=True)
        written = b"\x8a" + bytes((size,)) + data
    elif type(value) is float:
        # The same eight bytes, but this begins with the highest.
        written = b"G" + marshal.dumps(value)[:0:-1]
    elif type(value) is str:
        data = value.encode("utf-8", "surrogatepass")
        written = b"X" + len(data).to_bytes(4, "little") + data
    else:
        return None
    return b"\x80\5" + written + b"." if len(written) < LARGE else None


# --- the pipes ---------------------------------------------------------------


def read_job(some):
    """Return the job that some(size), a way to read, gives the bytes of."""
    data = some(PAGE)
    while len(data) < HEADER:
        data += some(PAGE)
    length = int.from_bytes(data[8:16], _order)
    payload = data[HEADER:]
    if len(payload) < length:
        payload = _read_rest(payload, length)
    return marshal.loads(payload)  # from the host, which is trusted here


def await_job():
    """Wait for a job, and end without one."""
    if not CORE.await_input(JOB_FD, IDLE_SECONDS):
        _exit(0)


def read_some(size):
    """Read the job's pipe."""
    data = read(JOB_FD, size)
    if not data:
        _exit(1)  # the host is gone
    return data


def _read_rest(begun, size):
    from _io import FileIO

    data = bytearray(size)
    data[: len(begun)] = begun
    rest = memoryview(data)[len(begun) :]
    pipe = FileIO(JOB_FD, closefd=False)
    while rest:
        count = pipe.readinto(rest)
        if not count:
            _exit(1)
        rest = rest[count:]
    return data


def _send(kind, payload) -> None:
    _write(header(kind, len(payload), INLINE) + payload)


def header(kind, length, at):
    return (
        FRAME_MAGIC.to_bytes(4, _order)
        + kind.to_bytes(4, _order)
        + length.to_bytes(8, _order)
        + at.to_bytes(8, _order)
    )


def _write(data) -> None:
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[write(RESULT_FD, rest) :]
    except BrokenPipeError:
        return  # the host has read enough
