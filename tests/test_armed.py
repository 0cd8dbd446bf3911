"""Which cells wait for jobs, how many, for how long; and warm()."""

import time
from unittest import mock

import pytest

import csandbox
import hosts
from csandbox import armed
from csandbox.errors import PolicyError, UnavailableError

PRELUDE = """
import os, sys, threading, time
import csandbox, hosts
from csandbox import armed, zygotes
pool = zygotes._registry.armed
def refuse(*args, **kwargs):
    raise AssertionError("a cell was asked for")
def waits(n=1):
    "Run something at once that only a cell which waits can do."
    honest, zygotes._request = zygotes._request, refuse
    try:
        return csandbox.run("n", inputs={"n": n})
    finally:
        zygotes._request = honest
"""


def program(source, *args, **options):
    return hosts.run(PRELUDE + source, *args, **options)


class Cell:
    """Stands for a Run that waits."""

    def __init__(self, alive=True, ready=True):
        self.alive, self.ready, self.closed = alive, ready, 0

    def waits(self):
        return self.alive and not self.closed

    def close(self):
        self.closed += 1


@pytest.fixture
def two_cores():
    with mock.patch.object(armed, "cores", lambda: 2):
        yield


@pytest.fixture
def clock():
    with mock.patch.object(armed, "monotonic") as now:
        now.return_value = 1000.0
        yield now


def filled(*kinds, zygote="z"):
    """Return a pool with a cell for each kind, and these."""
    pool, cells = armed.Armed(), [Cell() for _ in kinds]
    for kind, cell in zip(kinds, cells, strict=True):
        pool.put((kind,), zygote, cell)
    return pool, cells


# --- how many ----------------------------------------------------------------


@pytest.mark.usefixtures("two_cores")
def test_no_more_of_a_kind_wait_than_there_are_cores():
    pool, cells = filled("a", "a", "a")
    assert [cell.closed for cell in cells] == [1, 0, 0]
    assert not pool.wants(("a",))
    assert pool.take(("a",))[1] is cells[2]
    assert pool.wants(("a",))


def test_a_kind_gets_only_its_own():
    pool, cells = filled("a")
    assert pool.take(("b",)) is None
    assert pool.take(("a",)) == ("z", cells[0])
    assert pool.take(("a",)) is None


def test_a_cell_that_is_dead_or_stale_is_closed_and_not_given(clock):
    pool, cells = filled("a", "a")
    cells[1].alive = False
    clock.return_value += armed.FRESH_SECONDS
    assert pool.take(("a",)) is None
    assert [cell.closed for cell in cells] == [1, 1]


@pytest.mark.usefixtures("two_cores")
def test_those_of_all_kinds_are_bounded():
    with mock.patch.object(armed, "MOST", 5):
        kinds = [str(i) for i in range(9)]
        pool, cells = filled(*kinds)
        assert len(pool) == 5
        assert [cell.closed for cell in cells] == [1] * 4 + [0] * 5
        pool.put(("4",), "z", Cell())  # now "5" was not used for longest
        assert [cells[4].closed, cells[5].closed] == [0, 1]
        assert len(pool) == 5


@pytest.mark.parametrize(
    ("soft", "most"), [(48, 1), (1024, 21), (10**6, 64), (-1, 64), (4, 1)]
)
def test_the_descriptors_of_the_host_bound_them(soft, most):
    with mock.patch.object(armed.os, "sysconf", lambda _: soft):
        assert armed.most() == most
        # Each of those that are alive may ask for one.
        assert armed.Armed().wants("a", max(soft, 1)) == (soft < 0)


@pytest.mark.parametrize(
    ("soft", "alive"), [(64, 0), (256, 2), (1024, 32), (4096, 160)]
)
def test_runs_have_the_descriptors_of_the_host_first(soft, alive):
    with mock.patch.object(armed.os, "sysconf", lambda _: soft):
        assert armed.Armed().wants("a", alive)
        assert not armed.Armed().wants("a", alive + 1)


@pytest.mark.usefixtures("two_cores")
def test_when_many_kinds_take_turns_only_those_wait_that_come_again(clock):
    pool = armed.Armed()
    for i in range(armed.KINDS):
        assert pool.wants((i,))
        pool.put((i,), "z", Cell())
    assert not pool.wants(("new",))
    clock.return_value += armed.FRESH_SECONDS - 1
    assert pool.wants(("new",))
    assert not pool.wants(("rare",))
    clock.return_value += armed.FRESH_SECONDS + 1
    assert not pool.wants(("rare",))
    pool.expect(("expected",))
    assert pool.wants(("expected",))


