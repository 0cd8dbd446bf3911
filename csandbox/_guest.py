"""What runs inside: in the zygote `preload`, in each cell `main`.

The only Python of ours on the guest's side.  Nothing here is trusted by the
host: a guest may have changed all of it.  It is loaded by path, before the
package's directory disappears from view, and must import nothing of it.  Its
builtins are a copy, so that what a guest does to its own does not show here.
"""

import _ast
import atexit
import builtins
import gc
import io
import linecache
import os
import pickle
import signal
import sys
import time
import traceback
from os import _exit, write

JOB_FD, RESULT_FD = 4, 3
FRAME_MAGIC = 0x46425343
FRAME_JOB, FRAME_VALUE, FRAME_ERROR, FRAME_UNSUPPORTED = 1, 2, 3, 4
HEADER = 16  # magic, kind: 4 bytes each; length: 8; of this machine's order

TEXT_LIMIT = 64 * 1024  # characters of a message
TRACEBACK_LIMIT = 256 * 1024
PROTOCOL = 5

_TOO_LARGE = {
    "type": "MemoryError",
    "traceback": "",
    "message": "the inputs or arguments do not fit into the memory limit, "
    "where they take about twice their size; pass a larger memory=",
}

_OUR_FILE = "<csandbox>"  # as the bootstrap compiles it
_order = sys.byteorder


def preload(names: str) -> None:
    """Import what every cell shall find imported, then settle the heap."""
    import site

    site.ENABLE_USER_SITE = False
    site.setquit()
    site.setcopyright()
    site.sethelper()
    for name in names.split(","):
        if name:
            __import__(name)
    # Their first use has side effects that cells would repeat.
    pickle.Pickler(io.BytesIO(), PROTOCOL).dump(None)
    # Python 3.13 keeps the text of -c, which is the bootstrap's.
    linecache.clearcache()
    vars(linecache).get("_interactive_cache", {}).clear()
    gc.collect()
    gc.freeze()


def main(live=None) -> None:
    """Read the job, do it, send what came of it, and end the process.

    `live` is what a fork of the host has of it: objects, not their pickle.
    """
    try:
        job = _read_job()
        if live is not None:
            job["payload"] = live
    except MemoryError:
        _send(FRAME_ERROR, _dump(_TOO_LARGE))
        _exit(1)
    _reseed()
    _set_environment(job["env"])
    _set_streams()
    sys.argv = list(job["argv"])
    sys.orig_argv = [sys.executable, *sys.argv]
    try:
        value = _do(job)
        kind, payload = _encode_value(value)
    except SystemExit as error:
        _leave(_exit_code(error))
    except BaseException as error:
        kind, payload = FRAME_ERROR, _encode_error(error)
    _finish()
    _send(kind, payload)
    _exit(0)


# --- the job -----------------------------------------------------------------


def _read_job():
    header = _read_exactly(HEADER)
    length = int.from_bytes(header[8:16], _order)
    payload = _read_exactly(length)
    os.close(JOB_FD)
    return pickle.loads(payload)  # from the host, which is trusted here


def _read_exactly(size):
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        count = os.readv(JOB_FD, [rest])
        if not count:
            _exit(1)  # the host is gone
        rest = rest[count:]
    return data


def _reseed() -> None:
    """Give this cell randomness of its own; `random` reseeds itself."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed(list(os.urandom(64)))
    ssl = sys.modules.get("_ssl")
    if ssl is not None:
        ssl.RAND_add(os.urandom(64), 64.0)
    uuid = sys.modules.get("uuid")
    if uuid is not None:
        vars(uuid).update(_node=None, _last_timestamp=None)


def _set_environment(variables) -> None:
    os.environ.clear()
    os.environ.update(variables)
    if "TZ" in variables:
        time.tzset()


def _set_streams() -> None:
    """Make the streams anew: the zygote's were of other files."""
    for number, name, mode, errors in (
        (0, "stdin", "r", "surrogateescape"),
        (1, "stdout", "w", "backslashreplace"),
        (2, "stderr", "w", "backslashreplace"),
    ):
        stream = _stream(name, number, mode, errors)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _stream(name, descriptor, mode, errors):
    raw = io.FileIO(descriptor, mode, closefd=False)
    raw.name = f"<{name}>"
    buffered = io.BufferedReader if mode == "r" else io.BufferedWriter
    stream = io.TextIOWrapper(
        buffered(raw), encoding="utf-8", errors=errors, line_buffering=True
    )
    vars(stream).update(mode=mode)
    return stream


