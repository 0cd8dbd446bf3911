"""What may not leave the sandbox is named, with its place and a way out."""

import copy
import pathlib
import pickle

import pytest

import csandbox
import support
from csandbox import _csandbox, accounts
from csandbox.errors import ResultError

SECONDS = 60.0
PATH = f"{pathlib.PosixPath.__module__}.PosixPath"


def refusal(source, **options):
    result = csandbox.execute(source, **{"timeout": SECONDS, **options})
    assert type(result.error) is ResultError, result
    assert result.value is None
    return result.error


def test_the_sentence_says_where_what_and_what_to_do():
    error = refusal(
        "import pathlib\n{'rows': [1, 2, 3, pathlib.PosixPath('/tmp')]}"
    )
    assert str(error) == (
        f'result["rows"][3] is a {PATH}, which cannot cross; '
        "return plain data instead: str(path)"
    )
    assert error.type_name == PATH
    assert error.path == 'result["rows"][3]'


PLACES = {
    "object()": "result",
    "int": "result",
    "lambda: 1": "result",
    "[object()]": "result[0]",
    "(1, [2, (3, object())])": "result[1][1][1]",
    "{1: {2.5: {None: {True: object()}}}}": "result[1][2.5][None][True]",
    "{b'x': object()}": "result[b'x']",
    "{'a\"b': object()}": "result['a\"b']",
    '{"a\'b": object()}': 'result["a\'b"]',
    "{'a\\n\\x1b': object()}": 'result["a\\n\\x1b"]',
    "{'k' * 10**6: object()}": f'result["{"k" * 40}"...]',
    "{(1, 'b'): object()}": 'result[(1, "b")]',
    "{(1,): object()}": "result[(1,)]",
    "{(): object()}": "result[<tuple>]",
    "{10**99: object()}": "result[<int>]",
    "{frozenset({1}): object()}": "result[<frozenset>]",
    "{object(): 1}": "a key of result",
    "{'x': {(1, object()): 1}}": 'a key[1] of result["x"]',
    "{'s': {object()}}": 'an element of result["s"]',
    "[frozenset({(object(), 1)})]": "an element[0] of result[0]",
    "{frozenset({object()}): 1}": "an element of a key of result",
    "slice(1, object())": "result.stop",
    "from collections import *\ndeque([1, object()])": "result[1]",
    "from collections import *\nOrderedDict(a=object())": 'result["a"]',
    "from collections import *\ndefaultdict(list, a=object())": 'result["a"]',
    "from collections import *\ndefaultdict(lambda: 0)": (
        "result.default_factory"
    ),
    "from collections import *\n[Counter([object()])]": "a key of result[0]",
    "import datetime as d\nclass Z(d.tzinfo): pass\n"
    "[d.datetime(1, 1, 1, tzinfo=Z())]": "result[0].tzinfo",
    "class Mine(list): pass\n[Mine([object()])]": "result[0]",
}


@pytest.mark.parametrize(("source", "path"), PLACES.items(), ids=PLACES)
def test_the_place_is_found(source, path):
    error = refusal(source)
    assert error.path == path
    assert error.type_name
    assert "which cannot cross; return plain data" in str(error)


def test_the_place_is_the_first_of_several():
    assert refusal("x = object()\n[1, [x], x]").path == "result[1][0]"


def test_the_place_is_found_past_cycles_and_shared_things():
    source = (
        "x = []\nx += [x, {'x': x}, [x, x]]\nx.append({'me': [object()]})\nx"
    )
    assert refusal(source).path == 'result[3]["me"][0]'


def test_the_place_in_chosen_outputs_begins_with_the_variable():
    source = "x = 1\ny = {'a': [object()]}\nz = object()"
    assert refusal(source, outputs=("x", "y")).path == 'y["a"][0]'
    assert refusal(source, outputs=("z",)).path == "z"
    source = "globals()['no name'] = object()"
    assert refusal(source, outputs=["no name"]).path == 'outputs["no name"]'


def test_the_place_in_the_value_of_a_function():
    def function():
        return {"log": print}

    error = csandbox.execute(function, timeout=SECONDS).error
    assert error.path == 'result["log"]'


def test_the_place_in_much_data_is_found_or_left_out():
    error = refusal("[list(range(1000)) for _ in range(100)] + [object()]")
    assert error.path == "result[100]"
    error = refusal("[0] * 3_000_000 + [object()]")
    assert error.path == ""
    assert "the guest's value holds an object" in str(error)


