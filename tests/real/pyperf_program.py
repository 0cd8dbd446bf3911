"""The guest program that runs one pyperformance program to its end.

Its inputs are ``program``, the path of a ``run_benchmark.py``, ``arguments``
for its command line and ``answer``, an expression over its variables; its
value is what every benchmark returned and that answer.
"""

import argparse
import platform
import sys
import time
import types
from pathlib import Path

PLAIN = (bool, int, float, str, bytes, type(None))


class Runner:
    """Stands in for pyperf.Runner: runs once, in this process."""

    def __init__(self, **options):
        self.argparser = argparse.ArgumentParser()
        self.metadata = {}
        self.returned = {}
        runners.append(self)

    def parse_args(self):
        return self.argparser.parse_args()

    def bench_func(self, name, function, *args, inner_loops=1):
        value = function(*args)
        is_plain = isinstance(value, PLAIN) or (
            isinstance(value, (list, tuple))
            and all(isinstance(item, PLAIN) for item in value)
        )
        self.returned[name] = value if is_plain else type(value).__name__

    def bench_time_func(self, name, function, *args, inner_loops=1):
        seconds = function(1, *args)
        self.returned[name] = "timed" if seconds > 0 else "not timed"


pyperf = types.ModuleType("pyperf")
pyperf.Runner = Runner
pyperf.perf_counter = time.perf_counter
pyperf.python_implementation = platform.python_implementation
sys.modules["pyperf"] = pyperf
sys.argv = [program, *arguments]  # noqa: F821
runners = []
names = {"__name__": "__main__", "__file__": program}  # noqa: F821
exec(compile(Path(program).read_text(), program, "exec"), names)  # noqa: F821
(
    [runner.returned for runner in runners],
    eval(answer, names),  # noqa: F821
)
