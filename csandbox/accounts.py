"""What a guest sends instead of a value, checked: from hostile data to errors.

All of it has come through the strict decoder, so it is plain; whether it has
the types and sizes that the guest's side of ours would send is checked here.
"""

from __future__ import annotations

from csandbox.errors import GuestError, ResultError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Somewhat more than the guest's side sends, which has cut what was longer.
TEXT_LIMIT = 300_000  # characters of a message, a note or a traceback
TEXTS_LIMIT = 2_000_000  # characters of all of them together
NAME_LIMIT = 200  # characters
NOTES_LIMIT = 64  # of one exception
DEPTH_LIMIT = 16  # causes of causes, groups in groups
ERRORS_LIMIT = 128
KIND_LIMIT = 1000  # characters of what may not cross
PATH_LIMIT = 2000  # characters of where it is
NAMELESS = "<unnamed>"


class _Malformed(Exception):
    pass


def guest_error(account: object) -> GuestError | None:
    """Return the error that an account tells of, or None if it tells none.

    An account is a dict of "type", "message", "traceback", and perhaps
    "notes", "cause", "context" and "exceptions".
    """
    try:
        return _Reader().error(account, DEPTH_LIMIT)
    except _Malformed:
        return None


class _Reader:
    """Reads one account, and counts what it makes of it.

    Not what it is given: a text or an account that is there once may be
    referred to from many places.
    """

    def __init__(self) -> None:
        self._errors_left = ERRORS_LIMIT
        self._text_left = TEXTS_LIMIT

    def error(self, account: object, depth: int) -> GuestError:
        if type(account) is not dict or not depth or not self._errors_left:
            raise _Malformed
        self._errors_left -= 1
        return GuestError(
            _checked_name(account.get("type")),
            self._text(account.get("message")),
            self._text(account.get("traceback")),
            notes=tuple(
                self._text(note)
                for note in _list(account, "notes", NOTES_LIMIT)
            ),
            cause=self._relative(account.get("cause"), depth),
            context=self._relative(account.get("context"), depth),
            exceptions=tuple(
                self.error(each, depth - 1)
                for each in _list(account, "exceptions", ERRORS_LIMIT)
            ),
        )

    def _relative(self, account: object, depth: int) -> GuestError | None:
        return None if account is None else self.error(account, depth - 1)

    def _text(self, text: object) -> str:
        if type(text) is not str:
            raise _Malformed
        text = text[: min(TEXT_LIMIT, self._text_left)]
        self._text_left -= len(text)
        return text


def _list(account: dict[Any, Any], key: str, most: int) -> list[Any]:
    items = account.get(key, [])
    if type(items) is not list or len(items) > most:
        raise _Malformed
    return items


def _checked_name(name: object) -> str:
    """Return the name of a class if it is one, or else a marker."""
    if type(name) is not str:
        raise _Malformed
    parts = name.split(".") if len(name) <= NAME_LIMIT else [""]
    named = all(each.isidentifier() or each == "<locals>" for each in parts)
    return name if named else NAMELESS


def refused_value(
    account: object, way_out: Callable[[str], str]
) -> ResultError | None:
    """Return the error for a value that may not cross, or None.

    An account is a dict of "type" and perhaps "path".  `way_out` says how
    people make plain data of a type, or "".
    """
    if type(account) is not dict:
        return None
    type_name, path = account.get("type"), account.get("path", "")
    if type(type_name) is not str or type(path) is not str:
        return None
    type_name, path = type_name[:KIND_LIMIT], path[:PATH_LIMIT]
    what = _with_article(type_name)
    where = f"{path} is {what}" if path else f"the guest's value holds {what}"
    instead = ", such as numbers, strings, lists and dicts, instead"
    if path.endswith(".default_factory"):
        instead = " instead: dict() of the defaultdict"
    elif way_out(type_name):
        instead = f" instead: {way_out(type_name)}"
    return ResultError(
        f"{where}, which cannot cross; return plain data{instead}",
        type_name=type_name,
        path=path,
    )


def _with_article(type_name: str) -> str:
    type_name = type_name.removeprefix("builtins.")
    if type_name.startswith(("a ", "an ", "the ")):
        return type_name
    if " " in type_name:  # a function, a class: with its own name
        return f"the {type_name}"
    return f"{'an' if type_name[:1] in [*'aeiouAEIOU'] else 'a'} {type_name}"
