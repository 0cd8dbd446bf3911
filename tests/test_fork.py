"""start="fork": live objects go in, and the host is out of reach."""

import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

import csandbox
import hosts
from csandbox import _csandbox, bootstrap, forking, jobs, sandbox, zygotes
from csandbox.errors import (
    GuestCrash,
    GuestError,
    GuestExit,
    LimitError,
    PolicyError,
    ResultError,
    TimeLimitError,
    UnavailableError,
)
from csandbox.policy import Policy
from csandbox.zygotes import Template

# Other tests may have brought threads of C libraries into this process.
FORK = {"start": "fork", "allow_threads": True, "timeout": 30}


def run(target, *args, **options):
    return csandbox.run(target, *args, **{**FORK, **options})


def execute(target, *args, **options):
    return csandbox.execute(target, *args, **{**FORK, **options})


# --- what goes in, and what comes back ---------------------------------------


def test_a_closure_over_a_variable():
    big = {"x": 41}
    assert run(lambda: big["x"] + 1) == 42


def test_args_kwargs_and_inputs_are_live():
    lock, generator = threading.Lock(), (n * n for n in range(4))

    def use(lock, *, squares):
        with lock:
            return list(squares)

    assert run(use, (lock,), {"squares": generator}) == [0, 1, 4, 9]
    assert not lock.locked()
    # The guest's was a copy: this one has not been started.
    assert next(generator) == 0
    source = "with lock:\n    x = next(numbers)\nx"
    inputs = {"lock": lock, "numbers": generator}
    assert run(source, inputs=inputs) == 1
    assert next(generator) == 1


def test_objects_that_nothing_can_pickle():
    class Refuses:
        value = 7

        def __reduce_ex__(self, protocol):
            raise TypeError

    frame, thing = sys._getframe(), Refuses()
    assert run(lambda: (frame.f_lineno > 0, thing.value)) == (True, 7)


def test_a_bound_method_and_a_builtin():
    assert run({"a": 1}.get, ("a",)) == 1
    assert run(sum, ([1, 2],)) == 3


def test_outputs():
    assert run("a = 1\nb = n + 1", inputs={"n": 1}, outputs=("a", "b")) == {
        "a": 1,
        "b": 2,
    }


def test_variables_of_the_host_are_as_before():
    state = {"count": 0, "items": [1]}
    inputs = {"state": state}

    def change():
        state["count"] += 1
        state["items"].append(2)
        sys.modules[__name__].FORK.clear()
        os.environ["PATH"] = "changed"
        return state

    before = (dict(FORK), dict(os.environ))
    assert run(change) == {"count": 1, "items": [1, 2]}
    run("state.clear(); state2 = 1", inputs=inputs)
    assert state == {"count": 0, "items": [1]}
    assert (dict(FORK), dict(os.environ)) == before
    assert inputs == {"state": state}


def test_source_has_a_main_of_its_own_and_a_function_that_of_the_host():
    assert run("x = 1; sorted(k for k in globals() if k[0] != '_')") == ["x"]
    main = vars(sys.modules["__main__"])
    assert run(lambda: len(vars(sys.modules["__main__"]))) == len(main)


def test_a_large_object_is_not_copied():
    big = bytearray(b"x" * 300_000_000)
    many = [(n,) for n in range(500_000)]

    def use():
        import gc

        gc.collect()
        total = big.count(b"x") + len(many)
        return total, resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    result = execute(use, memory="64M")
    total, faults = result.unwrap()
    assert total == 300_500_000
    assert faults * mmap.PAGESIZE < 64 << 20


def test_memory_is_what_the_guest_adds():
    big = bytearray(400_000_000)
    with pytest.raises(GuestError) as caught:
        run(lambda: len(bytearray(big)), memory="64M")
    assert caught.value.type_name == "MemoryError"


def test_standard_input_and_environment():
    def use():
        return sys.stdin.read(), dict(os.environ)

    text, environment = run(use, stdin="hello", env={"A": "1"})
    assert text == "hello"
    assert environment == {**bootstrap.ENVIRONMENT, "A": "1"}


