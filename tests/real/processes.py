"""Looks at processes through /proc."""

import os
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Process:
    """A process as it was seen; ``started`` tells reuse of its number."""

    pid: int
    parent: int
    started: int
    state: str
    command: str

    def is_alive(self):
        now = look(self.pid)
        return (
            now is not None
            and now.started == self.started
            and now.state not in "ZX"
        )


def look(pid):
    """Return the process of this number, or None."""
    folder = Path("/proc") / str(pid)
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
        command = (folder / "cmdline").read_bytes()
    except OSError:
        return None
    return Process(
        pid=int(pid),
        parent=int(fields[1]),
        started=int(fields[19]),
        state=fields[0],
        command=command.replace(b"\0", b" ").decode(errors="replace"),
    )


def descendants(pid):
    """Return all processes that descend from this one, nearest first."""
    seen = [look(name) for name in os.listdir("/proc") if name.isdigit()]
    children = {}
    for process in filter(None, seen):
        children.setdefault(process.parent, []).append(process)
    found = list(children.get(pid, ()))
    for process in found:
        found += children.get(process.pid, ())
    return found


def wait_until_gone(processes, seconds=10.0):
    """Wait for these to end; return those that are still alive."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        processes = [each for each in processes if each.is_alive()]
        if not processes:
            break
        time.sleep(0.05)
    return processes
