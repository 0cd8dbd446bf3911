"""The cell before its job: how it waits for that, ready, and reads it.

Executed in the namespace of _guest.py, before that.
"""

from __future__ import annotations

import atexit
import io
import linecache
import os
import pickle
import select
import signal
from os import _exit, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from csandbox._guest import (
        ENVIRONMENT,
        HEADER,
        INLINE,
        JOB_FD,
        PROTOCOL,
        RESULT_FD,
        _order,
        finish,
        fulfil,
        header,
    )

PAGE = 4096  # most jobs are no longer
IDLE_SECONDS = 30  # without a job a cell ends

_NAME = "<rehearsal>"
_REHEARSAL = {
    "kind": "source",
    "argv": (_NAME,),
    "source": "",
    "filename": _NAME,
    "outputs": None,
    "payload": b"",
    "stored": None,
    "room": 0,
    "on_unsupported": "error",
}


def wait_awhile(prepared) -> bool:
    """Get ready for a job, if there is none yet, and to end without one."""
    if select.select([JOB_FD], [], [], 0)[0]:
        return False
    if not prepared:
        rehearse(_write_nothing)
    signal.alarm(IDLE_SECONDS)
    return True


def stop_waiting() -> None:
    signal.alarm(0)


def rehearse(writing) -> None:
    """Touch what a job touches, while there is none: pages are copied now.

    `writing`: what is called in the place of writing to the host.
    """
    for source in ("x = 1\nx + 1", "1 + 1"):
        _rehearse(source, writing)
    linecache.cache.pop(_NAME, None)


def frame_of_rehearsal(source):
    job = {**_REHEARSAL, "source": source, "env": ENVIRONMENT}
    payload = pickle.dumps(job, PROTOCOL)
    return header(1, len(payload), INLINE) + payload


def _rehearse(source, writing) -> None:
    global finish, write
    real = finish, write
    frame = frame_of_rehearsal(source)

    def write(_descriptor, data):
        writing(data)
        return len(data)

    if atexit._ncallbacks():  # which may be called once only
        finish = _end_nothing
    fulfil(lambda _: frame, None, waited=True)
    finish, write = real


def _end_nothing():
    pass


def _write_nothing(_data):
    os.write(RESULT_FD, b"")


def read_job(read):
    data = read(PAGE)
    while len(data) < HEADER:
        data += read(PAGE)
    length = int.from_bytes(data[8:16], _order)
    payload = data[HEADER:]
    if len(payload) < length:
        payload = _read_rest(payload, length)
    return pickle.loads(payload)  # from the host, which is trusted here


def read_some(size):
    data = os.read(JOB_FD, size)
    if not data:
        _exit(1)  # the host is gone
    return data


def _read_rest(begun, size):
    data = bytearray(size)
    data[: len(begun)] = begun
    rest = memoryview(data)[len(begun) :]
    pipe = io.FileIO(JOB_FD, closefd=False)
    while rest:
        count = pipe.readinto(rest)
        if not count:
            _exit(1)
        rest = rest[count:]
    return data
