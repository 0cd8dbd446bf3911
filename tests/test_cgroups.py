"""cgroup v2: where a run gets a leaf, what that bounds, and that none stays.

Whatever needs the memory controller is marked `cgroup`, and left out unless
CSANDBOX_CGROUP=1 says that this machine delegates it: see .ci/kernel.
"""

import errno
import fcntl
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import pytest

import csandbox
import support
from csandbox import _csandbox, cgroups, sandbox, zygotes
from csandbox.cgroups import Absence, Base, Place
from csandbox.errors import (
    GuestCrash,
    GuestError,
    MemoryLimitError,
    TimeLimitError,
    UnavailableError,
)
from support import LIMITS

# --- where a base may be made: trees of files --------------------------------

BOTH = "cpu memory pids"


class Machine:
    """Files such as the kernel shows, in a directory."""

    def __init__(self, root):
        self.root = root
        self.proc = root / "proc"
        self.proc.mkdir()
        self.mounts = []
        self.own = "0::/app.slice/run-1.scope"
        self.add_cgroup("fs", kind=None, handed="")
        self.add_cgroup("fs/app.slice")
        self.add_cgroup("fs/app.slice/run-1.scope", procs="7")
        self.mount("fs")

    def add_cgroup(
        self, path, kind="domain", controllers=BOTH, handed=BOTH, procs=""
    ):
        directory = self.root / path
        directory.mkdir(exist_ok=True)
        (directory / "cgroup.controllers").write_text(f"{controllers}\n")
        (directory / "cgroup.subtree_control").write_text(f"{handed}\n")
        (directory / "cgroup.procs").write_text(
            "".join(f"{each}\n" for each in procs.split())
        )
        if kind:
            (directory / "cgroup.type").write_text(f"{kind}\n")

    def mount(self, at, root="/", options="rw,nosuid", kind="cgroup2"):
        point = str(self.root / at).replace(" ", "\\040")
        self.mounts.append(
            f"31 24 0:25 {root} {point} {options} shared:9 - {kind} {kind} rw"
        )

    def find(self, euid=0):
        (self.proc / "cgroup").write_text(f"4:memory:/x\n{self.own}\n")
        (self.proc / "mountinfo").write_text("\n".join(self.mounts) + "\n")
        with mock.patch("os.geteuid", return_value=euid):
            try:
                found = cgroups.find_place(str(self.proc), 7)
            except LookupError as error:
                assert error.args[0].remedy
                return error.args[0].reason
        return os.path.relpath(found.parent, self.root), found.enable


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.mark.parametrize("euid", [0, 1000])
def test_a_base_lies_beside_the_host_where_controllers_are_handed_down(
    machine, euid
):
    assert machine.find(euid) == ("fs/app.slice", False)


def test_a_delegated_parent_without_processes_hands_them_down(machine):
    machine.add_cgroup("fs/app.slice", handed="cpu")
    assert machine.find(1000) == ("fs/app.slice", True)


def test_what_is_roots_is_left_as_it_is(machine):
    machine.add_cgroup("fs/app.slice", handed="cpu")
    assert machine.find(0) == "not handed down"


def test_what_systemd_left_to_roots_service_is_not(machine):
    machine.add_cgroup("fs/app.slice", handed="cpu")
    with mock.patch("os.getxattr", return_value=b"1") as seen:
        assert machine.find(0) == ("fs/app.slice", True)
    assert seen.call_args.args[1] == "user.delegate"
    with mock.patch("os.getxattr", return_value=b"0"):
        assert machine.find(0) == "not handed down"


def test_a_parent_with_processes_is_left_as_it_is(machine):
    machine.add_cgroup("fs/app.slice", handed="", procs="12")
    assert machine.find(1000) == "not handed down"


def test_in_the_root_of_all_a_base_lies_below(machine):
    machine.own = "0::/"
    machine.add_cgroup("fs", kind=None, procs="1 7")
    assert machine.find(0) == ("fs", False)


def test_controllers_of_the_root_of_all_are_left_as_they_are(machine):
    machine.own = "0::/"
    machine.add_cgroup("fs", kind=None, handed="", procs="1 7")
    assert machine.find(1000) == "not handed down"


