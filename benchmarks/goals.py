"""Figures to reach, each measured beside what it is a ratio of."""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import csandbox
from benchmarks.contestants import Fork, Ours, Worker
from benchmarks.inside import ratio
from benchmarks.measure import Times, in_turns
from benchmarks.workloads import Workload, workloads
from csandbox import zygotes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIVE = 300 << 20  # bytes of objects in the host
IMPORTS = ("numpy", "asyncio", "concurrent.futures", "cloudpickle")
ROOT = str(Path(__file__).resolve().parent.parent)
IDLE_SECONDS = 1.0  # in which a zygote does what it does when idle
WAIT_SECONDS = 5.0  # for a cell
# Before each run that is to be warm, so that a cell waits for it: 100 runs a
# second.  How fast cells are made is what the throughput tells.
PAUSE = 0.01
CELL_NUMBER = 2  # in its namespace, where the init is 1


@dataclass(frozen=True)
class Goal:
    """One figure: what was measured, and whether it is within its bound."""

    what: str
    wanted: str
    found: str
    met: bool


def at_most(what: str, value: float, bound: float, unit: str = "x") -> Goal:
    """Return the goal of a value that shall not exceed a bound."""
    return Goal(
        what, f"<= {bound:g} {unit}", f"{value:.3g} {unit}", value <= bound
    )


def at_least(what: str, value: float, bound: float) -> Goal:
    """Return the goal of a ratio that shall not be less than a bound."""
    return Goal(what, f">= {bound:g} x", f"{value:.3g} x", value >= bound)


