"""What the guest's side says of files that the program did not get.

Runs inside, in one namespace with _guest.py and under the same rules.  The
kernel reports denied system calls to the host; that a file is not there it
reports to the guest alone.  Nothing here is believed: it is text.
"""

import errno
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

TRIED_LIMIT = 64
WATCHED_LIMIT = 4096  # different paths and modules
FRAMES_SEEN = 100
SCRATCH_PLACES = ("/tmp/", "/dev/", "/proc/")

_HINTS = {
    "missing": "is not in what the sandbox shows; pass what the program "
    "reads as inputs= or stdin=",
    "read-only": "is read-only in the sandbox; /tmp can be written to",
    "refused": "may not be opened in the sandbox",
}
_watched = None  # {(kind, path): line}, once there is somebody to be told


def tried_by(error):
    """Return what an uncaught exception says of files, as plain data."""
    try:
        told = [*_file_of(error)]
        paths = {each["path"] for each in told}
        told += [each for each in _tried_before() if each["path"] not in paths]
        return told[:TRIED_LIMIT]
    except BaseException:  # it lies about itself
        return []


def add_hint(error) -> None:
    """Let an uncaught exception say what of the sandbox it met, as a note."""
    try:
        hint = _hint(error)
        if hint:
            error.add_note(f"csandbox: {hint}")
    except BaseException:
        return  # then it does without


def _hint(error):
    for told in _file_of(error):
        return f"{told['path']!r} {_HINTS[told['kind']]}"
    kind = type(error)
    if kind is OSError and error.errno == errno.ENOSPC:
        return "/tmp is as large as the policy's scratch= lets it be"
    if kind is RuntimeError and error.args == ("can't start new thread",):
        return "threads= of the policy bounds them, and memory= their stacks"
    return ""


def _file_of(error):
    if not isinstance(error, OSError):
        return
    path = os.fsdecode(error.filename) if error.filename else ""
    kind = _kind_of(error.errno, path) if path else None
    if kind:
        yield {"kind": kind, "path": path, "line": _line_of(error)}


def _kind_of(number, path):
    """Say why a path was not to be had, None if that is the program's own."""
    if number == errno.EROFS:
        return "read-only"
    if number == errno.ENOENT:
        return "missing" if _is_outside(path) else None
    if number == errno.EACCES:
        full = os.path.abspath(path)
        if full.startswith(SCRATCH_PLACES):
            return None
        return "read-only" if os.access(full, os.R_OK) else "refused"
    return None


def _is_outside(path):
    if not os.path.isabs(path):
        return True  # of a directory that the caller may have had in mind
    places = (sys.prefix, sys.base_prefix, *filter(None, sys.path))
    inside = tuple(each.rstrip("/") + "/" for each in places)
    return not os.path.normpath(path).startswith(SCRATCH_PLACES + inside)


def _line_of(error):
    """Return "file:line" of the last frame of the program's own, or ""."""
    place, trace = "", error.__traceback__
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if _is_own(name):
            place = f"{os.path.basename(name)}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _is_own(name):
    library = ("/lib/python", "/lib64/python", "/site-packages/")
    return not name.startswith(("<frozen ", "<csandbox>")) and not any(
        each in name for each in library
    )


# --- also what the program caught, for somebody who wants it explained -------


def watch() -> None:
    """From here on, note which files and modules the program asks for."""
    global _watched
    _watched = {}
    sys.addaudithook(_look)


def _look(event, arguments) -> None:
    try:
        if event == "import":
            if _is_asked_by_program():
                _remember("module", arguments[0])
        elif event == "open":
            path, _, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            _remember("write" if writes else "read", path)
        elif event in ("os.listdir", "os.scandir", "os.chdir"):
            _remember("read", arguments[0])
    except BaseException:
        return  # a program ends by its own errors only


def _is_asked_by_program():
    """Whether it is its own import: libraries try for what is optional."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith("<frozen "):
            return _is_own(name)
        frame = frame.f_back
    return False


def _remember(kind, name) -> None:
    if isinstance(name, (bytes, os.PathLike)):
        name = os.fsdecode(name)
    if not isinstance(name, str) or len(_watched) >= WATCHED_LIMIT:
        return
    place = _place_now()
    if place:  # not of our side, as it begins and ends
        _watched.setdefault((kind, name), place)


def _place_now():
    frame: FrameType | None = sys._getframe(2)
    for _ in range(FRAMES_SEEN):
        if frame is None:
            return ""
        name = frame.f_code.co_filename
        if _is_own(name):
            return f"{os.path.basename(name)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def tried():
    """Return what the program asked for and could not get, as plain data."""
    try:
        return _tried_before()[:TRIED_LIMIT]
    except BaseException:  # it changed what this stands on
        return []


def _tried_before():
    global _watched
    watched, _watched = _watched or {}, {}
    found = []
    for (kind, name), line in watched.items():
        why = _why_not(kind, name, watched)
        if why:
            found.append({"kind": why, "path": name, "line": line})
    return found


def _why_not(kind, name, watched):
    if kind == "module":
        return "module" if _is_missing(name, watched) else None
    if kind == "write":
        full = os.path.abspath(name)
        own = full.startswith(SCRATCH_PLACES) or full == "/tmp"
        return None if own or os.access(full, os.W_OK) else "read-only"
    if os.access(name, os.R_OK) or ("write", name) in watched:
        return None
    if os.path.lexists(name):
        return _kind_of(errno.EACCES, name)
    return _kind_of(errno.ENOENT, name)


def _is_missing(name, watched):
    """Whether a module is not there; its submodules go without saying.

    One of the standard library may be of another system, or optional.
    """
    top, dot, _ = name.partition(".")
    if dot and ("module", top) in watched:
        return False
    return name not in sys.modules and top not in sys.stdlib_module_names
