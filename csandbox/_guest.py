"""What runs inside: in the zygote `preload`, in each cell `main`.

With the other files of that name, whose namespace it shares, the only Python
of ours on the guest's side.  Nothing here is trusted by the host: a guest may
have changed all of it.  It is loaded by path, before the package's directory
disappears from view, and must import nothing of it.  Its builtins are a copy,
so that what a guest does to its own does not show here.
"""

import _ast
import builtins
import linecache
import mmap
import os
import pickle
import sys
from os import _exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from csandbox._guest_end import finish
    from csandbox._guest_errors import (
        NAME_LIMIT,
        PATH_LIMIT,
        account_of,
        cut,
        place_of,
    )
    from csandbox._guest_first import (
        CORE,
        ENVIRONMENT,
        FRAME_ERROR,
        FRAME_UNSUPPORTED,
        FRAME_VALUE,
        INPUTS_FD,
        LARGE,
        SHORT,
        VALUES,
        _known,
        _send,
        loaded,
        read_job,
        read_some,
    )
    from csandbox._guest_heavy import use_packages
    from csandbox._guest_mmap import share_by_files
    from csandbox._guest_ready import (
        _hooks,
        is_settled,
        reseed,
        set_environment,
        set_streams,
        settle_heap,
    )
    from csandbox._guest_store import Outgoing
    from csandbox._guest_tried import tried, watch
    from csandbox._guest_wait import wait_awhile

HUGE = 2 * 1024 * 1024  # from here on it is worth reserving it
ALIGNMENT = 64

REPR_LIMIT = 1000
PROTOCOL = 5

_TOO_LARGE = {
    "type": "MemoryError",
    "traceback": "",
    "message": "the inputs or arguments do not fit into the memory limit, "
    "where they take about twice their size; pass a larger memory=",
}

_values = None  # its code, once it is needed

_NOTHING = b"\x80\4}."  # the pickle of no inputs
_NO_ROOM = pickle.dumps(
    {"type": "MemoryError", "traceback": "", "message": ""}, PROTOCOL
)
# Address space that every cell has beyond its limit, to tell of its end.  Not
# a bytearray, whose zeros are written: each fork would have so many pages to
# share and to let go.
_spare = [mmap.mmap(-1, 8 * 1024 * 1024, mmap.MAP_PRIVATE)]


def preload(names: str) -> None:
    """Import what every cell shall find imported, then settle the heap."""
    furnish()
    with _hooks:
        for name in names.split(","):
            if name:
                __import__(name)
    # What they print is no guest's, and the first cells would flush it.
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Their first use has side effects that cells would repeat.
    sample = [{"a": 1, "b": [2.5, "c", b"d"]}, (1, None, True), 2**40]
    _Pickler(Outgoing(), False).dump(sample)
    if "numpy" in sys.modules:
        _values_code()
        use_packages()
    settle_heap()


def furnish() -> None:
    """Do what Python's own start does for its programs, and ours."""
    import site

    site.ENABLE_USER_SITE = False
    site.setquit()
    site.setcopyright()
    site.sethelper()
    share_by_files()


def main(live=None, begun=b"", *, prepared=False) -> None:
    """Do the job that the host gives, and end the process.

    `live` is what a fork of the host has of it: objects, not their pickle;
    `begun` is what has been read of the job; `prepared`, whether the pages
    that jobs write to have been copied.
    """
    if live is not None:
        share_by_files()
    reseed()
    if not is_settled:
        set_streams()
    waited = live is None and not begun and wait_awhile(prepared)
    parts = [begun] if begun else []
    fulfil(
        lambda size: parts.pop() if parts else read_some(size),
        live,
        waited=waited,
    )
    _exit(0)


def fulfil(read, live, *, waited) -> None:
    """Read the job, do it, and send what came of it."""
    try:
        job = read_job(read)
        job["live"] = live
    except MemoryError:
        _send(FRAME_ERROR, _dump(_TOO_LARGE))
        _exit(1)
    if not (waited or is_settled) or job["env"] != ENVIRONMENT:
        set_environment(job["env"])
    kind, outgoing = perform(job)
    finish()
    try:
        outgoing.send(kind)
    except (OSError, MemoryError) as error:  # no memory for the store, say
        _spare.clear()
        _send(FRAME_ERROR, _account(error))


