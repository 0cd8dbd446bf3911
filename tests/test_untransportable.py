"""What cannot be sent into the sandbox is named, with its place and what to
do instead."""

import asyncio
import collections
import concurrent.futures
import contextvars
import functools
import logging
import queue
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from typing import ClassVar, NamedTuple

import cloudpickle
import pytest

import csandbox
from csandbox import cells, untransportable

LOCK = threading.Lock()


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch):
    def start(*arguments):
        pytest.fail("a run was started")

    monkeypatch.setattr(cells, "start_run", start)


def refusal(target, *args, **options):
    """Return what is said of a job that cannot be sent."""
    with pytest.raises(TypeError) as caught:
        csandbox.run(target, *args, **options)
    text = str(caught.value)
    assert "cannot be sent to the sandbox" in text
    return text


def place_of(value):
    """Return where something is in the input x, and the verb."""
    text = refusal("x", inputs={"a": 1, "x": value})
    return re.split(" an? ", text, maxsplit=1)[0]


class Thing:
    def __init__(self, **attributes):
        vars(self).update(attributes)

    def method(self):
        return self

    def use(self):
        return LOCK


class Slotted:
    __slots__ = ("empty", "lock")

    def __init__(self):
        self.lock = LOCK


class Text(str):
    pass


def named(x, y=1):
    return x, y


# --- the sentence ------------------------------------------------------------


def test_the_sentence_says_where_what_and_what_to_do():
    inputs = {"cfg": Thing(name="n", lock=LOCK)}
    assert refusal("cfg", inputs=inputs) == (
        'inputs["cfg"].lock holds a _thread.lock, which cannot be sent to '
        "the sandbox; make the lock inside"
    )


def test_an_open_file_in_an_argument():
    with open(__file__, "rb") as file:
        assert refusal(named, ({"log": file},)) == (
            'args[0]["log"] holds a _io.BufferedReader, which cannot be sent '
            "to the sandbox; open it inside, or send its contents: f.read()"
        )


def test_a_variable_of_a_function():
    with socket.socket() as conn:

        def fetch():
            return conn

        text = refusal(fetch)
    assert text.startswith(
        "the variable 'conn' of the function fetch holds a socket.socket, "
        "which cannot be sent to the sandbox; the sandbox has no network"
    )


def make_generator():
    yield 1


async def coroutine():
    pass


def running_loop():
    async def main():
        return asyncio.get_running_loop()

    return asyncio.run(main())


KINDS = {
    "a lock": (threading.Lock, "_thread.lock", "inside"),
    "a reentrant lock": (threading.RLock, "_thread.RLock", "inside"),
    "an event": (threading.Event, "threading.Event", "inside"),
    "a condition": (threading.Condition, "threading.Condition", "inside"),
    "a thread": (threading.Thread, "threading.Thread", "inside"),
    "a handler": (logging.StreamHandler, "logging.StreamHandler", "logging"),
    "a local": (threading.local, "_thread._local", "inside"),
    "a loop": (running_loop, "asyncio.unix_events._UnixSelector", "inside"),
    "a queue": (queue.Queue, "queue.Queue", "list"),
    "a generator": (make_generator, "generator", "list(it)"),
    "a file": (lambda: sys.__stderr__, "_io.", "f.read()"),
    "a frame": (sys._getframe, "frame", "text"),
    "a database": (lambda: sqlite3.connect(":memory:"), "sqlite3.", "rows"),
    "a match": (lambda: re.match("a", "a"), "re.Match", "match.groups()"),
    "a future": (
        concurrent.futures.Future,
        "concurrent.futures._base.Future",
        "future.result()",
    ),
    "an executor": (
        concurrent.futures.ThreadPoolExecutor,
        "concurrent.futures.thread.ThreadPoolExecutor",
        "result()",
    ),
    "a context variable": (
        lambda: contextvars.ContextVar("v"),
        "_contextvars.ContextVar",
        "var.get()",
    ),
    "a context": (contextvars.copy_context, "_contextvars.", "var.get()"),
}


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_comes_with_advice(name):
    make, kind, advice = KINDS[name]
    thing = make()
    text = refusal("x", inputs={"x": [thing]})
    assert text.startswith(('inputs["x"][0] holds a', 'inputs["x"][0] is a'))
    assert kind in text
    assert advice in text.partition("sandbox; ")[2]
    if isinstance(thing, sqlite3.Connection):
        thing.close()


def test_a_coroutine():
    made = coroutine()
    assert "a coroutine, which" in refusal(named, (made,))
    made.close()


def test_a_process():
    process = subprocess.Popen(["true"])
    text = refusal(named, (process,))
    process.wait()
    assert text.startswith("args[0] holds a subprocess.Popen, which")
    assert "no process" in text


