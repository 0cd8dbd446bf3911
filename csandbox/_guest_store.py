"""The store of large results, from inside: part of the guest's side.

Loaded with _guest.py, and like that not trusted.  With profile="compute",
_guest_compute.py has others in the place of these functions.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from csandbox._guest import ALIGNMENT, HUGE
    from csandbox._guest_first import (
        CORE,
        FRAME_RESERVE,
        INLINE,
        JOB_FD,
        LARGE,
        STORE_FD,
        _write,
        header,
    )


class Outgoing:
    """A value on its way out: its pickle, and the arrays beside that."""

    def __init__(self):
        self.parts = []  # (place in the store, buffer)
        self.end = 0
        self.pickle = []
        self.write = self.pickle.append  # as the file of a pickler

    def place(self, data):
        """Note a buffer for the store; return where it comes to lie."""
        start = -(-self.end // ALIGNMENT) * ALIGNMENT
        self.end = start + data.nbytes
        self.parts.append((start, data))
        return start, data.nbytes

    def packed(self, kind, size):
        return b"".join([header(kind, size, INLINE), *self.pickle])

    def send(self, kind) -> None:
        size = sum(map(len, self.pickle))
        if not self.parts and size < LARGE:
            _write(self.packed(kind, size))
            return
        at = -(-self.end // ALIGNMENT) * ALIGNMENT
        self.end = at
        for chunk in self.pickle:
            self.parts.append((self.end, chunk))
            self.end += len(chunk)
        if self.end > room_of_store():
            _write(header(kind, self.end, INLINE))  # the host says the rest
            return
        fill_store(self.parts, self.end)
        _write(header(kind, size, at))


def room_of_store():
    """Return how many bytes the store holds."""
    return os.fstat(STORE_FD).st_size


def fill_store(parts, end) -> None:
    """Write parts, pairs of a place and a buffer, which end at `end`."""
    huge = end >= HUGE
    if huge:
        _write(header(FRAME_RESERVE, end, 0))
    CORE.fill(STORE_FD, JOB_FD if huge else -1, parts)