def test_what_cannot_come_back():
    with pytest.raises(ResultError, match="lock"):
        run(threading.Lock)


def test_randomness_is_the_guests_own():
    import random
    import uuid

    random.seed(1)
    values = {run(lambda: random.random()) for _ in range(3)}
    assert len(values | {random.random()}) == 4
    assert run(lambda: uuid.uuid4()) != run(lambda: uuid.uuid4())


# --- isolation ---------------------------------------------------------------


def test_the_receipt_is_that_of_a_zygote():
    assert (
        execute("1").isolation == csandbox.execute("1", timeout=30).isolation
    )


def test_a_forked_cell_is_process_2_with_a_users_id():
    assert run(lambda: (os.getpid(), os.getuid())) == (2, 1000)


def refused(function, *args):
    result = execute(function, *args)
    if result.error is None:
        return False
    if type(result.error) is GuestCrash:
        return result.error.signal == signal.SIGSYS
    return result.error.type_name in (
        *("PermissionError", "FileNotFoundError", "ProcessLookupError"),
        *("OSError", "BlockingIOError"),
    )


def test_no_file_of_the_host(outside):
    assert refused(lambda: open(outside.secret).read())
    assert refused(lambda: open(outside.shared, "w"))
    assert refused(lambda: open("/etc/passwd"))
    assert refused(os.listdir, ("/proc",))
    assert refused(open, ("/var/tmp/csandbox-was-here", "w"))


def test_no_network(outside):
    address = ("127.0.0.1", outside.port)
    assert refused(lambda: socket.create_connection(address))
    kept = socket.create_connection(address)
    with kept:
        assert refused(lambda: kept.send(b"x"))
        assert refused(lambda: kept.recv(1))


def test_no_process():
    host = os.getpid()
    assert refused(lambda: os.kill(host, 0))
    assert refused(lambda: os.kill(1, signal.SIGKILL))
    assert refused(os.fork)
    assert refused(lambda: os.execv(sys.executable, [sys.executable, "-V"]))


