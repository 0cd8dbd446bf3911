"""An exception of the guest arrives whole, as text, and nothing else does."""

import copy
import functools
import pickle

import pytest

import csandbox
import support
from csandbox import _csandbox, accounts
from csandbox.errors import GuestError, ResultError

SECONDS = 60.0
PLAIN = {"type": "ValueError", "message": "no", "traceback": ""}


def error_of(source, **options):
    result = csandbox.execute(source, **{"timeout": SECONDS, **options})
    assert type(result.error) is GuestError, result
    return result.error


def family(error):
    """Return an error and all that it holds, outermost first."""
    found = [error]
    for each in found:
        found += filter(None, [each.cause, each.context, *each.exceptions])
    return found


def send(account, kind=_csandbox.FRAME_ERROR):
    """Return the error of a guest that sends an account by hand."""
    return send_made("", kind, {"account": account})


def send_made(source, kind=_csandbox.FRAME_ERROR, inputs=None):
    """The same, but source makes it inside."""
    result = support.run_guest(
        f"""
import pickle
{source}
data = pickle.dumps(account, 5)
data = struct.pack('=IIQQ', {_csandbox.FRAME_MAGIC}, {kind}, len(data),
                   2**64 - 1) + data
while data:
    data = data[os.write({_csandbox.CELL_RESULT}, data):]
os._exit(0)
""",
        inputs,
    )
    assert result.value is None
    return result.error


# --- from an honest guest ----------------------------------------------------


def test_notes_arrive():
    error = error_of(
        "error = ValueError('x')\n"
        "error.add_note('first')\n"
        "error.add_note('second\\nline')\n"
        "raise error"
    )
    assert error.notes == ("first", "second\nline")
    assert error_of("raise ValueError").notes == ()


@pytest.mark.parametrize(
    ("notes", "arrived"),
    [
        ("[1, 'two', None]", ("1", "two", "None")),
        ("('a',)", ("a",)),
        ("'text'", ()),
        ("5", ()),
        ("[str(n) for n in range(10**5)]", tuple(map(str, range(32)))),
        ("[Text('mine')]", ("mine",)),
        ("[Text('ok'), Fails()]", ("ok", "<note whose str() failed>")),
    ],
)
def test_notes_of_any_kind_arrive_as_text(notes, arrived):
    error = error_of(
        "class Text(str): pass\n"
        "class Fails:\n"
        "    def __str__(self): raise SystemExit(3)\n"
        f"error = ValueError('x')\nerror.__notes__ = {notes}\nraise error"
    )
    assert error.notes == arrived
    assert {type(each) for each in error.notes} <= {str}


def test_a_cause_arrives_and_its_traceback_is_its_own():
    error = error_of(
        "def f(): 1 / 0\n"
        "try: f()\n"
        "except ArithmeticError as e: raise ValueError('late') from e"
    )
    cause = error.cause
    assert (error.type_name, error.context) == ("ValueError", None)
    assert (cause.type_name, cause.message) == (
        "ZeroDivisionError",
        "division by zero",
    )
    assert cause.traceback.startswith("Traceback (most recent call last):\n")
    assert "in f\n" in cause.traceback
    assert cause.traceback in error.traceback
    assert (cause.cause, cause.context, cause.exceptions) == (None, None, ())
    # The host's own chain stays empty, or all would be printed twice.
    assert (error.__cause__, error.__context__) == (None, None)


def test_a_context_arrives_unless_it_is_suppressed():
    source = "try: 1 / 0\nexcept ArithmeticError: raise ValueError"
    error = error_of(source)
    assert error.context.type_name == "ZeroDivisionError"
    assert error.cause is None
    error = error_of(f"{source} from None")
    assert (error.cause, error.context) == (None, None)


def test_a_group_arrives_with_groups_inside():
    error = error_of(
        "raise ExceptionGroup('all', [ValueError(1),\n"
        "    ExceptionGroup('some', [TypeError(2), KeyError(3)])])"
    )
    one, some = error.exceptions
    assert (one.type_name, one.message) == ("ValueError", "1")
    assert some.message == "some (2 sub-exceptions)"
    assert [each.type_name for each in some.exceptions] == [
        "TypeError",
        "KeyError",
    ]


def test_str_of_a_member_reads_like_python():
    error = error_of(
        "e = ValueError('x')\ne.add_note('n')\nraise ExceptionGroup('g', [e])"
    )
    assert str(error.exceptions[0]) == "ValueError: x\nn"


CYCLES = {
    "of causes": "a.__cause__, b.__cause__ = b, a",
    "of contexts": "a.__context__, b.__context__ = b, a",
    "to itself": "a.__cause__ = a",
    "through a group": "b.__cause__ = a\na = ExceptionGroup('g', [b])\n"
    "b.__cause__ = a",
}


@pytest.mark.parametrize("cycle", CYCLES.values(), ids=CYCLES)
def test_a_cycle_ends(cycle):
    error = error_of(
        f"a, b = ValueError('a'), TypeError('b')\n{cycle}\nraise a"
    )
    assert len(family(error)) <= 4