def goals(rounds: int) -> Iterator[Goal]:
    """Measure all, one after the other."""
    yield from warm(rounds)
    yield from paced(rounds)
    yield from cold(max(10, rounds // 10))
    yield throughput()
    yield from against_worker(rounds)
    yield from computing()
    yield from memory()
    yield from importing(max(10, rounds // 10))


def warm(rounds: int) -> Iterator[Goal]:
    """Compare a warm run with a bare fork, with little and much memory."""
    one = Workload("1+1", "1+1")
    ours, fork = started(Ours(), Fork())
    times = in_turns(
        {"ours": lambda: ours.run(one), "fork": lambda: fork.run(one)},
        rounds,
        pause=PAUSE,
    )
    little = times["ours"].p50
    yield at_most("warm 1+1, of os.fork", little / times["fork"].p50, 0.12)
    yield at_most("warm 1+1, p50", little * 1e3, 0.18, "ms")
    alone = {"ours": lambda: ours.run(one)}
    before = in_turns(alone, rounds, pause=PAUSE)["ours"].p50
    live = [bytes([i & 255]) * 1000 for i in range(LIVE // 1033)]
    much = in_turns(alone, rounds, pause=PAUSE)["ours"].p50
    del live
    after = in_turns(alone, rounds, pause=PAUSE)["ours"].p50
    base = statistics.mean([before, after])
    yield at_most("the same, 300 MB live in the host", much / base, 1.1)
    try:
        import numpy  # noqa: F401
    except ImportError:
        return
    (both,) = started(Ours(), packages=("numpy",))
    arrays = Workload("numpy", "import numpy; 1+1")
    times = in_turns(
        {"plain": lambda: ours.run(one), "numpy": lambda: both.run(arrays)},
        rounds,
        pause=PAUSE,
    )
    yield at_most(
        "warm, numpy preloaded and used, of warm 1+1",
        times["numpy"].p50 / times["plain"].p50,
        1.3,
    )


def started(*contestants, packages=()):
    """Return them, ready to run."""
    for each in contestants:
        each.start(packages)
    return contestants


def paced(rounds: int) -> Iterator[Goal]:
    """Look at the tail when there is time between runs."""
    (ours,) = started(Ours())
    one = Workload("1+1", "1+1")
    times: Times = in_turns(
        {"ours": lambda: ours.run(one)}, max(rounds, 300), pause=PAUSE
    )["ours"]
    yield at_most("p99 of its p50, 100 runs/s", times.p99 / times.p50, 5)


def cold(rounds: int) -> Iterator[Goal]:
    """Compare a whole program that makes one run with other programs."""

    def program(*arguments: str) -> Callable[[], object]:
        return lambda: subprocess.run(
            arguments, check=True, stdout=subprocess.DEVNULL, cwd=ROOT
        )

    python = sys.executable
    works = {
        "ours": program(python, "-c", "import csandbox; csandbox.run('1+1')"),
        "plain": program(python, "-I", "-S", "-c", "1"),
    }
    command = bubblewrapped()
    if command:
        works["bwrap"] = program(*command, python, "-I", "-S", "-c", "1")
    times = in_turns(works, rounds * 10)
    ours = times["ours"].p50
    yield at_most(
        f"cold: program with one run ({ours * 1e3:.1f} ms), of python -I -S",
        ours / times["plain"].p50,
        2.0,
    )
    if command:
        yield at_most(
            "the same, of bubblewrap + python", ours / times["bwrap"].p50, 1.0
        )


def bubblewrapped() -> tuple[str, ...]:
    """Return the command line of bubblewrap, or none if it is not here."""
    from benchmarks.contestants import Bubblewrap

    peer = Bubblewrap()
    return () if peer.missing() else peer.command


def throughput(span: float = 3.0) -> Goal:
    """Saturate all cores with runs, and with bare forks."""
    one = Workload("1+1", "1+1")
    ours, fork = started(Ours(), Fork())
    rates = []
    for _ in range(2):
        rates.append(
            (rate(ours, one, span), forks_per_second(fork, one, span))
        )
    first, second = (
        statistics.mean(each) for each in zip(*rates, strict=True)
    )
    return at_least(
        f"runs/s of all cores ({first:.0f}), of os.fork ({second:.0f})",
        first / second,
        1.25,
    )


def rate(contestant: Ours, work: Workload, span: float) -> float:
    """Return runs per second, of two threads for each core."""
    until = time.monotonic() + span
    done = []

    def loop() -> None:
        count = 0
        while time.monotonic() < until:
            contestant.run(work)
            count += 1
        done.append(count)

    threads = [threading.Thread(target=loop) for _ in range(2 * cores())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(done) / span


def forks_per_second(fork: Fork, work: Workload, span: float) -> float:
    """Return the same of bare forks, by a process for each core."""
    pids, readers = [], []
    for _ in range(cores()):
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            until, count = time.monotonic() + span, 0
            while time.monotonic() < until:
                fork.run(work)
                count += 1
            os.write(writing, str(count).encode())
            os._exit(0)
        os.close(writing)
        pids.append(pid)
        readers.append(reading)
    total = 0
    for pid, reading in zip(pids, readers, strict=True):
        total += int(os.read(reading, 64) or b"0")
        os.close(reading)
        os.waitpid(pid, 0)
    return total / span


def cores() -> int:
    """Return how many this process may use."""
    return len(os.sched_getaffinity(0))


def against_worker(rounds: int) -> Iterator[Goal]:
    """Compare what crosses the boundary with a worker that isolates not."""
    bounds = {
        "1,000 rows": 1.2,
        "1e6 floats in, out": 0.3,
        "100 KB printed": 1.5,
    }
    for work in workloads():
        if work.name not in bounds:
            continue
        ours, worker = started(Ours(), Worker(), packages=work.packages)
        times = in_turns(
            {
                "ours": lambda work=work, it=ours: it.run(work),
                "worker": lambda work=work, it=worker: it.run(work),
            },
            max(20, rounds // 4),
            pause=PAUSE,
        )
        worker.stop()
        yield at_most(
            f"{work.name}, of a process pool's worker",
            times["ours"].p50 / times["worker"].p50,
            bounds[work.name],
        )


def computing(rounds: int = 5) -> Iterator[Goal]:
    """Compare the speed of code inside with that outside."""
    found = ratio(rounds)
    if not math.isnan(found):
        yield at_most("pyperformance inside, of outside", found, 1.02)


def memory() -> Iterator[Goal]:
    """Read how much memory a zygote and the one cell that waits take."""
    # What it does for its cells when idle comes first: an older cell has more
    # to itself.
    csandbox.warm()
    time.sleep(IDLE_SECONDS)
    zygotes.disarm()
    csandbox.warm()
    kept = zygotes.registry().zygotes
    zygote = next(it.pid for each, it in kept.items() if not each.preload)
    cell = waiting_cell(zygote)
    yield share_of("a zygote", zygote, 12)
    if cell:
        yield share_of("a waiting cell", cell, 1.5)
    else:
        yield Goal("PSS of a waiting cell", "<= 1.5 MiB", "none waits", False)


def share_of(what: str, pid: int, bound: float) -> Goal:
    """Return the goal of a process's proportional share of memory (PSS)."""
    found = {}  # in MiB
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, figure, _ = line.split()
        found[name.rstrip(":")] = int(figure) / 1024
    private = found["Private_Clean"] + found["Private_Dirty"]
    what = f"PSS of {what} ({private:.1f} MiB of it private)"
    return at_most(what, found["Pss"], bound, "MiB")


def waiting_cell(zygote: int) -> int:
    """Return the process number of the cell that waits, 0 if none does."""
    children = Path(f"/proc/{zygote}/task/{zygote}/children")
    until = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < until:
        pids = map(int, children.read_text().split())
        cells = [pid for pid in pids if innermost_number(pid) == CELL_NUMBER]
        # Others are about to be gone.
        if len(cells) == 1:
            return cells[0]
        time.sleep(0.01)
    return 0


def innermost_number(pid: int) -> int:
    """Return a process's number in its own namespace, 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    # Of a process that has ended there is none.
    numbers = [
        line.split()[-1]
        for line in status.splitlines()
        if line.startswith("NSpid:")
    ]
    return int(*numbers)


def importing(rounds: int) -> Iterator[Goal]:
    """Time the import alone, and look at what it brings along."""
    code = (
        "import sys, time; t = time.perf_counter(); import csandbox; "
        f"print(time.perf_counter() - t, *({IMPORTS!r} & sys.modules.keys()))"
    ).replace(repr(IMPORTS), repr({*IMPORTS}))
    took, extra = [], set()
    for _ in range(rounds):
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        figure, *names = done.stdout.split()
        took.append(float(figure))
        extra |= {*names}
    middle = statistics.median(took) * 1e3
    yield at_most("import csandbox", middle, 15, "ms")
    yield Goal(
        "imports none of " + ", ".join(IMPORTS),
        "none",
        ", ".join(sorted(extra)) or "none",
        not extra,
    )