# --- the place ---------------------------------------------------------------


class Pair(NamedTuple):
    a: int
    b: object


PLACES = {
    "itself": (LOCK, 'inputs["x"] holds'),
    "a list": ([0, [1, LOCK]], 'inputs["x"][1][1] holds'),
    "a dict": ({"a": {1: LOCK}}, 'inputs["x"]["a"][1] holds'),
    "a key": ({Thing(lock=LOCK): 1}, 'a key.lock of inputs["x"] holds'),
    "a set": ({(1, LOCK)}, 'an element[1] of inputs["x"] holds'),
    "an element": ({LOCK}, 'an element of inputs["x"] is'),
    "a deque": (collections.deque([1, LOCK]), 'inputs["x"][1] holds'),
    "an ordered": (
        collections.OrderedDict(a=1, b=LOCK),
        'inputs["x"]["b"] holds',
    ),
    "a named tuple": (Pair(1, LOCK), 'inputs["x"][1] holds'),
    "an attribute": (
        Thing(a=[Thing(b=LOCK)]),
        'inputs["x"].a[0].b holds',
    ),
    "a slot": ([Slotted()], 'inputs["x"][0].lock holds'),
    "a partial": (
        functools.partial(named, LOCK, y=2),
        'inputs["x"].args[0] holds',
    ),
    "a keyword of a partial": (
        functools.partial(named, y=LOCK),
        'inputs["x"].keywords["y"] holds',
    ),
    "a bound method": (Thing(lock=LOCK).method, 'self.lock of inputs["x"]'),
    "an error": (ValueError("a", LOCK), 'inputs["x"].args[1] holds'),
    "a long key": ({"k" * 999: LOCK}, f'inputs["x"]["{"k" * 40}"...] holds'),
    "a pair as a key": ({(1, "a"): LOCK}, 'inputs["x"][(1, "a")] holds'),
    "a key of a class": ({Thing(): LOCK}, 'inputs["x"][<'),
    "a quote in a key": ({"a'b": LOCK}, 'inputs["x"]["a\'b"] holds'),
    "a function": (
        lambda: LOCK,
        "the global 'LOCK' of inputs[\"x\"] holds",
    ),
    "a function in a function": (
        lambda: [LOCK for _ in "a"],
        "the global 'LOCK' of inputs[\"x\"] holds",
    ),
    "a default": (
        lambda a, b=LOCK: b,
        "the default of 'b' of inputs[\"x\"] holds",
    ),
    "a default by keyword": (
        lambda *, b=LOCK: b,
        "the default of 'b' of inputs[\"x\"] holds",
    ),
}


@pytest.mark.parametrize("name", PLACES)
def test_the_place_is_found(name):
    value, place = PLACES[name]
    assert place_of(value).startswith(place)


def test_the_place_in_a_class_that_travels():
    class Local:
        lock = LOCK

        def use(self):
            return LOCK

    assert place_of(Local()).endswith('Local.lock of inputs["x"] holds')
    assert place_of(Local).startswith('inputs["x"].lock')


def test_the_place_in_a_base_that_travels():
    class Base:
        lock = LOCK

    class Local(Base):
        pass

    assert ".lock of" in place_of(Local)
    assert "the base " in place_of(Local)


