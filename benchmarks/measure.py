"""Times of several works, taken in turns so that noise meets all alike."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SLOW = 0.02  # seconds; what takes longer has fewer turns
TURNS_OF_SLOW = 10  # of those that others have, one in so many


@dataclass(frozen=True)
class Times:
    """Seconds of many runs of one work."""

    seconds: tuple[float, ...]

    @property
    def p50(self) -> float:
        """The median."""
        return statistics.median(self.seconds)

    @property
    def p99(self) -> float:
        """What 99 of 100 do not exceed."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def seconds(work: Callable[[], object]) -> float:
    """Return how long one call takes."""
    started = time.perf_counter()
    made = work()
    took = time.perf_counter() - started
    del made
    return took


def in_turns(
    works: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    pause: float = 0.0,
) -> dict[str, Times]:
    """Call each work once a round, `pause` seconds before each call."""
    taken: dict[str, list[float]] = {}
    for name, work in works.items():
        work()
        taken[name] = [seconds(work)]
    slow = {name for name, times in taken.items() if times[0] > SLOW}
    for turn in range(rounds):
        for name, work in works.items():
            if name in slow and turn % TURNS_OF_SLOW:
                continue
            if pause:
                time.sleep(pause)
            taken[name].append(seconds(work))
    # The first is what found out how slow it is.
    return {name: Times(tuple(times[1:])) for name, times in taken.items()}
