"""However many runs there were and however they ended, nothing grows."""

import os

import pytest

import hosts
from csandbox import _csandbox

# What a process that does not leak may gain in memory all the same: its
# allocators settle.  Less than 1 KiB a run for those below.
SLACK = 1 << 20

# `repeat` does something often and returns the counts before and after, and
# how the memory of this process and of the zygote grew, in bytes.
REPEAT = """
import os, sys, csandbox, hosts
def memory():
    zygotes = hosts.zygotes(os.getpid())
    return [
        hosts.resident(),
        sum(int(hosts.stat(pid)[21]) * 4096 for pid in zygotes),
    ]
def repeat(work, often, warm=20):
    for _ in range(warm):
        work()
    before, used = hosts.steady_counts(), memory()
    for _ in range(often):
        work()
    after = hosts.settled_counts(before)
    grown = [new - old for new, old in zip(memory(), used)]
    return [before, after, grown]
"""


def releasing():
    """Return variables that keep ASan from holding on to what was freed."""
    if not _csandbox.SANITIZED:
        return {}
    options = os.environ.get("ASAN_OPTIONS", "")
    none = "quarantine_size_mb=0:thread_local_quarantine_size_kb=0"
    return {"ASAN_OPTIONS": f"{options}:{none}"}


def check(program, *args, slack=SLACK, seconds=120):
    options = {"seconds": seconds, "env": releasing()}
    before, after, grown = hosts.run(program, *args, **options)
    assert after == before
    assert max(grown) < slack, grown


def test_a_thousand_runs_leave_everything_where_it_was():
    check(
        REPEAT
        + """
def work():
    assert csandbox.run("sum(range(10))", timeout=60) == 45
hosts.show(repeat(work, 1000))
"""
    )


