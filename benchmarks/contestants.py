"""Who is compared: csandbox and what people use, or would, in its place."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import pickle
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.evaluate import evaluate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.workloads import Workload

PROGRAM = str(Path(__file__).with_name("evaluate.py"))
TIMEOUT = 60.0  # seconds
CHUNK = 1 << 20


class Contestant:
    """One way to run a workload.  `isolates` says from what."""

    name = ""
    isolates = "nothing"

    def missing(self) -> str:
        """Return why it cannot take part here, or ""."""
        return ""

    def start(self, packages: Sequence[str]) -> None:
        """Get ready, with these packages imported where that is possible."""

    def run(self, workload: Workload) -> Any:
        """Return the value of one run, isolated from the last."""
        raise NotImplementedError

    def takes(self, workload: Workload) -> bool:
        """Whether it can run that at all."""
        return bool(workload.source)

    def stop(self) -> None:
        """End what start() began."""


class Ours(Contestant):
    """csandbox with all layers and its default policy."""

    name = "csandbox"
    isolates = "all"

    def __init__(self) -> None:
        import csandbox

        self._module = csandbox
        self._policy = csandbox.Policy()

    def start(self, packages: Sequence[str]) -> None:
        """Start the zygote."""
        self._policy = self._module.Policy(
            preload=tuple(packages), timeout=TIMEOUT
        )
        self._module.run("None", policy=self._policy)

    def run(self, workload: Workload) -> Any:
        """Run it in a cell; what it prints is kept, as with the others."""
        # Only one thread at a time may redirect.
        keep = (
            contextlib.redirect_stdout(io.StringIO())
            if workload.prints
            else contextlib.nullcontext()
        )
        try:
            with keep:
                return self._module.run(
                    workload.source,
                    inputs=workload.inputs,
                    policy=self._policy,
                )
        except self._module.GuestError as error:
            if not workload.fails:
                raise
            return str(error)


class Fork(Contestant):
    """A bare os.fork() of this process, eval, and a pickle in a pipe."""

    name = "os.fork"

    def start(self, packages: Sequence[str]) -> None:
        """Import the packages here."""
        for name in packages:
            __import__(name)

    def run(self, workload: Workload) -> Any:
        """Fork, read to the end, wait."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            self._child(workload, writing)
        os.close(writing)
        parts = []
        while part := os.read(reading, CHUNK):
            parts.append(part)
        os.close(reading)
        os.waitpid(pid, 0)
        return pickle.loads(b"".join(parts))

    def _child(self, workload: Workload, writing: int) -> None:
        try:
            value, _ = evaluate(workload.source, workload.inputs)
        except Exception as error:
            value = str(error)
        data = memoryview(pickle.dumps(value, 5))
        while data:
            data = data[os.write(writing, data) :]
        os._exit(0)


class Worker(Contestant):
    """A warm worker of a process pool: it keeps what each run leaves."""

    name = "process pool worker"

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None

    def start(self, packages: Sequence[str]) -> None:
        """Start one worker that has imported the packages."""
        self._pool = ProcessPoolExecutor(1, get_context("spawn"))
        for name in packages:
            self._pool.submit(__import__, name)
        self._pool.submit(evaluate, "None", {}).result()

    def run(self, workload: Workload) -> Any:
        """Submit it."""
        assert self._pool is not None
        future = self._pool.submit(evaluate, workload.source, workload.inputs)
        if workload.fails:
            return str(future.exception())
        return future.result()[0]

    def stop(self) -> None:
        """End the worker."""
        assert self._pool is not None
        self._pool.shutdown()


class Program(Contestant):
    """A fresh Python for each run, behind a command line."""

    name = "python -I -S"
    command: tuple[str, ...] = ()
    tool = ""

    def missing(self) -> str:
        """Return whether its tool is installed, and works here."""
        if not self.tool:
            return ""
        if shutil.which(self.tool) is None:
            return f"{self.tool} is not installed"
        try:
            done = self._call(pickle.dumps(("1+1", {}), 5))
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        if done.returncode:
            return done.stderr.decode(errors="replace").strip()[-200:]
        return ""

    def run(self, workload: Workload) -> Any:
        """Start it, hand the job over, read the answer."""
        job = pickle.dumps((workload.source, workload.inputs), 5)
        done = self._call(job)
        value, _, error = pickle.loads(done.stdout)
        if error and not workload.fails:
            raise RuntimeError(error)
        return value

    def _call(self, job: bytes) -> subprocess.CompletedProcess[bytes]:
        python = [sys.executable, "-I", "-S", "-c", self._bootstrap()]
        return subprocess.run(
            [*self.command, *python],
            input=job,
            capture_output=True,
            timeout=TIMEOUT,
        )

    def _bootstrap(self) -> str:
        paths = sysconfig.get_paths()
        packages = [paths["purelib"], paths["platlib"]]
        source = Path(PROGRAM).read_text()
        return f"import sys; sys.path += {packages!r}\n{source}"


class Bubblewrap(Program):
    """bubblewrap, with a read-only view and no network."""

    name = "bubblewrap"
    isolates = "files, network, processes"
    tool = "bwrap"
    command = (
        "bwrap", "--unshare-all", "--die-with-parent", "--new-session",
        "--ro-bind", "/", "/", "--tmpfs", "/tmp", "--dev", "/dev",
        *(("--ro-bind", sys.prefix, sys.prefix)
          if sys.prefix.startswith("/tmp/") else ()),
    )  # fmt: skip