def _do(job):
    if job["kind"] == "call":
        if type(job["payload"]) is bytes:
            _fresh_main()  # but a live function has its own
        function, args, kwargs = _load(job["payload"])
        if job["lines"] is not None:
            _give_source(function, *job["lines"])
        return function(*args, **kwargs)
    namespace = _fresh_main()
    if job["payload"]:
        namespace.update(_load(job["payload"]))
    value = _run_source(job["source"], job["filename"], namespace)
    outputs = job["outputs"]
    if outputs is None:
        return value
    return {name: _output(namespace, name) for name in outputs}


def _load(payload):
    if type(payload) is not bytes:
        return payload  # live, and here already
    return pickle.loads(payload)  # from the host, which is trusted here


def _output(namespace, name):
    try:
        return namespace[name]
    except KeyError:
        raise NameError(f"the program left no variable {name!r}") from None


def _fresh_main():
    module = type(sys)("__main__")
    vars(module).update(__builtins__=builtins)
    sys.modules["__main__"] = module
    return module.__dict__


def _run_source(source, filename, namespace):
    """Run all statements; return the value of a last expression, or None."""
    flag = _ast.PyCF_ONLY_AST
    _remember_source(source, filename)
    tree: _ast.Module = compile(source, filename, "exec", flag)
    last = None
    if tree.body and isinstance(tree.body[-1], _ast.Expr):
        last = _ast.Expression(tree.body[-1].value)
        del tree.body[-1]
    exec(compile(tree, filename, "exec"), namespace)
    if last is None:
        return None
    return eval(compile(last, filename, "eval"), namespace)


def _remember_source(source, filename) -> None:
    """Let tracebacks show lines of a program that is in no file."""
    # With its newline, even the last, or carets are off by one.
    lines = [f"{line}\n" for line in source.splitlines()]
    linecache.cache[filename] = (len(source), None, lines, filename)


def _give_source(function, name, first, lines) -> None:
    """Let tracebacks show lines of a function that came without its file."""
    for attribute in ("func", "__func__", "__wrapped__"):
        function = getattr(function, attribute, function)
    if not hasattr(function, "__code__"):
        function = type(function).__call__
    code = function.__code__
    function.__code__ = _renamed(code, code.co_filename, name)
    lines = ["\n"] * (first - 1) + lines
    linecache.cache[name] = (0, None, lines, name)


def _renamed(code, old, new):
    constants = tuple(
        _renamed(each, old, new)
        if isinstance(each, type(code)) and each.co_filename == old
        else each
        for each in code.co_consts
    )
    return code.replace(co_filename=new, co_consts=constants)


# --- what came of it ---------------------------------------------------------


class _Unsupported(Exception):
    pass


def _encode_value(value):
    """Return the kind and payload of the frame for a value."""
    try:
        if isinstance(value, type):
            raise _Unsupported(f"the class {value.__qualname__}")
        return FRAME_VALUE, _pickle(value)
    except _Unsupported as error:
        text = str(error)
    except RecursionError:
        text = "a value nested too deeply"
    return FRAME_UNSUPPORTED, _dump({"type": text[:TEXT_LIMIT]})