def test_no_descriptor_of_the_host(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("the secret of the host")
    end, other = os.pipe()
    descriptors = [os.open(secret, os.O_RDWR) for _ in range(20)]
    os.set_inheritable(descriptors[0], True)

    def look():
        found = []
        for number in range(65536):
            try:
                found.append((number, os.fstat(number).st_mode & 0o170000))
            except OSError:
                pass
        return found

    try:
        found = run(look)
        for number in (*descriptors, end, other):
            assert refused(os.pread, (number, 10, 0))
            assert refused(os.write, (number, b"x"))
    finally:
        for number in (*descriptors, end, other):
            os.close(number)
    # Its streams, the pipes of its job and result, and the store.
    assert [number for number, _ in found[:3]] == [0, 1, 2]
    pipe, file = 0o010000, 0o100000
    assert sorted(kind for _, kind in found) == [*[pipe] * 5, file]


def test_a_file_of_the_host_that_the_guest_closes_harms_nothing(tmp_path):
    files = [open(tmp_path / str(n), "w") for n in range(8)]
    for file in files:
        file.write("unflushed")

    def close():
        for file in files:
            try:
                file.close()
            except OSError:
                pass
        return "fine"

    assert run(close) == "fine"
    for n, file in enumerate(files):
        file.close()
        assert (tmp_path / str(n)).read_text() == "unflushed"


@pytest.mark.parametrize("protection", [mmap.PROT_READ, 3])
def test_memory_that_the_host_shares_is_a_copy(tmp_path, protection):
    path = tmp_path / "data"
    path.write_bytes(b"precious" * 1024)
    change = """
import ctypes
def change(at):
    libc = ctypes.CDLL(None, use_errno=True)
    page = at & -4096
    if libc.mprotect(ctypes.c_void_p(page), 4096, 3):
        return "no"
    ctypes.memmove(at, b"worthless", 9)
    return ctypes.string_at(at, 9)
"""
    with open(path, "r+b") as file:
        shared = mmap.mmap(file.fileno(), 8192, prot=protection)
    anonymous = mmap.mmap(-1, 8192)
    anonymous[:8] = b"precious"
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    assert run(lambda: (anonymous[:8], shared[:8])) == (b"precious",) * 2

    def write():
        anonymous[:8] = b"worthles"
        return anonymous[:8]

    assert run(write) == b"worthles"
    assert anonymous[:8] == b"precious"
    pointer = ctypes.pythonapi.PyObject_GetBuffer
    view = (ctypes.c_void_p * 16)()
    assert pointer(ctypes.py_object(shared), view, 0) == 0
    value = run(change + "change(at)", inputs={"at": view[0]})
    ctypes.pythonapi.PyBuffer_Release(view)
    assert value == b"worthless"
    assert path.read_bytes() == b"precious" * 1024
    shared.close()
    anonymous.close()


def test_memory_that_a_file_opened_for_reading_backs_cannot_be_written(
    tmp_path,
):
    path = tmp_path / "data"
    path.write_bytes(b"precious" * 1024)
    with open(path, "rb") as file:
        shared = mmap.mmap(file.fileno(), 8192, prot=mmap.PROT_READ)
    with shared:
        assert run(lambda: shared[:8]) == b"precious"


def test_what_the_host_is_handling_is_not_the_guests_context():
    def fail():
        raise ValueError("of the guest")

    def generate():
        yield execute(fail).error

    try:
        raise KeyError("of the host")
    except KeyError:
        error = next(generate())
    assert "of the guest" in error.traceback
    assert "of the host" not in error.traceback


# --- endings -----------------------------------------------------------------


def test_an_exception_has_its_lines():
    def fail():
        raise ValueError("bad")  # this line

    with pytest.raises(GuestError) as caught:
        run(fail)
    error = caught.value
    assert (error.type_name, error.message) == ("ValueError", "bad")
    assert "# this line" in error.traceback
    assert "csandbox" not in error.traceback.replace("test_fork", "").split(
        "in fail"
    )[0].replace(os.getcwd(), "")


def test_endings():
    def loop():
        while True:
            pass

    with pytest.raises(TimeLimitError):
        run(loop, timeout=0.3)
    with pytest.raises(GuestExit) as caught:
        run(sys.exit, (3,))
    assert caught.value.code == 3
    with pytest.raises(GuestExit):
        run(os._exit, (0,))
    with pytest.raises(GuestCrash) as crash:
        run(os.abort)
    assert crash.value.signal == signal.SIGABRT
    with pytest.raises(LimitError):
        run(lambda: "x" * 100_000, result="4K")
    assert run(lambda: None) is None


def test_a_thread_of_the_guest_is_waited_for():
    def start():
        def later():
            time.sleep(0.2)
            print("later")

        threading.Thread(target=later).start()

    assert execute(start).stdout == "later\n"


def test_a_pool_of_the_guest_and_one_of_the_host():
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        assert pool.submit(int, "1").result() == 1

        def use():
            mine = ThreadPoolExecutor(2)
            mine.submit(lambda: (time.sleep(0.2), print("done")))
            return mine.submit(int, "7").result()

        result = execute(use, timeout=20)
    assert (result.unwrap(), result.stdout) == (7, "done\n")
    assert result.usage.wall < 10


def test_output_streams_and_is_not_doubled(capsys):
    seen = []
    source = "print('a'); import time; time.sleep(0.3); print('b')"
    job, cargo = jobs.source_job(source, "<guest>", [""], {}, None)
    result = sandbox._execute(
        {**job, "live": {}},
        cargo,
        b"",
        Policy(**FORK),
        sink=lambda stream, chunk: seen.append((time.monotonic(), chunk)),
    )
    assert result.ok
    assert b"".join(chunk for _, chunk in seen) == b"a\nb\n"
    assert seen[-1][0] - seen[0][0] > 0.2


def test_output_beyond_its_limit_is_dropped():
    result = execute(lambda: print("x" * 100_000), output="1K")
    assert len(result.stdout_bytes) == 1024
    assert result.usage.stdout_dropped > 90_000


# --- hosts -------------------------------------------------------------------


def test_text_that_the_host_has_not_flushed():
    with hosts.Host(
        """
import sys, csandbox, ctypes, json
sys.stdout.write("of the host,")
sys.stderr.write("nothing")
libc = ctypes.CDLL(None)
libc.printf(b"of C,")
result = csandbox.execute(lambda: print("of the guest"), start="fork")
assert result.stdout == "of the guest\\n", result.stdout
def flush():
    libc.fflush(None)
    sys.__stdout__.flush()
    print("of the guest", flush=True)
kept = sys.stdout
def write():
    kept.write("late,")
    kept.flush()
sys.stdout.write("more,")
result = csandbox.execute(write, start="fork")
assert result.stdout == "late,", result.stdout
assert csandbox.execute(flush, start="fork").stdout == "of the guest\\n"
print(result.stdout)
"""
    ) as host:
        code, out, err = host.end()
        assert host.left() == []
    assert (code, err) == (0, "nothing")
    # Each once, and nothing of the guests.
    assert out.replace("of C,", "", 1) == "of the host,more,late,\n"


HOSTILE = """
import atexit, csandbox, faulthandler, hosts, os, signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
"""


def test_handlers_timers_and_exit_functions_of_the_host():
    program = (
        HOSTILE
        + """
marks = []
def exits(): os.write(1, b"exit function\\n")
atexit.register(exits)
threading._register_atexit(lambda: os.write(1, b"thread exit function\\n"))
for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGSEGV, signal.SIGCHLD):
    signal.signal(number, lambda *_: marks.append(1))
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
faulthandler.enable()
sys.excepthook = sys.unraisablehook = lambda *_: os.write(1, b"hook\\n")
sys.settrace(lambda *_: None)
def look():
    defaults = signal.SIG_DFL, signal.SIG_IGN, None, signal.default_int_handler
    handlers = map(signal.getsignal, signal.valid_signals())
    return (all(each in defaults for each in handlers),
            len(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            signal.getitimer(signal.ITIMER_REAL)[0], sys.gettrace() is None)
results = [csandbox.execute(look, start="fork") for _ in range(20)]
crash = csandbox.execute(os.kill, (2, signal.SIGTERM), start="fork")
signal.setitimer(signal.ITIMER_REAL, 0)
sys.settrace(None)
hosts.show([[r.unwrap() for r in results],
            [r.stdout + r.stderr for r in results],
            crash.error.signal, crash.stdout + crash.stderr])
atexit.unregister(exits)
threading._threading_atexits.pop()
"""
    )
    values, texts, number, text = hosts.run(program)
    assert values == [[True, 0, 0.0, True]] * 20
    assert texts == [""] * 20
    assert (number, text) == (signal.SIGTERM, "")


@pytest.mark.parametrize(
    "disposition",
    [
        "",
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "signal.signal(signal.SIGCHLD, reap)",
    ],
    ids=["default", "ignored", "reaped"],
)
def test_children_and_descriptors_are_as_before(disposition):
    program = f"""
import csandbox, hosts, os, signal
def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]: pass
    except ChildProcessError: pass
{disposition}
csandbox.run("1", start="fork")
before = hosts.steady_counts()
for n in range(10):
    assert csandbox.run(lambda: n, start="fork") == n
    csandbox.execute(os.abort, start="fork")
after = hosts.settled_counts(before)
hosts.show([before, after])
"""
    before, after = hosts.run(program)
    assert before == after
    assert before["children"] == 0


def test_a_host_without_standard_streams():
    program = """
import csandbox, hosts, os, sys
kept = os.dup(1)
for n in range(3): os.close(n)
first = csandbox.execute(lambda: print("hello"), start="fork")
low = os.open("/dev/null", os.O_RDWR)
second = csandbox.execute(lambda: print("hello"), start="fork")
os.dup2(kept, 1)
hosts.show([first.stdout, second.stdout, low])
"""
    assert hosts.run(program) == ["hello\n", "hello\n", 0]


def test_threads_are_refused_or_allowed():
    program = """
import csandbox, hosts, threading
stop = threading.Event()
threads = [threading.Thread(target=stop.wait) for _ in range(2)]
for each in threads: each.start()
try: csandbox.run("1", start="fork")
except csandbox.PolicyError as error: message = str(error)
value = csandbox.run(lambda: threading.active_count(), start="fork",
                     allow_threads=True)
stop.set()
for each in threads: each.join()
hosts.show([message, value, csandbox.run("2", start="fork")])
"""
    message, value, later = hosts.run(program)
    assert "one thread" in message
    assert " 3," in message
    assert "OpenBLAS" in message
    assert "allow_threads=True" in message
    assert (value, later) == (1, 2)


def test_many_at_once_from_threads():
    program = """
import csandbox, hosts, threading, _thread
found = {}
def work(n):
    live = threading.Lock(), n
    for k in range(5):
        found[n, k] = csandbox.run(lambda: (live[1], print(n))[0],
            start="fork", allow_threads=True, timeout=60)
threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
for each in threads: each.start()
for each in threads: each.join()
done = threading.Event()
def bare():
    found[6, 0] = csandbox.run("import threading; print(7); 6", start="fork",
        allow_threads=True, timeout=60)
    done.set()
_thread.start_new_thread(bare, ())
done.wait()
assert all(found[key] == key[0] for key in found), found
"""
    with hosts.Host(program) as host:
        code, out, err = host.end()
        assert (code, err) == (0, "")
        assert sorted(out.split()) == sorted("012345" * 5 + "7")
        assert host.left() == []


def test_a_thread_that_forks_while_others_run():
    """What the forks inherit of a run's pipes must not keep it from ending."""
    program = """
import csandbox, hosts, os, threading
stop = False
def fork():
    while not stop:
        pid = os.fork()
        if pid == 0: os._exit(0)
        os.waitpid(pid, 0)
thread = threading.Thread(target=fork)
thread.start()
values = [csandbox.run(lambda: n, start="fork", allow_threads=True, timeout=60)
          for n in range(20)]
stop = True
thread.join()
hosts.show(values)
"""
    assert hosts.run(program) == list(range(20))


def test_within_a_fork_of_the_host():
    program = """
import csandbox, hosts, os
secret = 5
assert csandbox.run("1") == 1
pid = os.fork()
value = csandbox.run(lambda: secret + 1, start="fork")
zygote = csandbox.run("3")
if pid == 0:
    os._exit(0 if (value, zygote) == (6, 3) else 1)
hosts.show([os.waitpid(pid, 0)[1], value, zygote])
"""
    assert hosts.run(program) == [0, 6, 3]


def test_within_a_running_event_loop():
    program = """
import asyncio, csandbox, hosts
async def inner(): return 4
async def main():
    return csandbox.run(lambda: asyncio.run(inner()), start="fork")
hosts.show(asyncio.run(main()))
"""
    assert hosts.run(program) == 4


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_run_ends_with_its_host(number):
    program = """
import csandbox, time
print("here", flush=True)
csandbox.run(lambda: time.sleep(600), start="fork", timeout=3600)
"""
    with hosts.Host(program) as host:
        assert host.line() == "here\n"
        hosts.wait_until(lambda: len(host.processes()) >= 3)
        host.kill(number)
        host.process.wait()
        assert host.left() == []


def test_the_run_ends_with_the_fork_that_made_it():
    program = """
import csandbox, hosts, time
result = csandbox.execute(lambda: time.sleep(600), start="fork", timeout=3600)
hosts.show(type(result.error).__name__)
"""
    with hosts.Host(program) as host:
        hosts.wait_until(lambda: len(host.processes()) >= 3)
        (fork,) = hosts.children(host.pid)
        os.kill(fork, signal.SIGKILL)
        code, out, err = host.end()
        assert (code, out, err) == (0, '"UnavailableError"\n', "")
        assert host.left() == []


def test_the_run_ends_with_that_fork_while_its_host_is_stopped():
    program = """
import csandbox, time
csandbox.run(lambda: time.sleep(600), start="fork", timeout=3600)
"""
    with hosts.Host(program) as host:
        hosts.wait_until(lambda: len(host.processes()) >= 3)
        (fork,) = hosts.children(host.pid)
        host.kill(signal.SIGSTOP)
        os.kill(fork, signal.SIGKILL)
        assert host.left() == []


def test_ctrl_c_ends_the_run():
    program = """
import csandbox, hosts, os, signal, time
signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
signal.setitimer(signal.ITIMER_REAL, 0.5)
try: csandbox.run(lambda: time.sleep(600), start="fork", timeout=3600)
except KeyboardInterrupt: hosts.show("interrupted")
"""
    assert hosts.run(program) == "interrupted"


# --- what is refused ---------------------------------------------------------


def test_preload_is_refused():
    with pytest.raises(PolicyError, match="import it in the caller"):
        Policy(start="fork", preload=("json",))
    with pytest.raises(PolicyError, match="start must be 'zygote' or 'fork'"):
        Policy(start="spawn")
    with pytest.raises(PolicyError, match="allow_threads must be True or"):
        Policy(allow_threads=1)


NOT_HERE = (
    *("none", "ready", "cell", "cgroup", "require"),
    *("ambient-capabilities", "exec", "preload"),
)
STEPS = [step for step in _csandbox.STEPS if step not in NOT_HERE]


@pytest.mark.parametrize("step", STEPS)
def test_a_failed_step_is_named_and_nothing_runs(step):
    job, cargo = jobs.source_job("print('it ran')", "<guest>", [""], {}, None)
    with pytest.raises(UnavailableError) as caught:
        sandbox._execute(
            {**job, "live": {}},
            cargo,
            b"",
            Policy(**FORK),
            template=Template(fault=(step, 76)),
        )
    assert (caught.value.step, caught.value.errno) == (step, 76)


def test_a_fork_that_cannot_settle_says_why(monkeypatch):
    def fail():
        raise RuntimeError("cannot settle")

    monkeypatch.setattr(forking, "_forget_hooks", fail)
    with pytest.raises(UnavailableError, match="cannot settle") as caught:
        run("1")
    assert caught.value.step == "boot"


def test_nothing_is_kept_of_a_fork():
    run("1")
    assert not zygotes._registry.booting


def test_arrays_come_out_of_a_fork():
    numpy = pytest.importorskip("numpy")
    value = numpy.arange(300_000.0)
    got = run(lambda: (value * 2, value[:5]))
    assert (got[0] == value * 2).all()
    assert got[1].tolist() == [0, 1, 2, 3, 4]


def test_inputs_of_a_fork_are_live():
    lock = threading.Lock()
    assert run("lock.acquire(), lock.locked()", inputs={"lock": lock}) == (
        True,
        True,
    )
    assert not lock.locked()


def test_finalizers_of_the_host_run_nowhere_but_there():
    program = """
import atexit, csandbox, os, signal, tempfile, threading
def kept():
    made = tempfile.TemporaryDirectory(dir="/var/tmp")
    return made.name, made.cleanup
paths = []
for keep in (
    atexit.register,
    lambda function: signal.signal(signal.SIGUSR1, lambda *_: function()),
    lambda function: threading._register_atexit(function),
):
    path, function = kept()
    paths.append(path)
    keep(function)
    del function, keep
assert csandbox.run("1", start="fork", timeout=60) == 1
print(all(map(os.path.isdir, paths)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("True\n", "")
