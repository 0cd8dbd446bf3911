"""What the guest's side says of an end without a value, as plain data.

That is, of an exception, and of the place of a thing that may not cross.
Runs inside, in one namespace with _guest.py and under the same rules.  The
bounds here keep an honest account readable; the host checks its own.
"""

import linecache
import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from csandbox._guest_tried import add_hint, tried_by

NAME_LIMIT = 200  # characters
MESSAGE_LIMIT = 64 * 1024  # of a message, of a note
TRACEBACK_LIMIT = 256 * 1024
TEXT_LIMIT = 512 * 1024  # of all texts of the outermost exception
INNER_TEXT_LIMIT = 256 * 1024  # of all texts of all others
NOTES_LIMIT = 32  # of one exception
DEPTH_LIMIT = 16  # causes of causes, groups in groups
FRAMES_LIMIT = 5000  # of a traceback
ERRORS_LIMIT = 128

KEY_LIMIT = 40  # characters of a key
PATH_LIMIT = 1000  # characters
LOOKS_LIMIT = 1_000_000  # things that a search looks at

_OUR_FILE = "<csandbox>"  # as the bootstrap compiles it


def account_of(error):
    """Return what the host makes a GuestError of: nested dicts of texts.

    Nearest first: of a wide or deep family, the far ones are left out.
    """
    files = tried_by(error)  # before a traceback is made, which opens files
    add_hint(error)
    report = _report_on(error)
    outermost = _texts(error, report, TEXT_LIMIT, chain=True)
    if files:
        outermost["tried"] = files
    left = INNER_TEXT_LIMIT
    above: tuple[int, ...] = (id(error),)
    family = [(error, report, outermost, above)]
    for error, report, account, above in family:
        if len(above) == DEPTH_LIMIT:
            break  # and so are all that follow
        for name, relative, its_report in _relatives(error, report):
            if len(family) == ERRORS_LIMIT:
                break
            if id(relative) in above:
                continue  # a cycle
            its_account = _texts(relative, its_report, left, chain=False)
            left -= _size(its_account)
            if name == "exceptions":
                account.setdefault(name, []).append(its_account)
            else:
                account[name] = its_account
            above_it = (*above, id(relative))
            family.append((relative, its_report, its_account, above_it))
    return outermost


def _report_on(error):
    """Return all that Python prints of an exception, or None if it fails."""
    try:
        if isinstance(error, SyntaxError) and error.text is None:
            # The compiler proper, unlike the parser, looks for a file.
            line = linecache.getline(error.filename or "", error.lineno or 0)
            error.text = line
        error.__traceback__ = _without_ours(error.__traceback__)
        return traceback.TracebackException(
            type(error),
            error,
            error.__traceback__,
            limit=-FRAMES_LIMIT,  # the last ones
            compact=True,
        )
    except BaseException:
        return None


def _without_ours(trace):
    """Drop the frames of this file and its like, which come first."""
    while trace is not None and (
        trace.tb_frame.f_code.co_filename == _OUR_FILE
    ):
        trace = trace.tb_next
    return trace


def _texts(error, report, left, *, chain):
    """Return an exception's own account, of at most about `left` characters.

    With `chain`, its traceback tells of causes too.
    """
    name = _name_of(type(error))
    if left < 2:
        return {"type": cut(name, NAME_LIMIT), "message": "", "traceback": ""}
    try:
        message = str(error)
    except BaseException:
        message = f"<{name} whose str() failed>"
    try:
        text = "".join(report.format(chain=chain))
    except BaseException:
        text = f"{name}: {message}\n"
    account = {"type": cut(name, NAME_LIMIT)}
    account["message"] = cut(message, min(MESSAGE_LIMIT, left))
    left -= len(account["message"])
    account["traceback"] = cut(text, min(TRACEBACK_LIMIT, left))
    left -= len(account["traceback"])
    for note in _notes(error):
        noted = cut(note, min(MESSAGE_LIMIT, left))
        left -= len(noted)
        account.setdefault("notes", []).append(noted)
    return account


def _name_of(kind):
    try:
        name = kind.__qualname__
        if kind.__module__ not in ("builtins", "__main__"):
            name = f"{kind.__module__}.{name}"
        return str.__str__(name)
    except BaseException:
        return ""


def _notes(error):
    try:
        notes = error.__notes__
        if not isinstance(notes, (list, tuple)):
            return []
        return [_note(each) for each in notes[:NOTES_LIMIT]]
    except BaseException:
        return []


def _note(note):
    try:
        return str.__str__(str(note))
    except BaseException:
        return "<note whose str() failed>"


def _relatives(error, report):
    """Return (key, exception, report or None) of all that Python shows."""
    try:
        return [*_before(error, report), *_inside(error, report)]
    except BaseException:
        return []


def _before(error, report):
    # Past what a subclass may have put in their place.
    inherited = vars(BaseException)
    cause = inherited["__cause__"].__get__(error)
    if cause is not None:
        yield "cause", cause, getattr(report, "__cause__", None)
        return
    context = inherited["__context__"].__get__(error)
    hidden = inherited["__suppress_context__"].__get__(error)
    if context is not None and not hidden:
        yield "context", context, getattr(report, "__context__", None)