ENDINGS = {
    "exception": ("raise ValueError('x' * 1000)", "GuestError"),
    "exit": ("import sys; sys.exit(3)", "GuestExit"),
    "crash": ("import os; os.abort()", "GuestCrash"),
    "timeout": ("while True: pass", "TimeLimitError"),
    "stopped": (
        "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
        "TimeLimitError",
    ),
    "result refused": ("object()", "ResultError"),
    "result forged": ("import os; os.write(3, b'x' * 100)", "ResultError"),
    "result too big": ("'x' * 100_000", "LimitError"),
    "result forged in the store": (
        "import os; os.write(3, b'CSBF' + bytes([2, 0, 0, 0, 9]) + bytes(15))",
        "ResultError",
    ),
    "output too big": ("print('x' * 100_000); 1 / 0", "GuestError"),
    "syntax error": ("x = = 1", "GuestError"),
    "threads": (
        "import threading as t; t.Thread(target=t.Event().wait).start()",
        "TimeLimitError",
    ),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_ending_leaves_anything(ending):
    source, error = ENDINGS[ending]
    program = (
        REPEAT
        + """
source, error = sys.argv[2:]
limits = dict(timeout=0.05 if error == "TimeLimitError" else 60,
              result="4K", output="4K")
def work():
    found = csandbox.execute(source, stdin="x" * 1000, **limits).error
    assert type(found).__name__ == error, repr(found)
hosts.show(repeat(work, 30, warm=10))
"""
    )
    check(program, source, error)


# One of the host's steps, of the zygote's, and of the cell's, at least.
STEPS = [
    "host-descriptors",
    "namespaces",
    "uid-map",
    "exec",
    "boot",
    "view-mount",
    "preload",
    "scratch",
    "init",
    "fork",
    "cell-scratch",
    "cell-descriptors",
    "seccomp",
    "canary",
]


@pytest.mark.parametrize("step", STEPS)
def test_no_failure_of_set_up_leaves_anything(step):
    program = (
        REPEAT
        + """
from csandbox import jobs, sandbox, zygotes
step = sys.argv[2]
template = zygotes.Template(fault=(step, 5))
job = jobs.source_job("1", "<guest>", [""], {}, None)
def work():
    try:
        sandbox._execute(*job, b"", csandbox.Policy(), template=template)
    except csandbox.UnavailableError as error:
        assert (error.step, error.errno) == (step, 5), error
    else:
        raise AssertionError("was set up")
found = repeat(work, 10, warm=2)
zygote = zygotes._registry.zygotes.get(template)
if zygote is not None:
    zygotes.discard(template, zygote)
found.append(csandbox.run("1"))
hosts.show(found)
"""
    )
    before, after, grown, value = hosts.run(program, step, env=releasing())
    assert after == before
    assert max(grown) < SLACK, grown
    assert value == 1


def test_callables_and_inputs_leave_nothing():
    check(
        REPEAT
        + """
import functools
class Thing:
    def double(self, x): return 2 * x
data = {"list": list(range(1000)), "thing": Thing()}
def work():
    assert csandbox.run(Thing().double, (4,), timeout=60) == 8
    assert csandbox.run("len(list)", inputs=data, timeout=60) == 1000
hosts.show(repeat(work, 15, warm=5))
"""
    )


def test_values_of_every_kind_leave_nothing():
    check(
        REPEAT
        + """
source = '''
import collections, datetime, decimal, fractions, uuid
cycle = []
cycle.append(cycle)
[None, True, 2**100, 1.5, 2j, "text", b"bytes", bytearray(b"x"), (1,),
 {1: 2}, {3}, frozenset({4}), ..., range(5), slice(1, 2), cycle,
 datetime.datetime.now(datetime.timezone.utc), datetime.timedelta(1),
 decimal.Decimal("1.5"), fractions.Fraction(1, 3), uuid.uuid4(),
 collections.OrderedDict(a=1), collections.deque([1]),
 collections.Counter("aab"), collections.defaultdict(list, a=[1]),
 "x" * 10_000, list(range(10_000))]
'''
def work():
    assert len(csandbox.run(source, timeout=60)) == 27
hosts.show(repeat(work, 50))
"""
    )


def test_64_concurrent_runs_leave_everything_where_it_was():
    # Threads that once were leave the allocator something each.
    check(
        REPEAT
        + """
import threading
wrong = []
def one(n):
    barrier.wait()
    found = csandbox.run(f"print({n}); [{n}] * 1000", timeout=100)
    if found != [n] * 1000: wrong.append(n)
def work():
    threads = [threading.Thread(target=one, args=(n,)) for n in range(64)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert not wrong, wrong
barrier = threading.Barrier(64)
with open(os.devnull, "w") as sys.stdout:
    found = repeat(work, 3, warm=3)
sys.stdout = sys.__stdout__
hosts.show(found)
""",
        slack=4 * SLACK,
    )


def test_64_concurrent_runs_of_every_ending():
    check(
        REPEAT
        + """
import threading
SOURCES = ["1", "1 / 0", "import os; os._exit(3)", "import os; os.abort()",
           "while True: pass", "object()", "'x' * 100_000", "x = = 1"]
def one(n):
    barrier.wait()
    csandbox.execute(SOURCES[n % 8], result="4K",
                     timeout=1 if n % 8 == 4 else 100)
def work():
    threads = [threading.Thread(target=one, args=(n,)) for n in range(64)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
barrier = threading.Barrier(64)
hosts.show(repeat(work, 2, warm=1))
""",
        slack=4 * SLACK,
    )


# --- the types of the core ---------------------------------------------------

CORE = """
import gc, os, sys, time, weakref, hosts
from csandbox import _csandbox, bootstrap, jobs, terms, zygotes
from csandbox.policy import Policy
from csandbox.view import environment_view
def plan(fault=None):
    uid = zygotes.uid() if _csandbox.is_root() else 0
    return _csandbox.build_plan(
        environment_view(), "", uid, zygotes.ALL_MECHANISMS, fault)
def bare(fault=None):
    argv = [sys.executable, *bootstrap.FLAGS, "-c", bootstrap.text()]
    return _csandbox.Zygote(
        argv, zygotes._environment(), zygotes.ALL_MECHANISMS, fault)
def make(fault=None):
    zygote = bare(fault)
    zygote.take_plan(plan(fault))
    return zygote
def boot(zygote, seconds=60.0):
    zygote.launch()
    zygote.boot(seconds)
    return zygote
def booted():
    return boot(make())
good = {**zygotes.limits(Policy()), "store": 1 << 20, "inputs": None,
        "leaf": None, "place": None}
def start(zygote, inputs=None):
    return zygote.start(**{**good, "inputs": inputs})
asked = {"timeout": 60.0, "setup_timeout": 60.0, "cpu_time": 60.0,
         "memory": 1 << 30, "tasks": 1, "processes": 0, "output": 1000,
         "output_kills": False, "result": 1000, "required": 0,
         "signals": False, "sink": None, "successor": False,
         "hurried": False}
def growth(work, often=8, warm=2):
    "Counts before and after, and blocks of Python memory more each time."
    for _ in range(warm):
        work()
    gc.collect()
    before, blocks = hosts.steady_counts(), sys.getallocatedblocks()
    for _ in range(often):
        work()
    gc.collect()
    blocks = sys.getallocatedblocks() - blocks
    return [before, hosts.settled_counts(before), blocks / often]
"""


def check_growth(work):
    program = f"{CORE}\n{work}\nhosts.show(growth(work))\n"
    before, after, blocks = hosts.run(program)
    assert after == before
    assert blocks < 1


WORK = {
    "zygote made": "def work(): make()",
    "zygote closed unbooted": "def work(): make().close()",
    "zygote dropped": "def work(): booted()",
    "zygote closed twice": """
def work():
    zygote = booted()
    assert zygote.alive and zygote.pid > 0
    zygote.close()
    zygote.close()
    assert not zygote.alive
""",
    "zygote that is left at exit": """
def work():
    pid = os.fork()
    if pid == 0:
        for _ in range(2):
            zygote = booted()
            zygote.leave()
            zygote.leave()
            assert not zygote.alive
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
""",
    "zygote that advances": """
def work():
    zygote = make()
    zygote.launch()
    while not zygote.advance(): time.sleep(0.001)
    assert zygote.born == zygote.used > 0 and zygote.runs == 0
    assert zygote.advance()
    zygote.close()
    try: zygote.advance()
    except RuntimeError: pass
    else: raise AssertionError
""",
    "zygote that advances and fails": """
def work():
    zygote = make(("view-pivot", 5))
    zygote.launch()
    try:
        while not zygote.advance(): time.sleep(0.001)
    except _csandbox.SetupError as error: assert error.args[0] == "view-pivot"
    else: raise AssertionError
    assert not zygote.alive
""",
    "zygote that is dropped as it advances": """
def work():
    zygote = make()
    zygote.launch()
    zygote.advance()
""",
    "zygote booted twice": """
def work():
    zygote = booted()
    try: zygote.boot(60.0)
    except RuntimeError: zygote.close()
    else: raise AssertionError
""",
    "zygote fails": """
def work():
    for step in ("exec", "plan", "view-pivot"):
        zygote = make((step, 5))
        try: boot(zygote)
        except _csandbox.SetupError as error: assert error.args[0] == step
        else: raise AssertionError
        assert not zygote.alive
""",
    "fork dropped": """
def work():
    zygote = make()
    zygote.fork(int, int)
    zygote.boot(60.0)
    run = start(zygote)
""",
    "fork dropped unbooted": "def work(): make().fork(int, int)",
    "fork fails": """
def work():
    for step in ("host-descriptors", "namespaces", "uid-map", "plan"):
        zygote = make((step, 5))
        try:
            zygote.fork(int, int)
            zygote.boot(60.0)
        except _csandbox.SetupError as error: assert error.args[0] == step
        else: raise AssertionError(step)
        assert not zygote.alive
""",
    "fork of bad arguments": """
def work():
    zygote = make()
    for bad in ((), (int,), (int, 5), (5, int)):
        try: zygote.fork(*bad)
        except TypeError: pass
        else: raise AssertionError(bad)
    zygote.fork(int, int)
    try: zygote.fork(int, int)
    except RuntimeError: pass
    else: raise AssertionError
""",
    "fork runs": """
import csandbox
def work():
    live = []
    assert csandbox.run(lambda: live.append(1), start="fork") is None
    csandbox.execute(lambda: 1 / 0, start="fork")
    csandbox.execute("while True: pass", start="fork", timeout=0.2)
""",
    "zygote times out": """
def work():
    try: boot(make(), 0.0)
    except _csandbox.SetupError as error: assert error.args[0] == "boot"
    else: raise AssertionError
""",
    "zygote of bad arguments": """
def work():
    for bad in (([], [], 127), (["x"], [], b"no number"),
                (["x"], ["\\0"], 127), ([5], [], 127), ("x", [], 127),
                (["x"], [], 127, ("no step", 1)), (["x"], [], 127, 5)):
        try: _csandbox.Zygote(*bad)
        except (TypeError, ValueError): pass
        else: raise AssertionError(bad)
""",
    "zygote whose plan comes after its launch": """
def work():
    zygote = bare()
    zygote.launch()
    time.sleep(0.05)
    zygote.take_plan(plan())
    zygote.boot(60.0)
    try: zygote.take_plan(plan())
    except RuntimeError: pass
    else: raise AssertionError
""",
    "zygote that never gets a plan": """
def work():
    zygote = bare()
    zygote.launch()
    for method in (lambda: zygote.boot(1.0), zygote.advance):
        try: method()
        except RuntimeError: pass
        else: raise AssertionError
""",
    "zygote of another's plan": """
def work():
    lesser = _csandbox.build_plan([], "", 0, 0)
    zygote = bare()
    for state in range(2):
        for bad in (lesser, b"no plan", plan()[:-1], None):
            try: zygote.take_plan(bad)
            except (TypeError, ValueError): pass
            else: raise AssertionError(bad)
        if state == 0: zygote.launch()
    zygote.close()
""",
    "start of bad arguments": """
zygote = booted()
def work():
    for bad in ({}, {**good, "more": 1}, {**good, "memory": -1},
                {**good, "threads": 2**40}, {**good, "scratch": "x"},
                {**good, "store": None}, {**good, "inputs": 3},
                {**good, "leaf": 3}, {**good, "place": 3},
                {**good, "leaf": (3, b"x")},
                dict(reversed(good.items()))):
        try: zygote.start(**bad)
        except (TypeError, ValueError, OverflowError): pass
        else: raise AssertionError(bad)
""",
    "start of a closed zygote": """
zygote = booted()
zygote.close()
def work():
    try: start(zygote)
    except OSError: pass
    else: raise AssertionError
""",
    "run dropped": """
zygote = booted()
def work(): start(zygote)
""",
    "run closed twice": """
zygote = booted()
def work():
    run = start(zygote)
    run.close()
    run.close()
    run.kill()
""",
    "run outlives zygote": """
def work():
    zygote = booted()
    run = start(zygote)
    zygote.close()
    del zygote
    run.kill()
    run.close()
""",
    "run killed": """
zygote = booted()
def work():
    run = start(zygote)
    run.kill()
    found = run.communicate(b"", b"", **asked)
    assert found["ending"] == "cancelled", found
    try: run.communicate(b"", b"", **asked)
    except RuntimeError: pass
    else: raise AssertionError
""",
    "run with a successor": """
zygote = booted()
job, cargo = jobs.source_job("1", "<guest>", ("",), {}, ())
job["on_unsupported"] = "error"
frame = jobs.frame(job, cargo, terms.terms_of(Policy()))
def work():
    run, successors = start(zygote), []
    for _ in range(3):
        found = run.communicate(
            frame, b"", **{**asked, "successor": True, "hurried": True})
        assert found["ending"] == "frame", found
        old, run = run, run.successor()
        assert old.successor() is None
        while run.waits() and not run.ready: pass
        while run.waits() and not run.kill(): pass
        assert not run.waits()
        run.close()
        run = start(zygote)
    run.communicate(frame, b"", **{**asked, "successor": True})
    run.close()  # and what was never asked for
""",
    "run of bad arguments": """
zygote = booted()
def work():
    run = start(zygote)
    for bad in ((), ("text", b""), (b"", None)):
        try: run.communicate(*bad, **asked)
        except TypeError: pass
        else: raise AssertionError(bad)
""",
    "run is weakly referenced": """
zygote = booted()
def work():
    run = start(zygote)
    watcher = weakref.ref(run)
    del run
    assert watcher() is None
""",
    "run with inputs": """
zygote = booted()
def work():
    inputs = _csandbox.Inputs()
    inputs.write([(0, b"x" * 3_000_000), (3_000_064, b"y")])
    try: inputs.write([])
    except RuntimeError: pass
    else: raise AssertionError
    watcher = weakref.ref(inputs)
    start(zygote, inputs).close()
    inputs.close()
    inputs.close()
    try: start(zygote, inputs)
    except ValueError: pass
    else: raise AssertionError
    del inputs
    assert watcher() is None
""",
    "run armed for inputs": """
zygote = booted()
job, cargo = jobs.source_job("x[-1]", "<guest>", ("",), {"x": "ab" * 50_000},
                             ())
job["on_unsupported"] = "error"
frame = jobs.frame(job, cargo, terms.terms_of(Policy()))
def armed():
    "A cell that has waited; there is none if the one before ended at once."
    run = None
    while run is None:
        inputs = _csandbox.Inputs()
        inputs.write(cargo.parts)
        first = start(zygote, inputs)
        inputs.close()
        first.communicate(
            frame, b"", **{**asked, "successor": True, "hurried": True})
        run = first.successor()
    return run
def work():
    for given in (cargo.parts, None, [5], [(0, b"x"), (0, b"y")]):
        run = armed()
        try: run.take_inputs(given)
        except (TypeError, ValueError):
            run.take_inputs(cargo.parts)
        try: run.take_inputs(cargo.parts)
        except RuntimeError: pass
        else: raise AssertionError
        found = run.communicate(frame, b"", **asked)
        assert found["ending"] == "frame", found
    armed().close()
""",
    "inputs of bad arguments": """
def work():
    for bad in (5, [5], [(0,)], [(-1, b"")], [(0, "x")],
                [(0, b"xx"), (1, b"x")], [(0, b"x"), (2**63, b"x")],
                [(0, memoryview(b"xxxx")[::2])]):
        try: _csandbox.Inputs().write(bad)
        except (TypeError, ValueError, OverflowError, BufferError): pass
        else: raise AssertionError(bad)
""",
    "store filled": """
def work():
    for size in (1, 100_000, 5_000_000):
        store = os.memfd_create("store", os.MFD_ALLOW_SEALING)
        os.ftruncate(store, size + 10)
        _csandbox.fill(store, -1, [(0, b"x" * size), (size + 5, b"yyyyy")])
        region = _csandbox.open_region(store, size + 10)
        os.close(store)
        assert len(region) == size + 10
        assert bytes(region) == b"x" * size + bytes(5) + b"yyyyy"
    for bad in ((-1, -1, [(0, b"x")]), (0, -1, 5)):
        try: _csandbox.fill(*bad)
        except (OSError, TypeError): pass
        else: raise AssertionError(bad)
    for bad in ((-1, 5), (0, -1), (0, "x")):
        try: _csandbox.open_region(*bad)
        except (OSError, TypeError, ValueError): pass
        else: raise AssertionError(bad)
""",
    "places": """
import threading
def work():
    places = _csandbox.Places(1)
    with places.enter(0.0, True) as place:
        assert places.enter(0.0, True) is not None  # in the same thread
        found = []
        for seconds in (0.0, 0.001, 60.0):
            thread = threading.Thread(
                target=lambda: found.append(places.enter(seconds, False)))
            thread.start()
            if seconds < 60: thread.join()
        hosts.wait_until(lambda: places.waiting == 1)
    thread.join()
    place.release()
    assert found[:2] == [None, None] and found[2] is not None
    assert places.alive == 1
    places.fork_began()
    assert places.alive == 0
    del found[:]
    thread = threading.Thread(target=places.enter, args=(60.0, False))
    with places.enter(0.0, True):
        thread.start()
        hosts.wait_until(lambda: places.waiting == 1)
        places.resize(2)
        thread.join()
        assert places.cells == 2
        assert places.close() and not places.closed
    for bad in (0, -1, "1", 1.5, None, 2**70):
        for function in (places.resize, _csandbox.Places):
            try: function(bad)
            except (TypeError, ValueError, OverflowError): pass
            else: raise AssertionError(bad)
    for bad in ((), (1.0,), ("1", True), (1.0, True, 1)):
        try: places.enter(*bad)
        except TypeError: pass
        else: raise AssertionError(bad)
""",
    "plan of bad arguments": """
def work():
    for bad in ([1], [("tree", "/a")], [("no", "/a", "/a")],
                [("tree", "/a\\0", "/a")], [("tree", 5, "/a")]):
        try: _csandbox.build_plan(bad, "", 0, 0)
        except (TypeError, ValueError): pass
        else: raise AssertionError(bad)
    for bad in (("no-such-step", 1), ("exec",), 5):
        try: _csandbox.build_plan([], "", 0, 0, bad)
        except (TypeError, ValueError): pass
        else: raise AssertionError(bad)
""",
    "a cgroup to try": """
def work():
    fd = os.open("/tmp", os.O_RDONLY)
    for bad in (-1, fd, "x"):
        try: _csandbox.try_cgroup(bad)
        except (OSError, TypeError, ValueError): pass
        else: raise AssertionError(bad)
    os.close(fd)
""",
    "a leaf that cannot be made": """
zygote = booted()
def work():
    fd = os.open("/tmp", os.O_RDONLY)
    name = f"csandbox-{os.getpid()}"
    try: zygote.start(**{**good, "leaf": (fd, name)})
    except _csandbox.SetupError as error: assert error.args[0] == "cgroup"
    else: raise AssertionError
    assert not os.path.exists(f"/tmp/{name}")
    os.close(fd)
""",
    "a directory that is cleared": """
name = f"csandbox-leak-test-{os.getpid()}"
def work():
    os.makedirs(f"/tmp/{name}/a/b")
    with open(f"/tmp/{name}/a/file", "w"): pass
    fd = os.open("/tmp", os.O_RDONLY)
    assert _csandbox.clear_directory(fd, name) is None
    for bad in (("x", 3), (-1, name)):
        try: _csandbox.clear_directory(*bad)
        except (OSError, TypeError): pass
    os.close(fd)
    assert not os.path.exists(f"/tmp/{name}")
""",
    "tables": """
def work():
    assert _csandbox.syscalls()
    assert _csandbox.check_receipt(127, {}, {"user": 1}) != ""
    try: _csandbox.check_receipt(127, {}, {"user": "x"})
    except TypeError: pass
    assert _csandbox.is_root() in (True, False)
""",
}


@pytest.mark.parametrize("name", WORK)
def test_core_does_not_leak(name):
    check_growth(WORK[name])


def test_run_cannot_be_made_by_hand():
    import csandbox._csandbox as core

    with pytest.raises(TypeError):
        core.Run()


def test_every_function_of_the_core_has_a_leak_test():
    import csandbox._csandbox as core

    public = {
        *(name for name in dir(core) if callable(getattr(core, name))),
        *(name for name in dir(core.Zygote) if not name.startswith("_")),
        *(name for name in dir(core.Run) if not name.startswith("_")),
        *(name for name in dir(core.Places) if not name.startswith("_")),
        *(name for name in dir(core.Place) if not name.startswith("_")),
    }
    public = {name for name in public if not name.startswith("_")}
    # decode has tests of its own; serve and refuse_files run in the zygote
    # alone; the hooks of a fork are called by every fork.
    tested = " ".join([CORE, *WORK.values()])
    untested = {name for name in public if name not in tested}
    forks = {"fork_begins", "fork_began", "fork_ends"}
    zygotes_own = {"serve", "refuse_files", "await_input"}
    types = {"Run", "Region", "Place"}
    assert untested <= {"decode"} | types | zygotes_own | forks