def test_the_place_in_a_module_that_travels(tmp_path, monkeypatch):
    (tmp_path / "invisible_three.py").write_text(
        "import threading\nLOCK = threading.Lock()\ndef use(): return LOCK\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import invisible_three

    try:
        assert refusal(invisible_three.use).startswith(
            "the global 'LOCK' of the function use holds a _thread.lock"
        )
        text = refusal(lambda: invisible_three.LOCK)
        assert text.startswith(
            "the variable 'invisible_three'.LOCK of the function <lambda> h"
        )
    finally:
        del sys.modules["invisible_three"]


def test_the_place_in_a_call():
    assert refusal(named, (1, [LOCK])).startswith("args[1][0] holds")
    assert refusal(named, kwargs={"x": LOCK}).startswith('kwargs["x"] holds')
    assert refusal(Thing(lock=LOCK).method).startswith(
        "self.lock of the method Thing.method holds"
    )
    assert refusal(functools.partial(named, LOCK)).startswith(
        "the callable.args[0] holds"
    )
    assert refusal(Thing.use, (1,)).startswith(
        "the global 'LOCK' of the function use holds"
    )


def test_the_place_is_found_past_cycles():
    class Plain:
        pass

    a, b = Plain(), Plain()
    a.other, b.other = b, a
    b.list = [a, b, {"lock": threading.Lock()}]
    b.list.append(b.list)
    assert place_of(a) == 'inputs["x"].other.list[2]["lock"] holds'


def test_the_place_in_much_data_is_found_soon(monkeypatch):
    monkeypatch.setattr(untransportable, "SECONDS_LIMIT", 30.0)
    rows = [[Thing(n=n)] for n in range(20_000)]
    rows.append([Thing(lock=LOCK)])
    start = time.monotonic()
    assert place_of(rows) == 'inputs["x"][20000][0].lock holds'
    assert time.monotonic() - start < 30


def test_a_search_that_is_too_long_is_given_up(monkeypatch):
    monkeypatch.setattr(untransportable, "LOOKS_LIMIT", 100)
    text = refusal("x", inputs={"x": [[] for _ in range(1000)] + [LOCK]})
    assert text.startswith("inputs cannot be sent to the sandbox: ")
    monkeypatch.undo()


# --- what people's own classes do --------------------------------------------


class Refuses:
    def __reduce__(self):
        raise ValueError("not me")


class Drops:
    """Leaves its lock at home, but not its file."""

    def __init__(self, file):
        self.lock = threading.Lock()
        self.file = file

    def __getstate__(self):
        return {"file": self.file}


class Makes:
    def __getstate__(self):
        return {"made": threading.Lock()}


class Worker(threading.Thread):
    pass


def test_what_a_reduce_raises_is_the_cause():
    with pytest.raises(TypeError) as caught:
        csandbox.run("x", inputs={"x": [1, Refuses()]})
    assert type(caught.value.__cause__) is ValueError
    text = str(caught.value)
    assert text.startswith('inputs["x"][1] holds a ')
    assert "Refuses, which cannot be sent to the sandbox: not me; " in text


def test_what_a_class_leaves_at_home_is_not_blamed():
    with open(__file__, "rb") as file:
        assert place_of(Drops(file)) == 'inputs["x"].file holds'


def test_what_a_class_makes_for_the_pickle_is_told_as_the_class():
    text = refusal("x", inputs={"x": [Makes()]})
    assert text.startswith('inputs["x"][0] holds a ')
    assert "Makes, which" in text
    assert "cannot pickle '_thread.lock' object" in text


def test_a_class_of_ones_own_that_is_a_thread():
    text = refusal("x", inputs={"x": Worker()})
    assert text.startswith('inputs["x"] holds a ')
    assert "Worker, which" in text
    assert "start the thread inside" in text


class Spies:
    """Tells whatever looks at it."""

    looks: ClassVar[list[str]] = []

    def __init__(self):
        object.__setattr__(self, "lock", LOCK)

    def __getattribute__(self, name):
        Spies.looks.append(name)
        return object.__getattribute__(self, name)

    def __eq__(self, other):
        Spies.looks.append("==")
        return True

    def __hash__(self):
        Spies.looks.append("hash")
        return 1

    def __repr__(self):
        Spies.looks.append("repr")
        return "spy"


class SpyList(list):
    def __iter__(self):
        Spies.looks.append("iter")
        return super().__iter__()


def test_the_search_runs_nothing_that_pickling_does_not():
    spies = [Spies(), SpyList([Spies()])]
    Spies.looks.clear()
    with pytest.raises(TypeError):
        cloudpickle.dumps(spies)
    allowed = set(Spies.looks)
    Spies.looks.clear()
    assert place_of(spies) == 'inputs["x"][0].lock holds'
    assert set(Spies.looks) <= allowed


def test_a_metaclass_that_fights_does_no_harm():
    class Meta(type):
        def __getattribute__(cls, name):
            if name in ("__mro__", "__dict__", "__bases__"):
                raise SystemExit(3)
            return super().__getattribute__(name)

    class Odd(metaclass=Meta):
        pass

    with pytest.raises((TypeError, SystemExit)):
        csandbox.run("x", inputs={"x": [Odd, LOCK]})


def test_text_that_fails_does_no_harm():
    class Mute(Exception):
        def __str__(self):
            raise ValueError

    class Fails:
        def __reduce__(self):
            raise Mute

    text = refusal("x", inputs={"x": Fails()})
    assert "Mute" in text


def test_an_interrupt_comes_through():
    class Interrupts:
        def __reduce__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        csandbox.run("x", inputs={"x": Interrupts()})


def test_nothing_is_imported_before_something_fails():
    program = (
        "import sys\n"
        "from csandbox import shipping\n"
        "shipping.dump_inputs({'x': [1]}, ())\n"
        "print('csandbox.untransportable' in sys.modules)\n"
    )
    completed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert completed.stdout == "False\n", completed.stderr