def perform(job):
    """Do a job; return the kind of frame that tells of it, and what goes in.

    Does not return if the guest exits, or in a fork of it.
    """
    first = os.getpid()
    sys.argv = list(job["argv"])
    sys.orig_argv = [sys.executable, *sys.argv]
    explained = job.get("explain")
    if explained:
        watch()
    try:
        value = _do(job)
        if explained:
            value = {"tried": tried()}
        if os.getpid() != first:
            _leave(0)  # a fork that has come to the end of the program
        return _encode_value(value, job)
    except SystemExit as error:
        code = _exit_code(error)
        if explained and os.getpid() == first:
            finish()
            _send(FRAME_VALUE, _dump({"tried": tried(), "exit": code}))
        _leave(code)
    except BaseException as error:
        if os.getpid() != first:
            sys.excepthook(*sys.exc_info())
            _leave(1)
        _spare.clear()
        outgoing = Outgoing()
        outgoing.write(_account(error))
        return FRAME_ERROR, outgoing


def _account(error):
    try:
        return _dump(account_of(error))
    except MemoryError:
        return _NO_ROOM


# --- the job -----------------------------------------------------------------


def _do(job):
    if job["kind"] == "call":
        if job["live"] is None:
            _fresh_main()  # but a live function has its own
        function, args, kwargs = _load(job)
        if job["lines"] is not None:
            _give_source(function, *job["lines"])
        return function(*args, **kwargs)
    namespace = _fresh_main()
    namespace.update(_load(job))
    value = _run_source(job["source"], job["filename"], namespace)
    outputs = job["outputs"]
    if outputs is None:
        return value
    return {name: _output(namespace, name) for name in outputs}


def _load(job):
    if job["live"] is not None:
        return job["live"]  # it is here already
    # From the host, which is trusted here.
    if job["stored"] is None:
        return pickle.loads(job["payload"] or _NOTHING)
    end = sum(job["stored"][-1])
    whole = memoryview(CORE.open_region(INPUTS_FD, end))
    os.close(INPUTS_FD)
    stream, *buffers = [
        whole[place : place + size] for place, size in job["stored"]
    ]
    try:
        return _own(pickle.loads(stream, buffers=buffers))
    except MemoryError:
        raise MemoryError(_TOO_LARGE["message"]) from None


def _own(values):
    """Make frames and series that the guest is given changeable.

    Large arrays are read-only; inside of these that would come as a
    surprise, and with their size.
    """
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return values
    if isinstance(values, tuple):  # of a call
        function, args, kwargs = values
        args = tuple(_own(dict(enumerate(args))).values())
        return function, args, _own(kwargs)
    for name, value in values.items():
        if type(value) in (pandas.DataFrame, pandas.Series):
            values[name] = value.copy()
    return values


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
    if _known:
        value, raised = _known.pop()
        if raised is None:
            return value
        raise raised
    if len(source) < SHORT and "\n" not in source:
        # Most are expressions, for which there is no need of their tree.
        try:
            code = compile(source, filename, "eval")
        except SyntaxError:
            pass
        else:
            return eval(code, namespace)
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
    """Of the name of a kind of things, and one that may not cross."""

    def __init__(self, name, thing=None):
        super().__init__(name)
        self.thing = thing


_AS_THEY_ARE = frozenset({type(None), bool, int, float, str, bytes})


def _encode_value(value, job):
    """Return the kind of frame for a value, and what goes in it."""
    outgoing = Outgoing()
    if type(value) in _AS_THEY_ARE:
        outgoing.write(_dump(value))
        return FRAME_VALUE, outgoing
    show = job["on_unsupported"] == "repr"
    try:
        if isinstance(value, type) and not show:
            raise _Unsupported(f"the class {value.__qualname__}", value)
        _Pickler(outgoing, show).dump(value)
        return FRAME_VALUE, outgoing
    except _Unsupported as error:
        text, thing = str(error), error.thing
    except RecursionError:
        text, thing = "a value nested too deeply", None
    named = job.get("outputs") is not None
    path = "" if thing is None else place_of(thing, value, named=named)
    account = {"type": cut(text, NAME_LIMIT), "path": cut(path, PATH_LIMIT)}
    outgoing = Outgoing()
    outgoing.write(_dump(account))
    return FRAME_UNSUPPORTED, outgoing


