"""Runs a program in a plain interpreter, to compare the sandbox with."""

import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

PLAIN = Path(__file__).with_name("plain.py")
FLAGS = ("-I", "-B", "-X", "utf8")
ENVIRONMENT = {"LANG": "C.UTF-8", "PATH": "/usr/local/bin:/usr/bin:/bin"}


class OutsideFailed(Exception):
    """Raised when the program fails without any sandbox."""


def outside(source, inputs=None, *, timeout=60.0):
    """Return the value of the program's last expression.

    The program has the working directory, home and environment of a guest,
    an ordinary user, and everything else that a process of this machine has.
    """
    home = Path(tempfile.mkdtemp(prefix="outside-"))
    try:
        work = home / "work"
        work.mkdir()
        job = home / "job"
        job.write_bytes(pickle.dumps((source, inputs or {})))
        shutil.copy(PLAIN, home)
        for path in (home, work):
            path.chmod(0o777)
        with subprocess.Popen(
            [sys.executable, *FLAGS, str(home / PLAIN.name), str(job)],
            cwd=work,
            env={**ENVIRONMENT, "HOME": str(work), "TMPDIR": str(work)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            try:
                printed, _ = process.communicate(timeout=timeout)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode:
            raise OutsideFailed(printed.decode(errors="replace"))
        return pickle.loads(Path(f"{job}.value").read_bytes())
    finally:
        shutil.rmtree(home, ignore_errors=True)
