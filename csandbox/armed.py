"""Cells that wait for their jobs, so that a run need not wait for a cell.

While a run is at its job, another cell like its own is asked for; it is put
here when the run is over, and the next run of the same zygote and limits takes
it.  So as many wait as were at work at once, but no more than there are
cores; those that wait for long end by themselves, and are closed by a later
run of any kind.

None is asked for that could take a descriptor which a run needs.  When many
kinds take turns, most cells would wait in vain: then only those
kinds have some wait of which two runs came soon after each other.
"""

from __future__ import annotations

import os
import sys
from time import monotonic

from csandbox.policy import cores

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections import deque

    from csandbox._csandbox import Run, Zygote

    Key = int  # of Terms.kind()
    Queue = deque[tuple[float, Zygote, Run]]

else:
    from _collections import deque  # collections takes long to import

# Below the seconds after which a cell without a job ends by itself.
FRESH_SECONDS = 25.0
MOST = 64  # of all kinds, of 1.5 MB each
DESCRIPTORS = 12  # of each, in this process
OTHERS = 256  # descriptors that it may have beside those of cells
LEAST = 1  # for which there is always room
KINDS = 8  # that may wait whether or not they come again
SEEN = 256  # kinds that are remembered


class Armed:
    """The cells that wait, by kind: what they are of, and their limits.

    Without a lock: each step leaves all as it should be, whichever thread or
    signal handler comes between.  The worst is a cell that is lost, which is
    closed as nothing refers to it.
    """

    def __init__(self) -> None:
        self._waiting: dict[Key, Queue] = {}
        self._seen: dict[Key, float] = {}

    def take(self, key: Key) -> tuple[Zygote, Run] | None:
        """Return a cell of a kind that is alive, and its zygote, or None."""
        queue = self._waiting.get(key)
        while queue:
            try:
                since, zygote, run = queue.pop()
            except IndexError:  # another thread was faster
                return None
            if monotonic() - since < FRESH_SECONDS and run.waits():
                return zygote, run
            run.close()
        return None

    def wants(self, key: Key, alive: int = 1) -> bool:
        """Whether one more of a kind may wait, of which a run begins.

        `alive`: how many cells there are, each of which may ask for one.
        """
        if 2 * alive * DESCRIPTORS > _descriptors_to_spare():
            return False
        queue = self._waiting.get(key)
        if queue is not None:
            return len(queue) < cores()
        return len(self._waiting) < KINDS or self._comes_again(key)

    def _comes_again(self, key: Key) -> bool:
        """Whether a kind was asked about lately, which is noted."""
        now = monotonic()
        before = self._seen.pop(key, None)
        self._seen[key] = now
        if len(self._seen) > SEEN:
            self._seen.pop(next(iter([*self._seen])), None)
        return before is not None and now - before < FRESH_SECONDS

    def expect(self, key: Key) -> None:
        """Let one of a kind wait, of which nothing is known yet."""
        self._comes_again(key)

    def is_ready(self, key: Key) -> bool | None:
        """Whether the latest of a kind is ready; None if none will last."""
        queue = self._waiting.get(key)
        if queue is None:
            return None
        try:
            since, _, run = queue[-1]
        except IndexError:
            return None
        if monotonic() - since > FRESH_SECONDS / 2 or not run.waits():
            return None
        return run.ready

    def put(self, key: Key, zygote: Zygote, run: Run) -> None:
        """Let a cell wait, in the place of an older one if need be."""
        # Moved to the end: the first is what was not used for longest.
        queue = self._waiting.pop(key, None)
        if queue is None:
            queue = deque()
        queue.append((monotonic(), zygote, run))
        self._waiting[key] = queue
        if len(queue) > cores():
            _drop(queue)
        if len(self) > LEAST:
            self._bound()

    def _bound(self) -> None:
        queues = list(self._waiting.values())
        excess = sum(map(len, queues)) - most()
        for queue in queues:
            while excess > 0 and queue:
                _drop(queue)
                excess -= 1

    def sweep(self) -> None:
        """Close those that have waited for too long."""
        stale = monotonic() - FRESH_SECONDS
        for key, queue in list(self._waiting.items()):
            while queue and queue[0][0] < stale:
                _drop(queue)
            if not queue:
                self._waiting.pop(key, None)

    def forget(self, zygote: Zygote) -> None:
        """Close those of a zygote."""
        for queue in list(self._waiting.values()):
            for cell in list(queue):
                if cell[1] is zygote:
                    _remove(queue, cell)

    def close(self) -> None:
        """End all of them."""
        waiting, self._waiting = self._waiting, {}
        for queue in waiting.values():
            for _, _, run in list(queue):
                run.close()

    def __len__(self) -> int:
        return sum(map(len, list(self._waiting.values())))


def most() -> int:
    """Return how many may wait: a quarter of the descriptors are for them."""
    return max(1, min(MOST, _descriptors() // 4 // DESCRIPTORS))


def _descriptors_to_spare() -> int:
    """Return how many the cells of runs, and the next, may have together."""
    return max(_descriptors() // 4, _descriptors() - OTHERS)


def _descriptors() -> int:
    most = os.sysconf("SC_OPEN_MAX")
    return sys.maxsize if most < 0 else most


def _drop(queue: Queue) -> None:
    try:
        _, _, run = queue.popleft()
    except IndexError:  # another thread was faster
        return
    run.close()


def _remove(queue: Queue, cell: tuple[float, Zygote, Run]) -> None:
    try:
        queue.remove(cell)
    except ValueError:  # it was taken
        return
    cell[2].close()
