"""Starts a server and tells which processes it left behind.

Called as ``python guardian.py LOG COMMAND...``.  A line on its standard input
ends the server: ``stop`` politely, anything else with all its workers at once.
Every orphan of the server becomes a child of this process, so none can hide.
It prints a JSON list: the server's exit status, and what was left.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time

from processes import descendants

PR_SET_CHILD_SUBREAPER = 36
SECONDS_TO_END = 30.0
SECONDS_TO_VANISH = 10.0


def reap():
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def wait_for_descendants():
    """Return the descendants that do not go away."""
    deadline = time.monotonic() + SECONDS_TO_VANISH
    while True:
        reap()
        left = descendants(os.getpid())
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)


def main(log, command):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    with open(log, "wb") as output:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    if sys.stdin.readline().strip() == "stop":
        server.terminate()
    else:
        os.killpg(server.pid, signal.SIGKILL)
    try:
        status = server.wait(SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        status = None
    left = wait_for_descendants()
    for process in left:
        os.kill(process.pid, signal.SIGKILL)
    print(json.dumps([status, [str(process) for process in left]]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