LARGE = {
    "a long chain of causes": """
error = ValueError(0)
for n in range(2000):
    other = ValueError(n)
    other.__cause__ = error
    error = other
raise error
""",
    "a deep group": """
error = ValueError(0)
for n in range(100):
    error = ExceptionGroup(str(n), [error])
raise error
""",
    "a wide group": """
raise ExceptionGroup('g', [ValueError(n) for n in range(10**4)])
""",
    "long texts everywhere": """
def make(n):
    error = ValueError('m' * 10**6)
    error.__notes__ = ['n' * 10**5] * 100
    return error
raise ExceptionGroup('g' * 10**6, [make(n) for n in range(200)])
""",
    "a bush": """
error = ValueError('leaf')
for n in range(5):
    other = ExceptionGroup(str(n), [error] * 5)
    other.__cause__ = error
    error = other
raise error
""",
}


@pytest.mark.parametrize("source", LARGE.values(), ids=LARGE)
def test_a_large_family_is_cut(source):
    error = error_of(source)
    errors = family(error)
    assert 10 <= len(errors) <= accounts.ERRORS_LIMIT
    texts = [
        text
        for each in errors
        for text in (each.message, each.traceback, *each.notes)
    ]
    assert sum(map(len, texts)) <= accounts.TEXTS_LIMIT
    assert all(each.type_name for each in errors)


@pytest.mark.parametrize(
    "source",
    [
        "class E(Exception):\n    {} = property(lambda _: 1 / 0)\nraise E",
        "class E(ExceptionGroup):\n    {} = 5\nraise E('', [OSError()])",
    ],
    ids=["raising", "a number"],
)
@pytest.mark.parametrize(
    "name",
    [
        *("__notes__", "__cause__", "__context__", "__suppress_context__"),
        *("exceptions", "__class__", "__traceback__"),
    ],
)
def test_an_exception_with_hostile_attributes_is_told(source, name):
    error = error_of(source.format(name))
    assert error.type_name == "E"


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("E.__qualname__ = 'a b'", "<unnamed>"),
        ("E.__qualname__ = '__import__(\\'os\\')'", "<unnamed>"),
        ("E.__qualname__ = 'E' * 10**7", "<unnamed>"),
        ("E.__qualname__ = '\\ud800'", "<unnamed>"),
        ("E.__module__ = 'my-module'", "<unnamed>"),
        ("E.__module__ = None", "None.E"),
        ("E.__module__ = 'a.b'", "a.b.E"),
        ("E.__qualname__ = 'f.<locals>.E'", "f.<locals>.E"),
        ("E.__qualname__ = 'Ünïcode'", "Ünïcode"),
    ],
)
def test_a_name_that_is_none_is_replaced(statement, name):
    error = error_of(
        f"class E(Exception): pass\n{statement}\nraise E('message')"
    )
    assert error.type_name == name
    assert error.message == "message"


# --- from a hostile guest ----------------------------------------------------


def nested(key, depth):
    def wrap(inner, _):
        return {**PLAIN, key: [inner] if key == "exceptions" else inner}

    return functools.reduce(wrap, range(depth), PLAIN)


def test_an_account_written_by_hand_is_read():
    # So that what follows is refused for what it says, not for its form.
    account = {
        **PLAIN,
        "notes": ["n"],
        "cause": PLAIN,
        "context": PLAIN,
        "exceptions": [PLAIN, PLAIN],
    }
    error = send(account)
    assert type(error) is GuestError
    assert (error.notes, len(error.exceptions)) == (("n",), 2)
    assert error.cause.type_name == "ValueError"


@pytest.mark.parametrize("key", ["cause", "context", "exceptions"])
def test_nesting_is_read_to_its_limit_and_refused_beyond(key):
    assert len(family(send(nested(key, 15)))) == 16
    for depth in (16, 17, 200):
        assert type(send(nested(key, depth))) is ResultError


MALFORMED = {
    "a list": [PLAIN],
    "no type": {"message": "m", "traceback": "t"},
    "no traceback": {"type": "E", "message": "m"},
    "a type of bytes": {**PLAIN, "type": b"E"},
    "a message that is a number": {**PLAIN, "message": 1},
    "a traceback that is None": {**PLAIN, "traceback": None},
    "notes that are text": {**PLAIN, "notes": "abc"},
    "notes that are None": {**PLAIN, "notes": None},
    "notes that are a dict": {**PLAIN, "notes": {"a": 1}},
    "a note that is a number": {**PLAIN, "notes": ["a", 1]},
    "a note that is bytes": {**PLAIN, "notes": [b"a"]},
    "a note that is a list": {**PLAIN, "notes": [["a"]]},
    "too many notes": {**PLAIN, "notes": ["a"] * 65},
    "a cause that is text": {**PLAIN, "cause": "ValueError"},
    "a cause that is a list": {**PLAIN, "cause": [PLAIN]},
    "a cause that is False": {**PLAIN, "cause": False},
    "a cause that is empty": {**PLAIN, "cause": {}},
    "a context that is a number": {**PLAIN, "context": 0},
    "exceptions that are a dict": {**PLAIN, "exceptions": {"0": PLAIN}},
    "exceptions that are a set": {**PLAIN, "exceptions": {1}},
    "an exception that is text": {**PLAIN, "exceptions": ["a"]},
    "an exception that is None": {**PLAIN, "exceptions": [None]},
    "a bad one deep inside": {
        **PLAIN,
        "exceptions": [PLAIN, {**PLAIN, "cause": {**PLAIN, "notes": [1]}}],
    },
}


