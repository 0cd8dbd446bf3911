"""What the guest's side says of files that the program did not get.

Runs inside, in one namespace with _guest.py and under the same rules.  The
kernel reports denied system calls to the host; that a file is not there it
reports to the guest alone.  Nothing here is believed: it is text.
"""

import errno
import linecache
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

TRIED_LIMIT = 64
WATCHED_LIMIT = 4096  # different paths and modules
FRAMES_SEEN = 100
SCRATCH_PLACES = ("/tmp/", "/dev/", "/proc/")

_HINTS = {
    "missing": "is not in what the sandbox shows; pass what the program "
    "reads as inputs= or stdin=",
    "read-only": "is read-only in the sandbox; /tmp can be written to",
    "refused": "may not be opened in the sandbox; pass what the program "
    "reads as inputs= or stdin=",
}
_MODULE_HINT = (
    "the sandbox has the standard library and the packages installed in this "
    "environment, not modules beside the program; install it, or pass what "
    "you need as inputs= or as a function"
)
_SHARED_HINT = "processes=1 permits shared memory and semaphores"
_BARE_SHARED_HINT = (
    "shared memory and semaphores need namespaces, which this machine "
    "refuses: see csandbox doctor"
)
_SHARING = {  # by the file of the standard library that calls it
    "synchronize.py": "sem_open",
    "shared_memory.py": "shm_open",
}
_NO_THREAD = ("can't start new thread",)
_MAKING = ("mkdir", "mkfifo", "mknod", "symlink", "link")
_CHANGING = (
    *("remove", "unlink", "rmdir", "rename", "replace", "truncate"),
    *("chmod", "chown", "utime"),
)
# Audit events, and what of its first argument they are about.
_EVENTS = {
    **dict.fromkeys(("os.listdir", "os.scandir", "os.chdir"), "read"),
    **dict.fromkeys(("os.remove", "os.rmdir", "os.rename"), "change"),
    **dict.fromkeys(("os.truncate", "os.chmod", "os.utime"), "change"),
    "os.mkdir": "make",
}
# {(kind, path): (line, call, mode)}, while there is somebody to be told.
_watched: "Any" = None


def tried_by(error):
    """Return what an uncaught exception says of files, as plain data.

    Also what was watched, which ends here.
    """
    try:
        told = [*_told_by(error)]
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
    for told in _told_by(error):
        if told["kind"] in _HINTS:
            return f"{told['path']!r} {_HINTS[told['kind']]}"
        if told["kind"] == "shared":
            # The first of its own namespace is init, the second the cell.
            return _SHARED_HINT if os.getpid() == 2 else _BARE_SHARED_HINT
        if told["kind"] == "threads":
            return "threads= of the policy bounds them, and memory= the stacks"
    kind = type(error)
    if kind is ModuleNotFoundError and _is_nowhere(error):
        return _MODULE_HINT
    if kind is OSError and error.errno == errno.ENOSPC:
        return "/tmp is as large as the policy's scratch= lets it be"
    if kind is OSError and error.errno == errno.ENOSYS:
        return "it is a system call that no policy permits"
    return ""


def _is_nowhere(error):
    """Whether its module is missing, and nobody has said yet what helps."""
    if not error.name or "profile=" in error.msg:
        return False
    top = error.name.partition(".")[0]
    return top not in sys.modules and top not in sys.stdlib_module_names


def _told_by(error):
    line = _line_of(error)
    if type(error) is RuntimeError and error.args == _NO_THREAD:
        alive = str(len(sys._current_frames()))
        yield {"kind": "threads", "path": alive, "line": line}
    if not isinstance(error, OSError) or error.__traceback__ is None:
        return
    call = _sharing(error)
    if call:
        told = {"kind": "shared", "path": "/dev/shm", "line": line}
        yield {**told, "call": call}
    elif error.filename:
        path = os.fsdecode(error.filename)
        call, mode = _call_at(_last(error.__traceback__))
        kind = _kind_of(error.errno, path, call, mode)
        if kind:
            told = {"kind": kind, "path": path, "line": line}
            yield {**told, "call": call, "mode": mode}


def _last(trace):
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace


