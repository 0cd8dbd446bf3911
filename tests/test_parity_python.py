"""Parity: no restriction on Python itself.  All of it is there, and leads
nowhere."""

import builtins
import subprocess
import sys

import pytest

import csandbox
import support
from csandbox import _csandbox

# What does something when it is imported, or is not for importing.
NOT_IMPORTED = (
    *("antigravity", "this", "idlelib", "turtledemo", "test"),
    "_ios_support",  # asks ldconfig, a program, for a library of macOS
    # ASan's crypt() jumps to 0 if libcrypt was not there when ASan began.
    *(("crypt",) if _csandbox.SANITIZED else ()),
)

IMPORT_ALL = f"""
import importlib, sys, warnings
warnings.simplefilter("ignore")
missing = {{}}
for name in sorted(sys.stdlib_module_names):
    if name in {NOT_IMPORTED!r} or name.startswith("_test"):
        continue
    try:
        importlib.import_module(name)
    except ImportError as error:
        missing[name] = str(error)
"""


def test_P17_every_stdlib_module_imports():
    outside = subprocess.run(
        [sys.executable, "-I", "-c", IMPORT_ALL + "print(sorted(missing))"],
        capture_output=True,
        text=True,
        check=True,
    )
    inside = csandbox.run(IMPORT_ALL + "missing", timeout=60)
    assert f"{sorted(inside)}\n" == outside.stdout


# pysandbox's features, each with what it blocked even when it was on.
FEATURES = {
    "regex": "import re\nre.match('(a+)', 'aab')[1], re.sub('a', 'b', 'a')",
    "time": "import time\ntime.sleep(0), time.strptime('2020', '%Y').tm_year",
    "datetime": "import datetime\ndatetime.date.today().year > 2020",
    "math": "import math\nmath.factorial(20)",
    "random": "import random\nrandom.seed(1)\nrandom.random()",
    "hashlib": "import hashlib\nhashlib.sha256(b'x').hexdigest()[:8]",
    "itertools": "import itertools\nlist(itertools.permutations('abc'))[3]",
    "codecs": "import codecs\ncodecs.encode('abc', 'rot13')",
    "encodings": "'é'.encode('cp1252'), b'\\xe9'.decode('latin-1')",
    "unicodedata": "import unicodedata\nunicodedata.name('é')",
    "future": "from __future__ import annotations\n1",
    "site": "import site\nlen(site.getsitepackages()) > 0",
    "traceback": "import traceback\nlen(traceback.format_stack()) > 0",
    "interpreter": "import sys\nsys.version_info >= (3, 11)",
}
ANSWERS = {
    "regex": ("aa", "b"),
    "time": (None, 2020),
    "math": 2432902008176640000,
    "random": 0.13436424411240122,
    "hashlib": "2d711642",
    "itertools": ("b", "c", "a"),
    "codecs": "nop",
    "encodings": (b"\xe9", "é"),
    "unicodedata": "LATIN SMALL LETTER E WITH ACUTE",
    "future": 1,
}


@pytest.mark.parametrize("feature", FEATURES)
def test_P18_features_work_with_no_configuration(feature):
    value = csandbox.run(FEATURES[feature])
    assert value == ANSWERS.get(feature, True)


def test_P18_streams_help_and_exit_work():
    result = csandbox.execute(
        "import sys\nprint(input(), file=sys.stderr)\nprint(sys.stdin.read())",
        stdin="one\ntwo",
    )
    assert (result.stdout, result.stderr) == ("two\n", "one\n")
    assert "Return the absolute value" in csandbox.execute("help(abs)").stdout
    for source in ("exit(5)", "quit(5)", "import sys; sys.exit(5)"):
        assert csandbox.execute(source).exit_code == 5


def test_P20_all_builtins_are_there_and_may_be_changed():
    before = dict(vars(builtins))
    names = csandbox.run("import builtins; sorted(vars(builtins))")
    expected = {name for name in dir(builtins) if name != "_"}
    assert expected - set(names) - {"__loader__", "__spec__"} == set()
    source = """
import builtins
builtins.abs = builtins.open = builtins.eval = builtins.exec = None
builtins.sum = lambda x: 42
sum([])
"""
    assert csandbox.run(source) == 42
    assert csandbox.run("sum([])") == 0
    assert dict(vars(builtins)) == before