def test_the_root_of_a_namespace_shows_no_place(machine):
    machine.own = "0::/"
    machine.add_cgroup("fs", procs="1 7")
    assert machine.find(0) == "not visible"


def test_a_part_of_the_tree_may_be_mounted(machine):
    machine.mounts.clear()
    machine.mount("fs/app.slice", root="/app.slice")
    assert machine.find() == ("fs/app.slice", False)
    machine.own = "0::/app.slicer/run-1.scope"
    assert machine.find() == "not visible"


def test_a_cgroup_outside_of_the_namespace_may_be_mounted(machine):
    machine.own = "0::/../run-1.scope"
    assert machine.find() == "not visible"
    machine.mount("fs/app.slice", root="/..")
    assert machine.find() == ("fs/app.slice", False)


def test_a_later_mount_lies_over_an_earlier_one(machine):
    machine.mount("fs", options="ro,nosuid")
    assert machine.find() == "read-only"


def test_a_mount_point_may_hold_spaces(machine):
    (machine.root / "fs").rename(machine.root / "f s")
    machine.mounts.clear()
    machine.mount("f s")
    assert machine.find() == ("f s/app.slice", False)


def test_a_hybrid_hierarchy_has_no_controllers(machine):
    machine.own = "0::/"
    machine.add_cgroup("fs", kind=None, controllers="", handed="", procs="7")
    assert machine.find() == "no controllers"


def test_only_v1_is_there(machine):
    machine.mounts.clear()
    machine.mount("fs", kind="cgroup")
    assert machine.find() == "not mounted"
    machine.mount("fs")
    machine.own = "3:cpu:/"
    assert machine.find() == "not mounted"


def test_a_threaded_parent_is_no_place(machine):
    machine.add_cgroup("fs/app.slice", kind="domain threaded")
    assert machine.find() == "threaded"


def test_a_path_that_does_not_lead_to_the_host_is_not_believed(machine):
    machine.add_cgroup("fs/app.slice/run-1.scope", procs="8 9")
    assert machine.find() == "not visible"


@pytest.mark.parametrize("name", ["app.slice", "app.slice/cgroup.procs"])
def test_without_permission_there_is_no_base(machine, name):
    closed = str(machine.root / "fs" / name)
    with mock.patch.object(cgroups, "_may_write", lambda path: path != closed):
        assert machine.find(1000) == "not permitted"


# --- the life of a base: plain directories, and real ones where we may -------


def _cgroup2_directory():
    mounts = cgroups._cgroup2_mounts("/proc/self")
    points = [point for _, point, _ in mounts]
    return next((each for each in points if os.access(each, os.W_OK)), None)


REAL = [] if _cgroup2_directory() is None else ["cgroup2"]


@pytest.fixture(params=["plain", *REAL])
def parent(request, tmp_path, monkeypatch):
    """A directory for bases, which need no controllers."""
    monkeypatch.setattr(cgroups, "_hand_down", lambda fd: None)
    if request.param == "plain":
        monkeypatch.setattr(cgroups._csandbox, "try_cgroup", lambda fd: None)
        yield str(tmp_path)
        return
    path = f"{_cgroup2_directory()}/csandbox-test-{os.getpid()}"
    os.mkdir(path)
    try:
        yield path
    finally:
        os.rmdir(path)


def entries(path):
    """Return the names of the directories in one."""
    return sorted(each.name for each in os.scandir(path) if each.is_dir())


def make(parent):
    return cgroups.make_base(Place(parent=parent))


def test_a_base_goes_with_all_that_is_in_it(parent):
    base = make(parent)
    assert entries(parent) == [base.name]
    assert os.stat(base.path).st_mode & 0o777 == 0o700
    os.mkdir(f"{base.path}/run-1")
    base.remove()
    assert entries(parent) == []
    assert base.fd == -1


def test_a_base_of_a_dead_process_is_removed_by_the_next(parent):
    dead = f"{parent}/csandbox-cells-1-0123abcd"
    os.mkdir(dead)  # nobody has locked it, though there is a process 1
    os.mkdir(f"{dead}/run-3")
    os.mkdir(f"{dead}/try")
    base = make(parent)
    assert entries(parent) == [base.name]
    base.remove()