def _sharing(error):
    """Return the call of multiprocessing that processes=0 refuses, or ""."""
    frame = _last(error.__traceback__).tb_frame
    folder, name = os.path.split(frame.f_code.co_filename)
    if not folder.endswith("/multiprocessing") or (
        frame.f_locals.get("create") is False  # what exists, or does not
    ):
        return ""
    return _SHARING.get(name, "")


def _call_at(trace):
    """Return the name of the call at a place, "" or so, and a file's mode."""
    code = trace.tb_frame.f_code
    place = [*code.co_positions()][trace.tb_lasti // 2 :][:1]
    if not place or None in place[0]:
        return "", ""  # compiled without
    first, last, start, end = place[0]
    line = linecache.getline(code.co_filename, first).encode()
    text = line[start : end if first == last else None]
    call, _, arguments = text.decode(errors="replace").partition("(")
    call = call.rpartition(".")[2]
    if call != "open":
        return call, ""
    mode = trace.tb_frame.f_locals.get("mode") if "mode" in arguments else ""
    for each in arguments.partition(",")[2].replace('"', "'").split("'")[1::2]:
        if each and not {*each} - {*"rwaxbt+"}:
            mode = each
    if any(each in arguments for each in ("O_WRONLY", "O_RDWR", "O_CREAT")):
        mode = "w"
    return call, mode if isinstance(mode, str) else ""


def _kind_of(number, path, call, mode):
    """Say why a path was not to be had, None if that is the program's own."""
    makes = call in _MAKING or not {*"wax"}.isdisjoint(mode)
    if number == errno.EROFS:
        return "read-only"
    if number == errno.ENOENT and makes:
        return None if _is_scratch(path) else "read-only"
    if number == errno.ENOENT:
        return "missing" if _is_outside(path) else None
    if number != errno.EACCES or _is_scratch(path):
        return None
    # Where Landlock decides, os.access() does not know.
    changes = makes or call in _CHANGING or "+" in mode
    return "read-only" if changes or _may_be_read(path) else "refused"


def _may_be_read(path):
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _is_scratch(path):
    full = os.path.abspath(path)
    return full.startswith(SCRATCH_PLACES) or full == "/tmp"


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
    if _watched is None:
        return
    try:
        if event == "import":
            if _is_asked_by_program():
                _remember("module", arguments[0])
        elif event == "open":
            path, mode, flags = arguments
            writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            mode = mode or ("w" if writes else "r")
            _remember("make" if writes else "read", path, "open", mode)
        elif event in _EVENTS:
            call = event.partition(".")[2]
            _remember(_EVENTS[event], arguments[0], call)
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


def _remember(kind, name, call="", mode="") -> None:
    if isinstance(name, (bytes, os.PathLike)):
        name = os.fsdecode(name)
    if not isinstance(name, str) or len(_watched) >= WATCHED_LIMIT:
        return
    if name.startswith("<") and name.endswith(">"):
        return  # of a code object, for which tracebacks look
    place = _place_now()
    if place:  # not of our side, as it begins and ends
        _watched.setdefault((kind, name), (place, call, mode))


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
    watched, _watched = _watched or {}, None
    found = []
    for (kind, name), (line, call, mode) in watched.items():
        why = _why_not(kind, name, watched)
        if why:
            told = {"kind": why, "path": name, "line": line}
            found.append({**told, "call": call, "mode": mode})
    return found


def _why_not(kind, name, watched):
    if kind == "module":
        return "module" if _is_missing(name, watched) else None
    if kind == "make":
        own = _is_scratch(name) or os.access(name, os.W_OK)
        return None if own else "read-only"
    made = {("make", name), ("change", name)} & watched.keys()
    if kind == "read" and (made or _may_be_read(name)):
        return None
    number = errno.EACCES if os.path.lexists(name) else errno.ENOENT
    return _kind_of(number, name, "remove" if kind == "change" else "", "")


def _is_missing(name, watched):
    """Whether a module is not there; its submodules go without saying.

    One of the standard library may be of another system, or optional.
    """
    top, dot, _ = name.partition(".")
    if dot and ("module", top) in watched:
        return False
    return name not in sys.modules and top not in sys.stdlib_module_names