@pytest.mark.parametrize(
    "source",
    [
        "del __builtins__.__import__",
        "__builtins__.__import__ = None",
        "__builtins__.len = lambda x: 42",
        "__builtins__.memoryview = __builtins__.min = None",
        "__builtins__.__build_class__ = __builtins__.type = None",
        "__builtins__.isinstance = __builtins__.print = None",
        """
import builtins
for name in list(vars(builtins)):
    if name not in ('list', 'delattr'):
        delattr(builtins, name)
""",
    ],
)
def test_P20_the_result_arrives_whatever_became_of_the_builtins(source):
    assert csandbox.run(source + "\n[1, 'two']") == [1, "two"]
    error = csandbox.execute(source + "\n1 / 0").error
    assert type(error) is csandbox.GuestError
    assert error.type_name == "ZeroDivisionError"


# How pysandbox was broken, and the like: each gets what it is after.
INTROSPECTION = {
    "__closure__": """
def outer():
    secret = 'inner'
    return lambda: secret
outer().__closure__[0].cell_contents == 'inner'
""",
    "__globals__": """
import os.path
os.path.join.__globals__['os'].system is os.system
""",
    "__code__": """
def f(): return 1
f.__code__ = f.__code__.replace(co_consts=(None, 2))
f() == 2
""",
    "f_locals": """
import sys
frame, found = sys._getframe(), []
while frame:
    found.append(dict(frame.f_locals))
    frame = frame.f_back
len(found) > 1
""",
    "__bases__": "(1).__class__.__bases__ == (object,)",
    "__subclasses__": "len(object.__subclasses__()) > 100",
    "a file by __subclasses__": """
import _io
found = [each for each in _io._RawIOBase.__subclasses__()
         if each.__name__ == 'FileIO']
found[0]('/tmp/x', 'w').write(b'x') == 1
""",
    "builtin __self__": "print.__self__.__name__ == 'builtins'",
    "a frame of a traceback": """
try:
    1 / 0
except ZeroDivisionError as error:
    frame = error.__traceback__.tb_frame
frame.f_globals is globals()
""",
    "a frame of a generator": "(x for x in [1]).gi_frame.f_code is not None",
    "a code object": "eval(compile('6 * 7', '', 'eval')) == 42",
    "the garbage collector": """
import gc
held = ['x']
holder = [held]
holder in gc.get_referrers(held) and len(gc.get_objects()) > 10
""",
    "ctypes": """
import ctypes
ctypes.cast(id('a string'), ctypes.py_object).value == 'a string'
""",
    "the module of ours": """
import sys
'csandbox' not in sys.modules or sys.modules['csandbox'] is not None
""",
}


@pytest.mark.parametrize("source", INTROSPECTION.values(), ids=INTROSPECTION)
def test_P21_introspection_is_all_there(source):
    assert csandbox.run(source) is True


FRAMES = """
import gc, sys
roots = [frame for frame in [sys._getframe()]]
frame = roots[0]
while frame.f_back:
    frame = frame.f_back
    roots.append(frame)
texts = set()
for each in gc.get_objects() + list(sys.modules.values()):
    if type(each) in (list, tuple, set, frozenset):
        texts.update(x for x in each if type(x) in (str, bytes))
    elif type(each) is dict:
        for x in each.items():
            texts.update(y for y in x if type(y) in (str, bytes))
for frame in roots:
    for x in list(frame.f_locals.values()) + list(frame.f_globals.values()):
        if type(x) in (str, bytes):
            texts.add(x)
words = [word[::-1] for word in reversed_words]  # not there before
whole = ' '.join(
    x if type(x) is str else x.decode('latin-1') for x in texts)
[word for word in words if word in whole]
"""


def test_P21_introspection_leads_nowhere(monkeypatch, outside):
    monkeypatch.setenv("CSANDBOX_TEST_SECRET", "only-the-host-knows")
    words = [
        "only-the-host-knows",
        "CSANDBOX_TEST_SECRET",
        str(outside.root),
        "PYTEST_CURRENT_TEST",
    ]
    backwards = [word[::-1] for word in words]
    inputs = {"reversed_words": backwards}
    assert csandbox.run(FRAMES, inputs=inputs) == []
    # The search does find what is there.
    inputs["there"] = "".join(words)
    assert csandbox.run(FRAMES, inputs=inputs) == words


def test_P15_a_crash_of_the_interpreter_is_data_too():
    error = csandbox.execute("import ctypes; ctypes.string_at(0)").error
    assert type(error) is csandbox.GuestCrash
    assert (error.signal, error.signal_name) == (11, "SIGSEGV")


def test_the_cell_is_the_python_of_the_host():
    source = "import sys; [sys.version, sys.executable, sys.prefix, sys.flags]"
    version, executable, prefix, _ = csandbox.run(
        source.replace("sys.flags", "None")
    )
    assert (version, executable, prefix) == (
        sys.version,
        sys.executable,
        sys.prefix,
    )
    assert support.value_of("sys.maxsize") == sys.maxsize