def test_a_long_path_is_cut():
    error = refusal("x = object()\nfor _ in range(400): x = {'key': x}\nx")
    assert error.path.startswith('result["key"]["key"]')
    assert "..." in error.path
    assert error.path.endswith('["key"]')
    assert len(error.path) < accounts.PATH_LIMIT


FIGHTING = [
    "class L(list):\n    def __iter__(self): 1 / 0\n[L()]",
    "class M(type):\n    __name__ = 5\nclass C(metaclass=M): 1\n{1: C()}",
    """
class K:
    def __eq__(self, other): raise SystemExit(3)
    __hash__ = object.__hash__
{K(): 1}
""",
]


@pytest.mark.parametrize("source", FIGHTING)
def test_values_that_fight_the_search_are_refused_all_the_same(source):
    assert not csandbox.execute(source, timeout=SECONDS).ok


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("(i for i in 'a')", "is a generator, which cannot cross"),
        ("object()", "is an object, which"),
        ("lambda: 1", "is the function <lambda>, which"),
        ("int", "is the class int, which"),
        ("import io\nio.BytesIO()", "instead: buffer.getvalue()"),
        (
            "import collections\ncollections.defaultdict(lambda: 1)",
            "instead: dict()",
        ),
    ],
)
def test_the_sentence_reads_well(source, words):
    assert words in str(refusal(source))


def test_a_value_nested_too_deeply_has_no_place():
    error = refusal("x = []\nfor _ in range(10**5): x = [x]\nx")
    assert error.path == ""
    assert "a value nested too deeply" in str(error)


# --- from a hostile guest ----------------------------------------------------


def forged(source):
    return support.run_guest(
        f"""
import pickle
data = pickle.dumps({source}, 5)
kind = {_csandbox.FRAME_UNSUPPORTED}
data = struct.pack('=IIQQ', {_csandbox.FRAME_MAGIC}, kind, len(data),
                   2**64 - 1) + data
while data:
    data = data[os.write({_csandbox.CELL_RESULT}, data):]
os._exit(0)
"""
    ).error


@pytest.mark.parametrize(
    "account",
    [
        *("[]", "5", "'type'", "{}", "{'type': 5}", "{'type': b'a'}"),
        *("{'type': None}", "{'type': ['a']}", "{'path': 'result'}"),
        *("{'type': 'a', 'path': 5}", "{'type': 'a', 'path': None}"),
        *("{'type': 'a', 'path': b'result'}", "{'type': 'a', 'path': ['b']}"),
    ],
)
def test_a_malformed_account_is_refused(account):
    error = forged(account)
    assert type(error) is ResultError
    assert "malformed account" in str(error)
    assert (error.type_name, error.path) == ("", "")


def test_forged_texts_are_bounded_and_inert_when_shown():
    error = forged("{'type': '\\x1b' * 10**7, 'path': '\\u202e' * 10**7}")
    assert error.type_name == "\x1b" * accounts.KIND_LIMIT
    assert error.path == "\u202e" * accounts.PATH_LIMIT
    assert not set(str(error)) & set("\x1b\u202e")
    assert len(str(error)) < 100_000


def test_an_account_without_a_path_is_read():
    error = forged("{'type': 'a.B'}")
    assert (error.type_name, error.path) == ("a.B", "")
    assert "the guest's value holds an a.B, which" in str(error)


@pytest.mark.parametrize(
    "how", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_copies_keep_what_and_where(how):
    error = how(ResultError("text", type_name="a.B", path="result[0]"))
    assert (str(error), error.type_name, error.path) == (
        "text",
        "a.B",
        "result[0]",
    )
    assert ResultError("text").path == ""


def test_the_place_in_a_frame_is_found():
    pytest.importorskip("pandas")
    source = """
import pandas as pd, threading
frame = pd.DataFrame({"a": [1, 2], "b": [None, threading.Lock()]})
[{"frame": frame}]
"""
    error = refusal(source)
    assert error.path == 'result[0]["frame"]["b"].array[1]'
    assert error.type_name == "_thread.lock"
    series = "import pandas as pd\npd.Series([1], index=[object()])"
    assert refusal(series).path == "result.index.array[0]"