def test_a_base_of_a_living_process_stays(parent):
    alive = make(parent)
    make(parent).remove()
    assert entries(parent) == [alive.name]
    alive.remove()


@pytest.mark.parametrize(
    "name",
    ["csandbox-web.service", "csandbox-cells-1-0123abcd.scope", "run-1"],
)
def test_a_cgroup_of_others_stays(parent, name):
    os.mkdir(f"{parent}/{name}")
    make(parent).remove()
    assert entries(parent) == [name]
    os.rmdir(f"{parent}/{name}")


def test_a_base_that_was_taken_for_dead_is_made_again(parent):
    real, taken = cgroups._lock, []

    def lock(fd):
        if not taken:  # somebody prunes between its making and its locking
            taken.append(entries(parent)[0])
            os.rmdir(f"{parent}/{taken[0]}")
        return real(fd)

    with mock.patch.object(cgroups, "_lock", lock):
        base = make(parent)
    assert entries(parent) == [base.name] != taken
    base.remove()


def test_a_base_is_not_left_when_it_cannot_be_entered(parent):
    refused = OSError(errno.EACCES, "no")
    with (
        mock.patch.object(_csandbox, "try_cgroup", side_effect=refused),
        pytest.raises(PermissionError),
    ):
        make(parent)
    assert entries(parent) == []


def test_leaves_of_runs_that_took_long_to_die_are_swept(parent):
    class Run:
        pass

    base = make(parent)
    run = Run()
    leaf = base.next_leaf()
    assert leaf == (base.fd, "run-1")
    os.mkdir(f"{base.path}/run-1")
    base.keep(run, leaf)
    os.mkdir(f"{base.path}/run-99")
    assert base.next_leaf()[1] == "run-2"
    assert entries(base.path) == ["run-1"]
    del run
    assert base.next_leaf()[1] == "run-3"
    assert entries(base.path) == []
    base.remove()


def test_a_run_of_a_signal_handler_makes_no_second_base(parent, monkeypatch):
    monkeypatch.setattr(cgroups, "_found", None)
    made = []

    def find_place():
        if not made:  # the handler's run comes in between
            made.append(None)
            made[0] = cgroups.current()
        return Place(parent=parent)

    monkeypatch.setattr(cgroups, "find_place", find_place)
    assert cgroups.current() is made[0]
    assert entries(parent) == [made[0].name]
    cgroups.close()
    assert entries(parent) == []


def test_a_fork_leaves_the_base_to_its_parent(parent, monkeypatch):
    base = make(parent)
    monkeypatch.setattr(cgroups, "_found", base)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if cgroups._found is None and base.fd == -1 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert entries(parent) == [base.name]
    fd = os.open(base.path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):  # locked still
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)
    base.remove()


def test_entering_is_tried_by_a_process_that_leaves_nothing(parent):
    before = _own_cgroup()
    base = make(parent)
    assert entries(base.path) == []
    base.remove()
    assert _own_cgroup() == before


def test_trying_to_enter_says_what_is_wrong(tmp_path):
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(FileNotFoundError):  # no cgroup.procs
        _csandbox.try_cgroup(fd)
    os.close(fd)
    assert entries(tmp_path) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        _csandbox.try_cgroup(fd)


def _own_cgroup():
    with open("/proc/self/cgroup") as file:
        return file.read()


@pytest.mark.parametrize("start", ["zygote", "fork"])
def test_a_run_whose_leaf_cannot_be_made_is_refused(tmp_path, start):
    """A plain directory has no memory.max."""
    fd = os.open(tmp_path, os.O_RDONLY)
    base = Base(str(tmp_path.parent), tmp_path.name, fd)
    options = {"start": start, "allow_threads": True}
    if start == "zygote":
        options = {}
    with (
        mock.patch.object(cgroups, "current", lambda: base),
        mock.patch.object(cgroups, "forget"),
        pytest.raises(UnavailableError) as caught,
    ):
        csandbox.run("print('it ran')", **options)
    assert (caught.value.step, caught.value.errno) == ("cgroup", errno.ENOENT)
    assert caught.value.guarantee == "resources"
    assert "cgroup" in caught.value.remedy
    assert entries(tmp_path) == []
    os.close(fd)


