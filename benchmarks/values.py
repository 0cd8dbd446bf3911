"""What it costs to bring values across, side by side with what it replaces.

    python benchmarks/values.py

Prints a table of milliseconds and ratios: decoding against pickle.loads, a
large array out of and into a sandbox against a copy of it, a small result
against none.  Each figure is the best of several, or the median of many for
small results, taken in turns, so that a noisy machine disturbs both sides
alike.  Needs numpy.
"""

import pickle
import random
import statistics
import time

import numpy as np

import csandbox
from csandbox import _csandbox

ROUNDS = 9
ARRAY = 12_500_000  # of 8 bytes: 100 MB
LIMITS = {
    "preload": ("numpy",),
    "result": "256M",
    "memory": "2G",
    "timeout": 60,
}


def seconds(work):
    """Return how long one call takes."""
    started = time.perf_counter()
    made = work()
    took = time.perf_counter() - started
    del made
    return took


def best(*works, rounds=ROUNDS):
    """Return the shortest time of each, taken in turns."""
    times = [[seconds(work) for work in works] for _ in range(rounds)]
    return [min(column) for column in zip(*times, strict=True)]


def show(name, ours, theirs, ratio, wanted):
    """Print a row of the table."""
    print(
        f"{name:<28} {ours * 1e3:>9.3f} {theirs * 1e3:>9.3f} "
        f"{ratio:>6.2f}  {wanted}"
    )


def decoding():
    """Compare the strict decoder with pickle's."""
    chance = random.Random(1)
    values = {
        "dicts of small objects": [
            {"id": i, "name": f"user{i}", "ok": i % 2 == 0, "tags": ["a", "b"]}
            for i in range(50_000)
        ],
        "list of floats": [chance.random() for _ in range(500_000)],
        "many strings": [f"string number {i}" for i in range(300_000)],
        "list of ints": [chance.randrange(10**6) for _ in range(500_000)],
        "nested tuples": [(i, (i + 1, (str(i),))) for i in range(100_000)],
        "dict of ints": dict.fromkeys(range(200_000), 0.5),
    }
    for name, value in values.items():
        data = pickle.dumps(value, 5)
        ours, theirs = best(
            lambda data=data: _csandbox.decode(data),
            lambda data=data: pickle.loads(data),
        )
        wanted = "at least 1 (speed)" if name in list(values)[:3] else ""
        show(f"decode {name}", ours, theirs, theirs / ours, wanted)


def arrays():
    """Compare arrays that cross with copies of them."""
    array = np.random.default_rng(1).random(ARRAY)
    make = f"import numpy; a = numpy.random.default_rng(1).random({ARRAY}); "
    copying = best(array.copy)[0]
    fresh = best(lambda: bytes(memoryview(array).cast("B")))[0]
    out, none = best(
        lambda: csandbox.run(make + "a", **LIMITS),
        lambda: csandbox.run(make + "None", **LIMITS),
    )
    show("100 MB array out", out - none, copying, (out - none) / copying,
         "at most 1.5 of numpy's copy")  # fmt: skip
    show("", out - none, fresh, (out - none) / fresh, "of bytes(): memcpy")
    large, small = best(
        lambda: csandbox.run("x.shape", inputs={"x": array}, **LIMITS),
        lambda: csandbox.run("x.shape", inputs={"x": array[:9]}, **LIMITS),
    )
    show("100 MB array in", large - small, copying, (large - small) / copying,
         "at most 1.5 of numpy's copy")  # fmt: skip
    show("", large - small, fresh, (large - small) / fresh,
         "of bytes(): memcpy")  # fmt: skip


def small_results():
    """Compare a run that returns a little with one that returns None.

    Both evaluate the same, so that only what crosses differs.
    """
    source = '({"a": 1, "b": [1, 2.5, "c"], "d": None}, None)'
    pairs = [
        (
            seconds(lambda: csandbox.run(source + "[0]")),
            seconds(lambda: csandbox.run(source + "[1]")),
        )
        for _ in range(500)
    ]
    some, none = (statistics.median(each) for each in zip(*pairs, strict=True))
    more = statistics.median(one - other for one, other in pairs)
    show("small result", some, none, some / none,
         f"at most 10 us more: {more * 1e6:+.1f} us")  # fmt: skip


if __name__ == "__main__":
    print(f"{'':<28} {'ours, ms':>9} {'other, ms':>9} {'ratio':>6}")
    decoding()
    csandbox.run("None", **LIMITS)
    arrays()
    csandbox.run("None")
    small_results()
