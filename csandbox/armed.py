"""Cells that wait for their jobs, so that a run need not wait for a cell.

While a run is at its job, another cell like its own is asked for; it is put
here when the run is over, and the next run of the same zygote and limits takes
it.  So as many wait as were at work at once, but no more than there are
cores; those that wait for long end by themselves.
"""

from __future__ import annotations

from _collections import deque  # type: ignore[import-not-found]
from time import monotonic

from csandbox.policy import cores

TYPE_CHECKING = False
if TYPE_CHECKING:
    from csandbox._csandbox import Run, Zygote

    Key = tuple[object, ...]

# Below the seconds after which a cell without a job ends by itself.
FRESH_SECONDS = 25.0
MOST = 64  # of all kinds


class Armed:
    """The cells that wait, by kind: what they are of, and their limits."""

    def __init__(self) -> None:
        self._waiting: dict[Key, deque[tuple[float, Zygote, Run]]] = {}
        self._count = 0

    def take(self, key: Key) -> tuple[Zygote, Run] | None:
        """Return a cell of a kind that is alive, and its zygote, or None."""
        queue = self._waiting.get(key)
        while queue:
            try:
                since, zygote, run = queue.pop()
            except IndexError:  # another thread was faster
                return None
            self._count -= 1
            if monotonic() - since < FRESH_SECONDS and run.waits():
                return zygote, run
            run.close()
        return None

    def wants(self, key: Key) -> bool:
        """Whether one more of a kind may wait."""
        queue = self._waiting.get(key)
        return queue is None or len(queue) < cores()

    def put(self, key: Key, zygote: Zygote, run: Run) -> None:
        """Let a cell wait, in the place of an older one if need be."""
        # Moved to the end: the first is what was not used for longest.
        queue = self._waiting.pop(key, None) or deque()
        queue.append((monotonic(), zygote, run))
        self._waiting[key] = queue
        self._count += 1
        if len(queue) > cores():
            self._drop(queue)
        while self._count > MOST:
            self._drop(next(iter(self._waiting.values())))

    def _drop(self, queue: deque[tuple[float, Zygote, Run]]) -> None:
        if queue:
            queue.popleft()[2].close()
            self._count -= 1

    def close(self) -> None:
        """End all of them."""
        waiting, self._waiting = self._waiting, {}
        self._count = 0
        for queue in waiting.values():
            for _, _, run in queue:
                run.close()
