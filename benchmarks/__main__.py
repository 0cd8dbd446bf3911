"""python -m benchmarks: csandbox beside what one would use instead.

Runs each workload with each contestant that is installed, in turns, and
prints medians, 99th percentiles and ratios to a bare os.fork(); then the
figures that csandbox is to reach.  Nothing here is a test: figures depend on
the machine, ratios less so.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.contestants import Contestant, contestants
from benchmarks.goals import goals
from benchmarks.measure import in_turns
from benchmarks.workloads import Workload, workloads

BASE = "os.fork"


def compare(
    work: Workload, present: list[Contestant], rounds: int
) -> dict[str, dict[str, float]]:
    """Return p50, p99 in seconds and the ratio of each contestant."""
    ready = [each for each in present if each.takes(work)]
    for each in ready:
        each.start(work.packages)
    times = in_turns(
        {each.name: lambda it=each: it.run(work) for each in ready},  # type: ignore[misc]
        rounds,
    )
    for each in ready:
        each.stop()
    base = times[BASE].p50
    return {
        name: {"p50": it.p50, "p99": it.p99, "ratio": it.p50 / base}
        for name, it in times.items()
    }


def show(work: str, rows: dict[str, dict[str, float]]) -> None:
    """Print the table of one workload."""
    print(f"\n{work:<24} {'p50, ms':>9} {'p99, ms':>9} {'of fork':>8}")
    for name, row in sorted(rows.items(), key=lambda pair: pair[1]["p50"]):
        print(
            f"  {name:<22} {row['p50'] * 1e3:>9.3f} {row['p99'] * 1e3:>9.3f} "
            f"{row['ratio']:>8.2f}"
        )


def plot(found: dict[str, Any], path: str) -> None:
    """Draw the medians, on a scale of powers of ten."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    works = found["workloads"]
    figure, axes = pyplot.subplots(
        len(works), 1, figsize=(8, 2 * len(works)), layout="constrained"
    )
    for axis, (work, rows) in zip(axes, works.items(), strict=True):
        names = sorted(rows, key=lambda name: -rows[name]["p50"])
        axis.barh(
            names,
            [rows[name]["p50"] * 1e3 for name in names],
            color=["C1" if name == "csandbox" else "C0" for name in names],
        )
        axis.set(xscale="log", title=work, xlabel="median, ms")
    figure.savefig(path)


def options_of(arguments: list[str] | None = None) -> argparse.Namespace:
    """Return what was asked for; exit now if it could not be done later."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n\n")[1]
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=200,
        help="turns that each work has, at least 1 (200)",
    )
    parser.add_argument("--json", metavar="FILE", help="write all figures")
    parser.add_argument("--plot", metavar="FILE", help="draw the medians")
    parser.add_argument(
        "--only", choices=("workloads", "goals"), help="one half of it"
    )
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    if options.plot and options.only == "goals":
        parser.error("--plot draws workloads; leave out --only goals")
    if options.plot and not find_spec("matplotlib"):
        parser.error(
            "--plot needs matplotlib: python -m pip install matplotlib"
        )
    return options


def main() -> None:
    """Measure, print, and write what was asked for."""
    options = options_of()
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "workloads": {},
        "goals": [],
    }
    print(f"Python {found['python']}, Linux {found['kernel']}")
    if options.only != "goals":
        present = []
        for each in contestants():
            why = each.missing()
            if why:
                print(f"without {each.name}: {why}")
            else:
                present.append(each)
        for work in workloads():
            rows = compare(work, present, options.rounds)
            found["workloads"][work.name] = rows
            show(work.name, rows)
    if options.only != "workloads":
        if sys.dont_write_bytecode:
            print("\nno byte code (PYTHONDONTWRITEBYTECODE): cold is slow")
        print(f"\n{'goal':<58} {'wanted':>12} {'found':>10}")
        for goal in goals(options.rounds):
            found["goals"].append(vars(goal))
            mark = "" if goal.met else "  MISSED"
            print(
                f"{goal.what:<58} {goal.wanted:>12} {goal.found:>10}{mark}",
                flush=True,
            )
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=2))
    if options.plot:
        plot(found, options.plot)


if __name__ == "__main__":
    main()