def _pickle(value):
    plain: dict[type, object] = {}  # filled when something asks for it

    class Pickler(pickle.Pickler):
        # Called for all that pickle itself does not know by heart: objects
        # that may not be plain, and the classes that rebuild those that are.
        def reducer_override(self, obj):
            if not plain:
                plain.update(_plain_types())
            kind = type(obj)
            if issubclass(kind, type) and obj in plain:
                return NotImplemented
            if kind not in plain:
                raise _Unsupported(_type_name(kind, obj))
            reduce = plain[kind]
            return NotImplemented if reduce is None else reduce(obj)

    buffer = io.BytesIO()
    Pickler(buffer, PROTOCOL).dump(value)
    return buffer.getbuffer()


def _plain_types():
    """Return {type: reduce function or None} of what may cross."""
    kinds = [complex, range, slice, type(...)]
    # The factories of a defaultdict.
    kinds += [list, dict, set, int, float, str, tuple]
    for module_name, names in (
        ("datetime", ("date", "time", "datetime", "timedelta", "timezone")),
        ("decimal", ("Decimal",)),
        ("fractions", ("Fraction",)),
        ("collections", ("OrderedDict", "deque", "Counter", "defaultdict")),
    ):
        module = sys.modules.get(module_name)
        if module is not None:
            kinds += [getattr(module, name) for name in names]
    plain = dict.fromkeys(kinds)
    uuid = sys.modules.get("uuid")
    if uuid is not None:
        plain[uuid.UUID] = _reduce_uuid
    return plain


def _reduce_uuid(obj):
    return type(obj), (obj.hex,)


def _type_name(kind, obj):
    if kind is type or kind.__name__ in ("function", "module"):
        return f"{kind.__name__} {getattr(obj, '__qualname__', '')}".strip()
    return f"{kind.__module__}.{kind.__qualname__}"


def _dump(value):
    return pickle.dumps(value, PROTOCOL)


def _encode_error(error):
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ not in ("builtins", "__main__"):
        name = f"{kind.__module__}.{name}"
    try:
        message = str(error)
    except BaseException:
        message = f"<{name} whose str() failed>"
    try:
        text = _format(error)
    except BaseException:
        text = f"{name}: {message}\n"
    return _dump(
        {
            "type": _cut(name, TEXT_LIMIT),
            "message": _cut(message, TEXT_LIMIT),
            "traceback": _cut(text, TRACEBACK_LIMIT),
        }
    )


def _cut(text, limit):
    text = str.__str__(text)
    if len(text) > limit:
        text = text[: limit // 2] + "\n...\n" + text[-limit // 2 :]
    return text.encode("utf-8", "backslashreplace").decode()


def _format(error):
    if isinstance(error, SyntaxError) and error.text is None:
        # The compiler proper, unlike the parser, looks for a file.
        error.text = linecache.getline(error.filename or "", error.lineno or 0)
    error.__traceback__ = _without_ours(error.__traceback__)
    return "".join(traceback.format_exception(error))


def _without_ours(trace):
    """Drop the frames of this file, which come first."""
    while trace is not None and (
        trace.tb_frame.f_code.co_filename == _OUR_FILE
    ):
        trace = trace.tb_next
    return trace


def _exit_code(error):
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _leave(code):
    _finish()
    _exit(code)


class _Suppress:
    """What the guest left behind may raise anything."""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return True


def _finish() -> None:
    """End as Python ends: threads, exit functions, streams."""
    threading = sys.modules.get("threading")
    try:
        if threading is not None:
            threading._shutdown()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    with _Suppress():
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with _Suppress():
            stream.flush()


def _send(kind, payload) -> None:
    size = len(payload)
    header = (
        FRAME_MAGIC.to_bytes(4, _order)
        + kind.to_bytes(4, _order)
        + size.to_bytes(8, _order)
    )
    if size < 65536:
        header, payload = header + payload, b""
    for data in (header, payload):
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[write(RESULT_FD, rest) :]
        except BrokenPipeError:
            return  # the host has read enough
