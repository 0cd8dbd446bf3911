"""The cell before its job: how it waits for that, ready, and reads it.

Executed in the namespace of _guest.py, before that.
"""

from __future__ import annotations

import atexit
import linecache
import marshal
import os
from os import write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from csandbox._guest import finish, fulfil
    from csandbox._guest_first import (
        CORE,
        ENVIRONMENT,
        INLINE,
        JOB_FD,
        RESULT_FD,
        await_job,
        header,
    )
    from csandbox._guest_heavy import touch_packages
    from csandbox._guest_ready import is_settled, set_environment

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
    if CORE.await_input(JOB_FD, 0):
        return False
    if not is_settled:
        set_environment(ENVIRONMENT)
    if not prepared:
        rehearse(_write_nothing)
    touch_packages()
    await_job()
    return True


def rehearse(writing) -> None:
    """Touch what a job touches, while there is none: pages are copied now.

    `writing` is called in the place of writing to the host.
    """
    for source in ("x = 1\nx + 1", "1 + 1"):
        _rehearse(source, writing)
    linecache.cache.pop(_NAME, None)


def frame_of_rehearsal(source):
    job = {**_REHEARSAL, "source": source, "env": ENVIRONMENT}
    payload = marshal.dumps(job)
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
