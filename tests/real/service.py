"""What both web applications do: run the code of a request, and tell how
it ended."""

import os
import threading

import csandbox

READY = csandbox.run("6 * 7") == 42


def scaled_by(factor):
    def scaled(numbers):
        return [factor * number for number in numbers]

    return scaled


def answer(job):
    """Return how the run of a job ended, as plain data."""
    if "factor" in job:
        target = scaled_by(job["factor"])
        options = {"args": (job["numbers"],)}
    else:
        target = job["code"]
        options = {"inputs": job.get("inputs")}
    result = csandbox.execute(
        target, timeout=job.get("timeout", 20.0), memory="256M", **options
    )
    error = result.error
    return {
        "value": result.value,
        "stdout": result.stdout,
        "error": error and type(error).__name__,
        "type_name": getattr(error, "type_name", None),
        "message": getattr(error, "message", None),
        "signal": getattr(error, "signal", None),
        "code": getattr(error, "code", None),
    }


def health():
    """Return what this server process holds."""
    return {
        "ready": READY,
        "pid": os.getpid(),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
    }