@pytest.mark.parametrize("account", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_account_is_refused(account):
    error = send(account)
    assert type(error) is ResultError
    assert "malformed account" in str(error)


MADE = {
    "10**5 exceptions in a group": """
one = {'type': 'E', 'message': '', 'traceback': ''}
account = {**one, 'exceptions': [dict(one) for _ in range(10**5)]}
""",
    "the same exception 10**5 times": """
one = {'type': 'E', 'message': '', 'traceback': ''}
account = {**one, 'exceptions': [one] * 10**5}
""",
    "two to the tenth": """
account = {'type': 'E', 'message': '', 'traceback': ''}
for _ in range(10):
    account = {**account, 'cause': account, 'context': account}
""",
    "an account that holds itself": """
account = {'type': 'E', 'message': '', 'traceback': ''}
account['cause'] = account
""",
    "a group that holds itself": """
account = {'type': 'E', 'message': '', 'traceback': ''}
account['exceptions'] = [account]
""",
}


@pytest.mark.parametrize("source", MADE.values(), ids=MADE)
def test_an_account_of_too_many_is_refused(source):
    error = send_made(source)
    assert type(error) is ResultError
    assert "malformed account" in str(error)


def test_one_text_sent_once_is_not_held_a_hundred_times():
    error = send_made("""
text = chr(0x1f600) * 10**6
one = {'type': 'E', 'message': text, 'traceback': text, 'notes': [text] * 60}
account = {**one, 'exceptions': [dict(one) for _ in range(100)]}
""")
    errors = family(error)
    assert len(errors) == 101
    texts = [
        text
        for each in errors
        for text in (each.message, each.traceback, *each.notes)
    ]
    assert max(map(len, texts)) <= accounts.TEXT_LIMIT
    assert sum(map(len, texts)) <= accounts.TEXTS_LIMIT


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a.",
        "a..b",
        "a\nb",
        "a b",
        " a",
        "__import__('os')",
        "<script>",
        "<locals",
        "1a",
        "a-b",
        "E\x1b[31m",
        "E\u202e",
        "E\u200b",
        "E\0",
        "E" * 201,
        "a." * 100 + "a",
    ],
)
def test_a_name_that_is_no_dotted_name_is_replaced(name):
    assert accounts.guest_error({**PLAIN, "type": name}).type_name == (
        accounts.NAMELESS
    )


def test_a_name_of_ten_megabytes_or_with_surrogates_is_replaced():
    for source in ("'E' * 10**7", "'E\\ud800'", "'a.' * 10**6 + 'a'"):
        error = send_made(
            f"account = {{'type': {source}, 'message': '', 'traceback': ''}}"
        )
        assert (type(error), error.type_name) == (GuestError, "<unnamed>")


@pytest.mark.parametrize(
    "name", ["E", "a.b.C", "f.<locals>.E", "E" * 200, "__E", "ÉÉ"]
)
def test_a_dotted_name_stays(name):
    assert accounts.guest_error({**PLAIN, "type": name}).type_name == name


def test_active_text_is_inert_when_shown_and_exact_in_the_fields():
    evil = "\x1b[31m\x9b\x07\u202e"
    account = {**PLAIN, "message": evil, "notes": [evil]}
    error = send({**account, "type": evil, "cause": account})
    for each in (error, error.cause):
        assert (each.message, each.notes) == (evil, (evil,))
        shown = f"{each} {each.result!r}"
        assert not set(shown) & set(evil) - set("[31m")


def test_lone_surrogates_are_shown_as_escapes():
    error = send_made(
        "account = {'type': 'E', 'message': '\\ud800', 'traceback': '',\n"
        "           'notes': ['\\udfff']}"
    )
    if type(error) is GuestError:
        assert str(error) == "E: \\ud800\n\\udfff"
        str(error).encode()


# --- as an exception of the host ---------------------------------------------


@pytest.mark.parametrize(
    "how", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_keep_the_family(how):
    error = accounts.guest_error(
        {
            **PLAIN,
            "notes": ["a", "b"],
            "cause": {**PLAIN, "message": "cause"},
            "exceptions": [PLAIN, {**PLAIN, "context": PLAIN}],
        }
    )
    again = how(error)
    for one, other in zip(family(error), family(again), strict=True):
        assert type(other) is GuestError
        assert (one.args, one.notes, str(one)) == (
            other.args,
            other.notes,
            str(other),
        )
    assert again.cause.message == "cause"
    assert again.exceptions[1].context.type_name == "ValueError"
