"""The store of large results, from inside: part of the guest's side.

Loaded with _guest.py, and like that not trusted.  With profile="compute",
_guest_compute.py has others in the place of these functions.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from csandbox._guest import (
        CORE,
        FRAME_RESERVE,
        HUGE,
        JOB_FD,
        STORE_FD,
        _header,
        _write,
    )


def room_of_store():
    """Return how many bytes the store holds."""
    return os.fstat(STORE_FD).st_size


def fill_store(parts, end) -> None:
    """Write parts, pairs of a place and a buffer, which end at `end`."""
    huge = end >= HUGE
    if huge:
        _write(_header(FRAME_RESERVE, end, 0))
    CORE.fill(STORE_FD, JOB_FD if huge else -1, parts)