def test_the_memory_of_kinds_is_bounded(clock):
    pool, _ = filled(*range(armed.KINDS))
    for i in range(10_000):
        pool.wants((i, "other"))
    assert len(pool._seen) <= armed.SEEN
    clock.return_value += 100
    pool.sweep()
    assert pool._waiting == {}


def test_a_sweep_closes_what_is_stale_and_no_more(clock):
    pool, cells = filled("a", "b")
    clock.return_value += armed.FRESH_SECONDS + 1
    pool.put(("a",), "z", Cell())
    pool.sweep()
    assert [cell.closed for cell in cells] == [1, 1]
    assert [len(pool), list(pool._waiting)] == [1, [("a",)]]


def test_those_of_a_zygote_that_leaves_are_closed():
    pool, cells = filled("a", "b")
    others = Cell()
    pool.put(("a",), "other", others)
    pool.forget("z")
    assert [cell.closed for cell in cells] == [1, 1]
    assert pool.take(("a",)) == ("other", others)


def test_ready_is_what_the_latest_is(clock):
    pool, (cell,) = filled("a")
    assert pool.is_ready(("b",)) is None
    assert pool.is_ready(("a",)) is True
    cell.ready = False
    assert pool.is_ready(("a",)) is False
    clock.return_value += armed.FRESH_SECONDS * 0.6
    assert pool.is_ready(("a",)) is None  # it will not last


# --- in a process ------------------------------------------------------------


def test_as_many_wait_as_ran_at_once_and_then_fewer_and_none():
    found = program("""
armed.FRESH_SECONDS = 1.5
csandbox.run("1")
def wait(): csandbox.run("import time; time.sleep(0.5)")
threads = [threading.Thread(target=wait) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
busy = len(pool)
end = time.monotonic() + 3
while time.monotonic() < end: csandbox.run("1")
calm = len(pool)
time.sleep(2)
csandbox.run("1", profile="compute")  # of which none can wait
hosts.show([busy == armed.cores(), calm, len(pool)])
""")
    assert found[0] is True
    assert found[1] == 1
    assert found[2] == 0


def test_a_cell_without_a_job_ends_by_itself():
    found = program("""
from csandbox import bootstrap
bootstrap._TEXT = bootstrap._TEXT.replace(
    '_guest["enter"]', '_guest["IDLE_SECONDS"] = 3\\n_guest["enter"]')
def living(): return len(hosts.marked(sys.argv[1]))
csandbox.warm()
(queue,) = pool._waiting.values()
before = [queue[0][2].waits(), living() > 2]
hosts.wait_until(lambda: not queue[0][2].waits())
hosts.wait_until(lambda: living() == 2)  # its init is gone, too
hosts.show([before, csandbox.run("5")])
""")
    assert found == [[True, True], 5]


def test_a_cell_gets_its_job_though_it_would_end_without_one_now():
    """It is stopped until its time is over, and gets a job meanwhile."""
    found = program("""
import signal
from csandbox import bootstrap
bootstrap._TEXT = bootstrap._TEXT.replace(
    '_guest["enter"]', '_guest["IDLE_SECONDS"] = 2\\n_guest["enter"]')
def armed_cells():
    csandbox.warm()
    return hosts.cells(sys.argv[1])
cells = hosts.wait_until(armed_cells)
for pid in cells: os.kill(pid, signal.SIGSTOP)
start, got = time.monotonic(), []
thread = threading.Thread(target=lambda: got.append(csandbox.run("7")))
thread.start()
while time.monotonic() < start + 2.5: time.sleep(0.1)
for pid in cells: os.kill(pid, signal.SIGCONT)
thread.join()
hosts.show(got)
""")
    assert found == [7]


def test_many_kinds_leave_a_bounded_number_of_cells():
    found = program("""
for i in range(150):
    csandbox.run("1", memory=(100 << 20) + i)
hosts.show([len(pool) <= armed.KINDS, len(pool._waiting) <= armed.KINDS])
""")
    assert found == [True, True]


# --- warm --------------------------------------------------------------------


def test_after_warm_the_first_run_is_a_warm_one():
    assert (
        program("""
csandbox.warm()
hosts.show(waits(5))
""")
        == 5
    )


def test_warm_imports_what_the_policy_preloads():
    assert (
        program("""
csandbox.warm(csandbox.Policy(preload=("colorsys",)), timeout=3)
zygotes._request = refuse
source = "import sys; 'colorsys' in sys.modules"
hosts.show(csandbox.run(source, preload=("colorsys",), timeout=3))
""")
        is True
    )