def test_a_base_that_somebody_removed_is_looked_for_again(tmp_path):
    gone = tmp_path / "base"
    gone.mkdir()
    found = Base(str(tmp_path), "base", os.open(gone, os.O_RDONLY))
    gone.rmdir()
    with mock.patch.object(cgroups, "_found", found):
        assert csandbox.run("1 + 1") == 2
        assert cgroups._found is not found
        assert found.fd == -1
        cgroups.close()


def test_doctor_says_why_there_is_none(monkeypatch):
    absence = Absence(reason="not permitted", detail="/sys/fs/cgroup/x")
    with mock.patch.object(cgroups, "current", lambda: absence):
        report = csandbox.doctor()
    assert report.ok
    [row] = [each for each in report.missing if each.mechanism == "cgroup v2"]
    assert row.why.startswith("not permitted: /sys/fs/cgroup/x")
    assert row.remedy == absence.remedy
    assert "not in use: cgroup v2\n  not permitted: /sys/" in str(report)
    assert "-p Delegate=yes" in str(report)


# --- with the memory controller ----------------------------------------------

needs_memory = pytest.mark.cgroup


def found_base():
    found = zygotes.current_cgroup()
    assert isinstance(found, Base), found
    return found


def leaves():
    return entries(found_base().path)


@pytest.fixture
def no_leaf_stays():
    assert leaves() == []
    yield
    assert leaves() == []


def without_leaf():
    absence = Absence(reason="not mounted")
    return mock.patch.object(cgroups, "current", lambda: absence)


def blind():
    """Runs that the host's own look at memory does not end."""
    real = sandbox._see_to_its_end

    def communicate(cell, *rest, **how):
        class Blind:
            def communicate(self, *args, **kwargs):
                return cell.communicate(*args, **{**kwargs, "memory": 1 << 50})

            def close(self):
                cell.close()

        return real(Blind(), *rest, **how)

    return mock.patch.object(sandbox, "_see_to_its_end", communicate)


HOLD = """
import mmap
SIZE = 160 << 20
file = open("/tmp/held", "w+b")
file.truncate(SIZE)
memory = mmap.mmap(file.fileno(), SIZE)
for at in range(0, SIZE, mmap.PAGESIZE):
    memory[at] = 1
"held"
"""


@needs_memory
@pytest.mark.usefixtures("no_leaf_stays")
def test_the_kernel_ends_a_run_that_holds_too_much():
    options = {"memory": "64M", "result": "1M", "scratch": "256M"}
    with blind():
        with without_leaf():
            assert csandbox.run(HOLD, timeout=120, **options) == "held"
        error = csandbox.execute(HOLD, timeout=120, **options).error
    assert type(error) is MemoryLimitError
    assert (error.limit, error.allowed) == ("memory", "64M")


THREADS = """
import threading
done = threading.Event()
count = 0
try:
    while count < 40:
        threading.Thread(target=done.wait, daemon=True).start()
        count += 1
except RuntimeError:
    pass
done.set()
count
"""


@needs_memory
@pytest.mark.usefixtures("no_leaf_stays")
def test_the_kernel_bounds_threads():
    options = {"threads": 4, "without": {LIMITS}}
    with without_leaf():
        assert support.value_of(THREADS, **options) == 40
    assert support.value_of(THREADS, **options) == 4
    assert support.value_of(THREADS, threads=4) == 4


ENDINGS = {
    "value": ("1", type(None)),
    "error": ("1 / 0", GuestError),
    "no memory": ("bytearray(10**10)", GuestError),
    "exit": ("import os; os._exit(3)", csandbox.GuestExit),
    "its own SIGKILL": ("import os; os.kill(os.getpid(), 9)", GuestCrash),
    "timeout": ("while True: pass", TimeLimitError),
}


@needs_memory
@pytest.mark.usefixtures("no_leaf_stays")
@pytest.mark.parametrize("source, kind", ENDINGS.values(), ids=ENDINGS)
@pytest.mark.parametrize("start", ["zygote", "fork"])
def test_no_leaf_stays_and_the_receipt_names_it(source, kind, start):
    options = {"timeout": 4.0, "memory": "64M", "start": start}
    if start == "fork":
        options["allow_threads"] = True
    result = csandbox.execute(source, **options)
    assert type(result.error) is kind
    if kind is GuestCrash:
        assert result.error.signal == 9
    assert "cgroup v2" in result.isolation.mechanisms
    with without_leaf():
        without = csandbox.execute("1")
    assert "cgroup v2" not in without.isolation.mechanisms