def _rebuild():
    """Stand for csandbox.values.rebuild in a pickle."""


_rebuild.__module__ = "csandbox"
_rebuild.__qualname__ = "rebuild"


class _Pickler(pickle.Pickler):
    def __init__(self, outgoing, show_unsupported):
        super().__init__(outgoing, PROTOCOL)
        self.outgoing = outgoing
        self.show_unsupported = show_unsupported
        self.plain = None  # filled when something asks for it
        self.expected: tuple[object, ...] = ()

    def dump(self, value):
        before = sys.modules.get("csandbox")
        try:
            super().dump(value)
        finally:
            if before is not None:
                sys.modules["csandbox"] = before
            elif self.plain is not None:
                sys.modules.pop("csandbox", None)

    # Called for all that pickle itself does not know by heart: objects that
    # may not be plain, and the classes that rebuild those that are.
    def reducer_override(self, obj):
        if obj is _rebuild:
            return NotImplemented
        if self.plain is None:
            self.plain = _plain_types()
            self.rebuilt = _rebuilt_types(self.outgoing)
            module = type(sys)("csandbox")
            module.rebuild = _rebuild
            sys.modules["csandbox"] = module  # where pickle looks for it
        kind = type(obj)
        if kind in self.plain:
            self.expected = kind, getattr(obj, "default_factory", None)
            reduce = self.plain[kind]
            return NotImplemented if reduce is None else reduce(obj)
        # The classes that rebuild those come next, and they alone may.
        if issubclass(kind, type) and obj in self.plain:
            expected = any(obj is each for each in self.expected)
            return NotImplemented if expected else self.show(kind, obj)
        written = None
        if kind in self.rebuilt:
            with _Quiet():  # pandas warns of what it shall not have any more
                written = self.rebuilt[kind](obj)
        return self.show(kind, obj) if written is None else (_rebuild, written)

    def show(self, kind, obj):
        if not self.show_unsupported:
            raise _Unsupported(_type_name(kind, obj), obj)
        return _rebuild, ("repr", (_type_name(kind, obj), _repr(kind, obj)))


class _Quiet:
    def __enter__(self):
        import warnings

        self.caught = warnings.catch_warnings()
        self.caught.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, *exception):
        self.caught.__exit__(*exception)


def _rebuilt_types(outgoing):
    """Return {type: function} of what _guest_values.py writes down."""
    if "numpy" not in sys.modules:
        return {}
    namespace = {"__builtins__": globals()["__builtins__"]}
    exec(_values_code(), namespace)
    namespace.update(place=outgoing.place, LARGE=LARGE)
    return namespace["kinds"]()


def _values_code():
    global _values
    if _values is None:
        _values = loaded(VALUES)
    return _values


def _repr(kind, obj):
    try:
        text = str.__str__(repr(obj))
    except BaseException:
        text = f"<{kind.__qualname__} whose repr() failed>"
    if len(text) > REPR_LIMIT:
        text = f"{text[: REPR_LIMIT - 3]}..."
    return text.encode("utf-8", "backslashreplace").decode()


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
    zoneinfo = sys.modules.get("zoneinfo")
    if zoneinfo is not None:
        plain[zoneinfo.ZoneInfo] = _reduce_zone
    return plain


def _reduce_uuid(obj):
    return type(obj), (obj.hex,)


def _reduce_zone(obj):
    if obj.key is None:
        raise _Unsupported("a zoneinfo.ZoneInfo without a key")
    return type(obj), (obj.key,)


def _type_name(kind, obj):
    if kind is type or kind.__name__ in ("function", "module"):
        return f"{kind.__name__} {getattr(obj, '__qualname__', '')}".strip()
    return f"{kind.__module__}.{kind.__qualname__}"


def _dump(value):
    return pickle.dumps(value, PROTOCOL)


def _exit_code(error):
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def _leave(code):
    finish()
    _exit(code)