def test_warm_does_nothing_when_all_is_ready():
    found = program("""
csandbox.warm()
zygotes._request = refuse
(queue,) = pool._waiting.values()
before = queue[0]
start = time.monotonic()
for _ in range(100): csandbox.warm()
seconds = time.monotonic() - start
hosts.show([seconds < 1, queue[0] is before, len(queue)])
""")
    assert found == [True, True, 1]


def test_warm_gives_a_rare_kind_a_cell_when_many_take_turns():
    found = program("""
for i in range(12): csandbox.run("1", memory=(100 << 20) + i)
csandbox.warm()
hosts.show(waits(7))
""")
    assert found == 7


def test_warm_replaces_a_cell_that_will_not_last():
    found = program("""
armed.FRESH_SECONDS = 1
csandbox.warm()
time.sleep(0.7)
csandbox.warm()
time.sleep(0.7)
hosts.show(waits(3))
""")
    assert found == 3


def test_warm_from_many_threads_at_once():
    found = program("""
wrong = []
def work():
    try: csandbox.warm()
    except BaseException as error: wrong.append(repr(error))
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
hosts.show([wrong, len(hosts.zygotes(os.getpid())), waits(4)])
""")
    assert found == [[], 1, 4]


def test_a_fork_has_to_warm_for_itself():
    found = program("""
csandbox.warm()
if os.fork() == 0:
    assert len(zygotes._registry.armed) == 0
    csandbox.warm()
    os._exit(waits(6))
hosts.show([os.waitstatus_to_exitcode(os.wait()[1]), waits(1)])
""")
    assert found == [6, 1]


def test_warm_where_no_cell_can_wait_has_the_zygote():
    found = program("""
csandbox.warm(profile="compute")
before = hosts.zygotes(os.getpid())
value = csandbox.run("8", profile="compute")
hosts.show([len(before), value, before == hosts.zygotes(os.getpid())])
""")
    assert found == [1, 8, True]


def test_warm_again_where_no_cell_can_wait_starts_no_run():
    found = program("""
csandbox.warm(profile="compute")
(zygote,) = zygotes._registry.zygotes.values()
before = zygote.runs
for _ in range(3): csandbox.warm(profile="compute")
zygotes._request = refuse
csandbox.warm(profile="compute")
hosts.show(zygote.runs - before)
""")
    assert found == 0


def test_warm_does_nothing_for_forks_of_the_caller():
    found = program("""
csandbox.warm(start="fork")
hosts.show(hosts.children(os.getpid()))
""")
    assert found == []


def test_warm_refuses_what_run_refuses():
    with pytest.raises(PolicyError, match="did you mean 'timeout'"):
        csandbox.warm(timeot=1)
    with pytest.raises(PolicyError, match=r"must be a csandbox\.Policy"):
        csandbox.warm({"timeout": 1})
    with pytest.raises(UnavailableError) as caught:
        csandbox.warm(preload=("no_such_module",))
    assert caught.value.step == "preload"


def test_warm_under_limits_that_end_its_run():
    start = time.monotonic()
    csandbox.warm(timeout=0.001, memory="16M")
    assert time.monotonic() - start < 20


def test_ctrl_c_at_any_moment_of_warm_leaks_nothing():
    found = program(
        """
import random, signal
csandbox.warm()
zygotes.disarm()
before = hosts.steady_counts()
random.seed(3)
hit = 0
for i in range(80):
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0002, 0.03))
        while True:
            csandbox.warm()
            zygotes.disarm()
            if i % 4 == 0: zygotes.shutdown()
    except KeyboardInterrupt:
        hit += 1
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
csandbox.warm()
value = waits(9)
zygotes.disarm()
after = hosts.settled_counts(before)
hosts.show([hit, value, after == before or [before, after]])
""",
        seconds=120.0,
    )
    assert found == [80, 9, True]


# --- large inputs ------------------------------------------------------------

LARGE = '"y" * 100_000'


def test_large_inputs_find_a_cell_that_waits():
    got = program(f"""
csandbox.run("n", inputs={{"n": {LARGE}}})
values = [waits({LARGE} + str(i)) for i in range(3)]
assert len(values[0]) == 100_001
hosts.show([each[-1] for each in values])
""")
    assert got == ["0", "1", "2"]


def test_cells_for_large_inputs_are_not_taken_by_other_runs():
    got = program(f"""
csandbox.run("n", inputs={{"n": {LARGE}}})
csandbox.run("n", inputs={{"n": 5}})
hosts.show([waits(7), len(waits({LARGE}))])
""")
    assert got == [7, 100_000]