class Firejail(Program):
    """firejail, without its profile of the program."""

    name = "firejail"
    isolates = "files, network, processes"
    tool = "firejail"
    command = ("firejail", "--quiet", "--noprofile", "--net=none", "--seccomp",
               "--caps.drop=all")  # fmt: skip


class Nsjail(Program):
    """nsjail, with a read-only view and no network."""

    name = "nsjail"
    isolates = "files, network, processes"
    tool = "nsjail"
    command = ("nsjail", "-Mo", "-Q", "-R", "/", "-T", "/tmp", "--rlimit_as",
               "max", "--disable_proc", "--")  # fmt: skip


class Runsc(Program):
    """gVisor's runsc, which has a kernel of its own."""

    name = "gVisor runsc do"
    isolates = "all"
    tool = "runsc"
    command = ("runsc", "--rootless", "--network=none", "do")


class Sandlock(Contestant):
    """sandlock from PyPI: a program's output, no values."""

    name = "sandlock"
    isolates = "files, network"

    def missing(self) -> str:
        """Return whether it is installed."""
        found = importlib.util.find_spec("sandlock")
        return "" if found else "sandlock is not installed"

    def takes(self, workload: Workload) -> bool:
        """Only what needs no input, as it gives none to a program."""
        return not workload.inputs and not workload.packages

    def run(self, workload: Workload) -> Any:
        """Run a Python that prints the value."""
        from sandlock import Sandbox

        code = f"import sys; sys.path.insert(0, {str(Path(PROGRAM).parent)!r})"
        code += "; from evaluate import evaluate; "
        code += f"print(evaluate({workload.source!r}, {{}}))"
        box = Sandbox(
            fs_readable=["/usr", "/lib", "/lib64", "/etc", "/dev", "/proc",
                         sys.prefix, sys.base_prefix,
                         str(Path(PROGRAM).parent)],
        )  # fmt: skip
        done = box.run(
            [sys.executable, "-I", "-S", "-c", code], timeout=TIMEOUT
        )
        return done.stdout


class Monty(Contestant):
    """pydantic-monty: an interpreter of a subset of Python, in Rust."""

    name = "pydantic-monty"
    isolates = "all, no CPython"

    def missing(self) -> str:
        """Return whether it is installed."""
        found = importlib.util.find_spec("pydantic_monty")
        return "" if found else "pydantic-monty is not installed"

    def start(self, packages: Sequence[str]) -> None:
        """Start its pool of workers."""
        assert not packages
        from pydantic_monty import Monty as Pool

        self._pool = Pool()
        self._pool.__enter__()

    def takes(self, workload: Workload) -> bool:
        """Not packages of C, nor all of Python."""
        return not (workload.packages or workload.inputs)

    def run(self, workload: Workload) -> Any:
        """Give it to a worker with a session of its own."""
        with self._pool.checkout() as session:
            try:
                return session.feed_run(
                    workload.source, print_callback=lambda *_: None
                )
            except Exception as error:
                return str(error)

    def stop(self) -> None:
        """End the pool."""
        self._pool.__exit__(None, None, None)


class Restricted(Contestant):
    """RestrictedPython: rewritten source in this very process."""

    name = "RestrictedPython"

    def missing(self) -> str:
        """Return whether it is installed."""
        found = importlib.util.find_spec("RestrictedPython")
        return "" if found else "RestrictedPython is not installed"

    def takes(self, workload: Workload) -> bool:
        """Only expressions: the rest needs guards of its user's."""
        return workload.name == "1+1"

    def run(self, workload: Workload) -> Any:
        """Compile and evaluate."""
        from RestrictedPython import compile_restricted, safe_globals

        code = compile_restricted(workload.source, "<source>", "eval")
        return eval(code, dict(safe_globals))


class Pyodide(Contestant):
    """Pyodide in node: CPython compiled to WebAssembly, started each time."""

    name = "Pyodide on node"
    isolates = "all but time and memory"

    def missing(self) -> str:
        """Return whether it works; NODE_PATH says where pyodide is."""
        if shutil.which("node") is None:
            return "node is not installed"
        done = subprocess.run(
            ["node", "-e", "require.resolve('pyodide')"], capture_output=True
        )
        return "no pyodide in NODE_PATH" if done.returncode else ""

    def takes(self, workload: Workload) -> bool:
        """Only what needs no input."""
        return not workload.inputs and not workload.packages

    def run(self, workload: Workload) -> Any:
        """Load it, run the source."""
        script = (
            "const {loadPyodide} = require('pyodide');"
            "loadPyodide().then(p => { try { console.log(p.runPython("
            "process.argv[1])) } catch (e) { console.log(e.type) } })"
        )
        done = subprocess.run(
            ["node", "-e", script, workload.source],
            capture_output=True,
            timeout=TIMEOUT,
            check=True,
        )
        return done.stdout


def contestants() -> list[Contestant]:
    """Return all, ours first and what it is measured by second."""
    return [
        Ours(), Fork(), Worker(), Program(), Bubblewrap(), Firejail(),
        Nsjail(), Runsc(), Sandlock(), Monty(), Restricted(), Pyodide(),
    ]  # fmt: skip
