"""How fast code runs: programs of pyperformance, inside and outside."""

from __future__ import annotations

import importlib.util
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

import csandbox

# Each prints nothing, and leaves its seconds in `took`.
PROGRAMS = {
    "nbody": "took = bench_nbody(4, DEFAULT_REFERENCE, DEFAULT_ITERATIONS)",
    "json_dumps": """
import time
data = [(globals()[case], range(300)) for case in CASES]
data = [(obj, count) for (obj, _), count in data]
started = time.perf_counter()
bench_json_dumps(data)
took = time.perf_counter() - started
""",
    "regex_v8": "took = bench_regex_v8(2)",
}
RUN = """
import sys
names = {"__name__": "program", "__file__": "program.py"}
exec(compile(source, "program.py", "exec"), names)
exec(last, names)
names["took"]
"""
OUTSIDE = f"""
import json, sys
globals().update(json.load(sys.stdin))
{RUN.strip()[: -len('names["took"]')]}
print(names["took"])
"""


def source_of(name: str) -> str:
    """Return a program's text, or "" if pyperformance is not here."""
    found = importlib.util.find_spec("pyperformance")
    if found is None or found.origin is None:
        return ""
    folder = Path(found.origin).parent / "data-files" / "benchmarks"
    path = folder / f"bm_{name}" / "run_benchmark.py"
    return path.read_text() if path.exists() else ""


def outside(inputs: dict[str, str]) -> float:
    """Return the seconds that a program takes in a fresh Python."""
    # As inside, and as pyperformance does: a process that has run it before
    # has its memory already.
    done = subprocess.run(
        [sys.executable, "-I", "-c", OUTSIDE],
        input=json.dumps(inputs),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def ratio(rounds: int) -> float:
    """Return the geometric mean of inside to outside, or nan."""
    ratios = []
    for name, last in PROGRAMS.items():
        inputs = {"source": source_of(name), "last": last}
        if not inputs["source"]:
            return math.nan
        pairs = [
            (csandbox.run(RUN, inputs=inputs, timeout=120), outside(inputs))
            for _ in range(rounds)
        ]
        inner, outer = (min(each) for each in zip(*pairs, strict=True))
        ratios.append(inner / outer)
    return statistics.geometric_mean(ratios)