def _inside(error, report):
    if not issubclass(type(error), BaseExceptionGroup):
        return
    members = vars(BaseExceptionGroup)["exceptions"].__get__(error)
    reports = getattr(report, "exceptions", None) or ()
    if len(reports) != len(members):
        reports = [None] * len(members)
    for member, its_report in zip(members, reports, strict=True):
        yield "exceptions", member, its_report


def _size(account):
    texts = [each for each in account.values() if type(each) is str]
    return sum(map(len, [*texts, *account.get("notes", ())]))


def cut(text, limit):
    """Return a plain string of about `limit` characters: start and end."""
    text = str.__str__(text)
    if limit < 2:
        return ""
    if len(text) > limit:
        text = text[: limit // 2] + "\n...\n" + text[-(limit // 2) :]
    return text.encode("utf-8", "backslashreplace").decode()


# --- places ------------------------------------------------------------------

# Steps that are no text to be put behind what was.
_KEY, _ELEMENT, _ITEM = range(3)
_SIMPLE = (str, bytes, bool, int, float, complex, type(None))


def place_of(thing, value, *, named):
    """Return an expression for where a value holds a thing, "" if not found.

    With `named`, the value is a dict of variables of the guest.
    """
    try:
        steps = _steps_to(thing, value)
        if steps is None:
            return ""
        path = _path(steps, named)
    except BaseException:  # it changed meanwhile, or lies
        return ""
    half = PATH_LIMIT // 2
    return path if len(path) <= 2 * half else f"{path[:half]}...{path[-half:]}"


def _steps_to(thing, value):
    """Return the steps from the value to the first place of the thing.

    In the order in which pickle goes, and never into one thing twice.
    """
    if thing is value:
        return []
    steps = []
    open_ones = [_parts(value)]
    entered = {id(value): value}  # alive, so that no other has its id
    for _ in range(LOOKS_LIMIT):
        step, part = next(open_ones[-1], (None, None))
        if part is thing:
            return [*steps, step]
        if step is None:
            open_ones.pop()
            if not open_ones:
                return None
            steps.pop()
        elif type(part) not in _SIMPLE and id(part) not in entered:
            entered[id(part)] = part
            steps.append(step)
            open_ones.append(_parts(part))
    return None


def _parts(value):
    """Yield (step, thing) for all that a value of a kind that crosses holds.

    A step is a pair of a kind of step and what it needs.
    """
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if issubclass(kind, dict):
        if name == "collections.defaultdict":
            yield (".default_factory", None), value.default_factory
        for key, item in dict.items(value):
            yield (_KEY, None), key
            yield (_ITEM, key), item
    elif issubclass(kind, (list, tuple)) or name == "collections.deque":
        for index, item in enumerate(value):
            yield (_ITEM, index), item
    elif issubclass(kind, (set, frozenset)):
        for item in value:
            yield (_ELEMENT, None), item
    elif kind is slice:
        for name in (".start", ".stop", ".step"):
            yield (name, None), getattr(value, name[1:])
    elif name in ("datetime.datetime", "datetime.time"):
        yield (".tzinfo", None), value.tzinfo
    elif name.startswith("pandas."):
        yield from _parts_of_pandas(value, kind.__name__)


def _parts_of_pandas(value, name):
    if name == "DataFrame":
        for index, label in enumerate(value.columns):
            yield (_ITEM, label), value.iloc[:, index]
        yield (".index", None), value.index
        yield (".columns", None), value.columns
    elif name in ("Series", "Index"):
        items = value.array if value.dtype == object else ()
        for index, item in enumerate(items):
            yield (f".array[{index}]", None), item
        if name == "Series":
            yield (".index", None), value.index


def _path(steps, named):
    path, of = "result", ""
    if named and steps:
        name = steps[0][1]
        path = name if name.isidentifier() else f"outputs[{_key(name)}]"
        steps = steps[1:]
    for step, key in steps:
        if step == _KEY:
            path, of = "a key", f" of {path}{of}"
        elif step == _ELEMENT:
            path, of = "an element", f" of {path}{of}"
        else:
            path += f"[{_key(key)}]" if step == _ITEM else step
    return path + of


def _key(key):
    """Return a short expression for a key, or what kind of thing it is."""
    kind = type(key)
    if kind is tuple and 0 < len(key) <= 4:
        comma = "," if len(key) == 1 else ""
        return f"({', '.join(map(_key, key))}{comma})"
    if kind not in _SIMPLE or (kind is int and key.bit_length() > 128):
        return f"<{kind.__name__}>"[:KEY_LIMIT]
    if kind not in (str, bytes):
        return repr(key)
    more = "..." if len(key) > KEY_LIMIT else ""
    text = repr(key[:KEY_LIMIT])
    if kind is str and not {"'", '"'} & {*text[1:-1]}:
        text = f'"{text[1:-1]}"'
    return text + more
