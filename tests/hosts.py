"""Programs that use csandbox from outside, and what they leave behind.

Imported by the tests, which start such programs, and by the programs, which
look at themselves.  A program is started in an environment of its own whose
path marks every process that csandbox starts for it, so that those are found
wherever they end up, and whoever else uses csandbox on this machine.
"""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parent
SECONDS = 60.0  # for a program to end
GONE = 20.0  # for what it started to end after it

# Replaced by the marked path, under which the zygote loads csandbox.
_CSANDBOX = importlib.util.find_spec("csandbox")


class Host:
    """A program that was started, and what csandbox started for it."""

    def __init__(
        self, program, *args, env=None, setup=None, python=(), **streams
    ):
        self.home = Path(tempfile.mkdtemp(prefix="csb-host-"))
        self.temporary = self.home / "tmp"
        self.temporary.mkdir()
        package = Path(_CSANDBOX.origin).parent
        (self.home / "csandbox").symlink_to(package)
        environment = {
            **os.environ,
            "PYTHONPATH": f"{self.home}:{TESTS}",
            "PYTHONSAFEPATH": "1",
            "PYTHONFAULTHANDLER": "1",
            "TMPDIR": str(self.temporary),
            **(env or {}),
        }
        options = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            **streams,
        }
        # Of Python 3.12, at each fork of a host with threads.
        quiet = "-Wignore:This process:DeprecationWarning"
        python = (quiet, *python)
        self.process = subprocess.Popen(
            [sys.executable, *python, "-c", program, str(self.home), *args],
            env=environment,
            preexec_fn=setup,
            start_new_session=True,
            encoding="utf-8",
            errors="surrogateescape",
            **options,
        )
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.kill()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self.process.communicate()
        shutil.rmtree(self.home)

    def kill(self, number=signal.SIGKILL):
        if self.process.poll() is None:
            self.process.send_signal(number)

    def line(self):
        return self.process.stdout.readline()

    def end(self, seconds=SECONDS):
        """Return the exit code, stdout and stderr; a hang is a failure."""
        try:
            out, err = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)  # they may hold its streams
            self.kill(signal.SIGABRT)  # faulthandler says where it hangs
            out, err = self.process.communicate()
            raise AssertionError(f"hangs\n{out}\n{err}") from None
        return self.process.returncode, out, err

    def processes(self):
        """Return the living processes that this program brought about."""
        return [pid for pid in marked(str(self.home)) if pid != self.pid]

    def left(self, seconds=GONE):
        """Return what is left once it had time to go: nothing, I hope."""
        end = time.monotonic() + seconds
        while self.processes() and time.monotonic() < end:
            time.sleep(0.01)
        return [
            *(command(pid) for pid in self.processes()),
            *(str(path) for path in self.temporary.iterdir()),
        ]


def run(program, *args, seconds=SECONDS, **options):
    """Run a program that must end well; return what it printed as JSON."""
    with Host(program, *args, **options) as host:
        code, out, err = host.end(seconds)
        assert (code, err) == (0, ""), f"exit code {code}\n{out}\n{err}"
        assert host.left() == []
    return json.loads(out) if out else None


# --- seen from anywhere ------------------------------------------------------


def read(path):
    """Return a file of /proc, b"" when its process is gone."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


def pids():
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def command(pid):
    return read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode()


def marked(mark):
    """Return the processes with the mark in their command, but zombies."""
    return [
        pid for pid in pids() if mark in command(pid) and state(pid) != "Z"
    ]


def stat(pid):
    """Return the fields of a process from its state on, or []."""
    return read(f"/proc/{pid}/stat").decode().rpartition(")")[2].split()


def state(pid):
    return (stat(pid) or "Z")[0]


def children(pid):
    return [each for each in pids() if stat(each)[1:2] == [str(pid)]]


def cells(mark):
    """Return the cells that are alive: each is process 2 where it lives."""
    found = []
    for pid in marked(mark):
        ids = read(f"/proc/{pid}/status").partition(b"NSpid:")[2]
        if ids.partition(b"\n")[0].endswith(b"\t2"):
            found.append(pid)
    return found


def zygotes(pid):
    """Return the zygotes of a process."""
    return [
        each
        for each in children(pid)
        if "_core.serve" in command(each) and state(each) != "Z"
    ]


def wait_until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)
    return value


# --- seen from within a program ----------------------------------------------


def descriptors():
    """Return {number: what it is} of this process."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass  # of the listing itself
    return found


def resident():
    """Return the bytes of memory that this process alone keeps in use."""
    for line in read("/proc/self/smaps_rollup").decode().splitlines():
        if line.startswith("Private_Dirty:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no smaps_rollup")


def counts():
    """Return what must not grow, however many runs there were."""
    disarm()
    return {
        "descriptors": len(descriptors()),
        "children": len(children(os.getpid())),
        "processes": len(marked(sys.argv[1])),
        "threads": len(os.listdir("/proc/self/task")),
        "mounts": read("/proc/self/mounts").count(b"\n"),
    }


def disarm():
    """End the cells that wait for jobs, which csandbox keeps on purpose."""
    module = sys.modules.get("csandbox.zygotes")
    if module is not None:
        module.disarm()


def arm_none():
    """Have no cell wait from now on: all that there are belong to runs."""
    from csandbox import cells

    cells.wants_successor = lambda *_: False
    disarm()


def _csandbox():
    return importlib.import_module("csandbox._csandbox")


def steady_counts():
    """Return counts(), once nothing is on its way out any more."""
    found, since = counts(), time.monotonic()
    # Sanitized, what a zygote does when it is idle takes a second.
    calm = 1.5 if _csandbox().SANITIZED else 0.1
    while time.monotonic() < since + calm:
        time.sleep(0.01)
        if (now := counts()) != found:
            found, since = now, time.monotonic()
    return found


def settled_counts(expected, seconds=GONE):
    """Return counts(), once they are as expected or had time to be."""
    end = time.monotonic() + seconds
    while (found := counts()) != expected and time.monotonic() < end:
        time.sleep(0.01)
    return found


def show(value):
    print(json.dumps(value), flush=True)


def last_value(out):
    """Return what a program showed last."""
    return json.loads(out.splitlines()[-1])