def test_more_inputs_than_a_waiting_cell_has_room_for_go_in():
    got = program("""
def sizes(size):
    return csandbox.run("len(n), n[-1]", inputs={"n": b"x" * size + b"y"},
                        memory="2G", timeout=60)
limit = csandbox._csandbox.INPUTS_ARMED
hosts.show([sizes(size) for size in (
    100_000, limit - 4096, limit - 4096, limit + 1, 100_000, 5 << 20)])
""")
    limit = csandbox._csandbox.INPUTS_ARMED
    sizes = [100_000, limit - 4096, limit - 4096, limit + 1, 100_000, 5 << 20]
    assert got == [[size + 1, ord("y")] for size in sizes]


def test_inputs_of_a_cell_that_waited_cannot_be_written_or_seen_again():
    got = program(f"""
source = '''
import ctypes, os
def number(call, *arguments):
    try: return call(*arguments)
    except OSError as error: return error.errno
[number(os.pwrite, 6, b"z", 0), number(os.pread, 6, 9, 0), n[-2:]]
'''
csandbox.run("n", inputs={{"n": {LARGE} + "1"}})
hosts.show([csandbox.run(source, inputs={{"n": {LARGE} + str(i)}})
            for i in range(3)])
""")
    assert got == [[9, 9, f"y{i}"] for i in range(3)]


def test_a_waiting_cell_without_limit_on_threads_has_room_for_inputs():
    got = program("""
def total(size):
    return csandbox.run("len(n)", inputs={"n": b"x" * size}, threads=0,
                        scratch=0, memory="64M", result="4K")
hosts.show([total(size) for size in (100_000, 31 << 20, 31 << 20)])
""")
    assert got == [100_000, 31 << 20, 31 << 20]


# --- packages ----------------------------------------------------------------

FAULTS = """
import resource
def faults(use):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    use()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""
USES = {
    "numpy": "import numpy; faults(lambda: numpy.arange(1000.0).sum())",
    "pandas": "import pandas; faults(lambda: pandas.DataFrame({'a': [1]}))",
}


@pytest.mark.parametrize(("package", "most"), [("numpy", 20), ("pandas", 60)])
def test_a_cell_that_waits_has_what_the_use_of_a_package_touches(
    package, most
):
    """Else numpy's first sum takes 58 page faults, and a frame 349."""
    pytest.importorskip(package)
    found = []
    for _ in range(3):
        csandbox.warm(preload=(package,))
        time.sleep(0.2)
        found.append(csandbox.run(FAULTS + USES[package], preload=(package,)))
    assert min(found) <= most


def test_the_use_of_packages_ahead_leaves_nothing_for_the_guest_to_see():
    pytest.importorskip("pandas")
    source = """
import sys, warnings, pandas, numpy
caught = []
for name, module in list(sys.modules.items()):
    if getattr(module, "__warningregistry__", {}): caught.append(name)
(numpy.geterr() == dict(divide="warn", over="warn", under="ignore",
                        invalid="warn"),
 [name for name in caught if name.startswith(("numpy", "pandas"))],
 pandas.get_option("display.max_rows"), sorted(vars(sys.modules["__main__"])))
"""
    csandbox.warm(preload=("pandas",))
    errors, caught, rows, names = csandbox.run(source, preload=("pandas",))
    assert errors is True
    assert caught == []
    assert rows == 60
    assert "frame" not in names


def test_a_package_whose_use_fails_can_be_preloaded_all_the_same():
    """A module of the name of one that is used ahead, but without its ways."""
    found = program("""
from csandbox import bootstrap
bootstrap._TEXT = bootstrap._TEXT.replace(
    '_guest["enter"]', "sys.modules['pandas'] = sys\\n"
    "sys.modules['numpy'] = sys\\n" + '_guest["enter"]')
hosts.show([csandbox.run("4"), csandbox.run("5")])
""")
    assert found == [4, 5]


def test_few_descriptors_are_for_runs_and_not_for_cells_that_wait():
    """4 runs take most of 64; one of them is long, and asks for no other."""
    failed = program("""
import resource, threading
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
failed = []
def work(number):
    source = "import time; time.sleep(1)" if number == 0 else "1"
    try:
        for _ in range(1 if number == 0 else 8):
            csandbox.run(source, timeout=60)
    except csandbox.UnavailableError as error:
        failed.append(str(error))
for _ in range(3):
    threads = [threading.Thread(target=work, args=[n]) for n in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
hosts.show(failed)
""")
    assert failed == []


def test_what_waits_gives_its_descriptors_to_a_run():
    value = program("""
import resource
for memory in "200M", "210M", "220M":
    csandbox.warm(memory=memory)
used = len(os.listdir("/proc/self/fd"))
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (used + 3, hard))
hosts.show(csandbox.run("5", memory="230M"))
""")
    assert value == 5
