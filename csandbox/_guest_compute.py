"""What is otherwise inside with profile="compute": part of the guest's side.

After the others in one namespace with _guest.py, of which it replaces some
functions: what a cell could import later is imported before, and streams,
jobs and results need no system calls but read and write.  Not trusted.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from csandbox._guest import HUGE, _renamed, preload
    from csandbox._guest_first import (
        CORE,
        FRAME_RESERVE,
        JOB_FD,
        STORE_FD,
        _write,
        header,
        read_job,
    )

# Of the standard library what computes and nothing else, of all versions:
# about 60 ms and 10 MB, once in a zygote.  Left out is what needs files,
# sockets or processes, and what few ask for and takes long (asyncio, sqlite3,
# email, urllib.request): preload= has it.
_MODULES = """
abc annotationlib argparse array ast base64 binascii bisect builtins bz2
calendar cloudpickle cmath codecs codeop collections collections.abc _colorize
colorsys configparser contextlib contextvars copy copyreg csv dataclasses
datetime decimal difflib dis enum errno fnmatch fractions functools gc graphlib
gzip hashlib heapq hmac html html.entities html.parser inspect io ipaddress
itertools json keyword linecache locale logging lzma marshal math mmap numbers
opcode operator os.path pathlib pickle posixpath pprint queue quopri random re
reprlib sched secrets shlex shutil signal statistics string string.templatelib
stringprep _strptime struct textwrap threading time timeit token tokenize
tomllib traceback tracemalloc types typing unicodedata urllib.parse uuid
warnings weakref xml.etree.ElementTree zipfile zlib zoneinfo encodings.ascii
encodings.base64_codec encodings.charmap encodings.cp1250 encodings.cp1251
encodings.cp1252 encodings.cp437 encodings.cp850 encodings.hex_codec
encodings.idna encodings.iso8859_1 encodings.iso8859_15 encodings.iso8859_2
encodings.latin_1 encodings.mac_roman encodings.punycode
encodings.raw_unicode_escape encodings.rot_13 encodings.unicode_escape
encodings.utf_16 encodings.utf_16_be encodings.utf_16_le encodings.utf_32
encodings.utf_32_be encodings.utf_32_le encodings.utf_7 encodings.utf_8
encodings.utf_8_sig
"""

# What packages import when a function is first called.
_LATER = {
    "numpy": """
        char ctypeslib fft lib.recfunctions linalg ma polynomial random rec
        strings testing typing
    """,
    "pandas": """
        api.types core.computation.eval core.computation.expressions
        core.methods.describe core.methods.selectn core.methods.to_dict
        core.reshape.encoding core.reshape.melt core.reshape.merge
        core.reshape.pivot core.reshape.reshape core.reshape.tile
        io.formats.csvs io.formats.format io.formats.html io.formats.info
        io.formats.string io.json io.parsers testing tseries.holiday
        tseries.offsets
    """,
}

_HOW = (
    'No module named {0!r}: profile="compute" can import what it began '
    "with; name it in preload=({0!r},)"
)
_settled = False


def _preload_to_compute(names: str, preload=preload) -> None:
    """Import what cells cannot import any more, then shut the way to files."""
    global _settled
    if _settled:
        return  # what an idle zygote imports is here already
    preload(f"{names},{','.join(_importable(names))}")
    for finder in [*sys.meta_path]:
        if getattr(finder, "__name__", "") == "PathFinder":
            sys.meta_path.remove(finder)
    sys.meta_path.append(_NotHere)
    CORE.refuse_files()
    _settled = True


def _importable(names):
    """Yield those of the lists that this Python, or a package, has."""
    wanted = _MODULES.split()
    for name in names.split(","):
        package = name.partition(".")[0]
        later = _LATER.get(package, "").split()
        wanted += [f"{package}.{each}" for each in later]
    for name in wanted:
        try:
            __import__(name)
        except ImportError:
            continue
        yield name


class _NotHere:
    """The last finder of modules, which says what to do."""

    @staticmethod
    def find_spec(name, _path=None, _target=None):
        # Only to imports: importlib.util.find_spec() asks as well.
        if sys._getframe(2).f_code.co_name == "_find_and_load_unlocked":
            raise ModuleNotFoundError(_HOW.format(name), name=name)


def _own_code(function):
    # As a part of the machinery it is in no traceback of an ImportError.
    code = function.__code__
    old, new = code.co_filename, "<frozen importlib._bootstrap>"
    function.__code__ = _renamed(code, old, new)


_own_code(_NotHere.find_spec)


def _is_not_begun_with(name, watched):
    """Whether an import failed: also of the standard library."""
    top, dot, _ = name.partition(".")
    return name not in sys.modules and not (dot and ("module", top) in watched)


_room = 0  # bytes that the store holds


def _read_job_and_room(read, read_job=read_job):
    global _room
    job = read_job(read)
    _room = job["room"]
    return job


def _room_of_store():
    return _room


def _fill_in_order(parts, end) -> None:
    """Write parts to the store one after another, with the gaps between.

    Large ones piece by piece, as the host answers that it has taken huge
    pages for the next: see csb_store_piece().
    """
    done, ready, piece = 0, end, 0
    if end >= HUGE:
        _write(header(FRAME_RESERVE, end, 0))
        ready, piece = 0, max(2 * HUGE, -(-(end // 1024 + 1) // HUGE) * HUGE)
    for start, data in parts:
        for each in (bytes(start - done), data):
            rest = memoryview(each).cast("B")
            while rest:
                if done == ready:
                    huge = os.read(JOB_FD, 1) == b"\1"
                    ready = done + piece if huge else end
                count = os.write(STORE_FD, rest[: ready - done])
                done, rest = done + count, rest[count:]


def _never_wait(_prepared):
    """Other calls than those of a job would be needed."""
    return False


wait_awhile = _never_wait
preload, read_job = _preload_to_compute, _read_job_and_room
_is_missing = _is_not_begun_with
room_of_store, fill_store = _room_of_store, _fill_in_order
