"""What the guest's side says of an exception, as plain data.

Runs inside, in one namespace with _guest.py and under the same rules.  The
bounds here keep an honest account readable; the host checks its own.
"""

import linecache
import traceback

NAME_LIMIT = 256  # characters
MESSAGE_LIMIT = 64 * 1024  # of a message, of a note
TRACEBACK_LIMIT = 256 * 1024
TEXT_LIMIT = 512 * 1024  # of all texts of the outermost exception
INNER_TEXT_LIMIT = 256 * 1024  # of all texts of all others
NOTES_LIMIT = 32  # of one exception
DEPTH_LIMIT = 16  # causes of causes, groups in groups
ERRORS_LIMIT = 128

_OUR_FILE = "<csandbox>"  # as the bootstrap compiles it


def account_of(error):
    """Return what the host makes a GuestError of: nested dicts of texts.

    Nearest first: of a wide or deep family, the far ones are left out.
    """
    report = _report_on(error)
    outermost = _texts(error, report, TEXT_LIMIT, chain=True)
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
            type(error), error, error.__traceback__, compact=True
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