@needs_memory
@pytest.mark.usefixtures("no_leaf_stays")
def test_no_leaf_stays_of_a_run_that_was_cancelled():
    def sink(stream, chunk):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        support.run_guest("print(1, flush=True)\nwhile 1: pass", sink=sink)


@needs_memory
@pytest.mark.usefixtures("no_leaf_stays")
@pytest.mark.parametrize("step", ["cell-cgroup", "cell-limits", "scratch"])
def test_no_leaf_stays_of_a_cell_that_failed(step):
    with pytest.raises(UnavailableError):
        support.run_guest("1", fault=(step, errno.ENOTUNIQ))
    made = support.template(fault=(step, errno.ENOTUNIQ))
    zygotes.discard(made, zygotes._registry.zygotes[made])
    support.value_of("1")  # which sweeps


@needs_memory
@pytest.mark.usefixtures("no_leaf_stays")
def test_no_leaf_stays_of_runs_side_by_side():
    with ThreadPoolExecutor(4) as pool:
        results = list(
            pool.map(lambda n: csandbox.run(f"{n} + 1", timeout=60), range(24))
        )
    assert results == list(range(1, 25))


@needs_memory
def test_the_leaf_tells_what_a_run_used():
    result = csandbox.execute(
        "memory = bytearray(b'x') * (48 << 20)\ndel memory\n"
        "for _ in range(400_000): pass"
    )
    result.unwrap()
    assert 48 << 20 <= result.usage.peak_memory < 64 << 20
    assert result.usage.user > 0
    small = csandbox.execute("1").usage.peak_memory
    assert 0 < small < 16 << 20


@needs_memory
def test_processor_time_of_the_leaf_ends_a_run():
    began = time.monotonic()
    error = csandbox.execute("while 1: pass", cpu_time=1, timeout=60).error
    assert type(error) is TimeLimitError
    assert error.limit == "cpu_time"
    assert time.monotonic() - began < 20


@needs_memory
def test_the_host_stays_where_it_is():
    before = _own_cgroup()
    csandbox.run("1")
    assert _own_cgroup() == before
    assert found_base().parent == os.path.dirname(
        cgroups._own_cgroup("/proc/self").directory
    )


@needs_memory
def test_doctor_names_it():
    report = csandbox.doctor()
    assert "cgroup v2" in report.guarantees[-1].mechanisms
    assert "cgroup v2" not in [each.mechanism for each in report.missing]


HOST = """
import csandbox, os, sys
from csandbox import cgroups
csandbox.run("1")
print(cgroups.current().name, flush=True)
"""
CRASH = f"""{HOST}
sys.stdout.write = lambda text: os.kill(os.getpid(), 9)
csandbox.run("print('up', flush=True)\\nwhile True: pass", timeout=60)
"""
FORK = f"""{HOST}
pid = os.fork()
if pid == 0:
    csandbox.run("1")
    print(cgroups.current().name, flush=True)
    cgroups.close()
    os._exit(0)
os.waitpid(pid, 0)
csandbox.run("1")
print(cgroups.current().name, flush=True)
"""


def host(source):
    return subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        timeout=120,
    )


@needs_memory
def test_a_host_removes_its_base_at_its_end():
    done = host(HOST)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() not in entries(found_base().parent)


@needs_memory
def test_a_host_that_crashed_is_cleaned_up_after():
    done = host(CRASH)
    assert done.returncode == -9, done.stderr
    name = done.stdout.split()[0]
    assert name in entries(found_base().parent)
    deadline = time.monotonic() + 30  # its cells end with it, soon
    while name in entries(found_base().parent):
        assert time.monotonic() < deadline
        assert host(HOST).returncode == 0


@needs_memory
def test_a_fork_makes_a_base_of_its_own():
    done = host(FORK)
    assert done.returncode == 0, done.stderr
    first, forked, last = done.stdout.split()
    assert first == last != forked
    assert not {first, forked} & set(entries(found_base().parent))
