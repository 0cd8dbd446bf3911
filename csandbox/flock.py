"""Objects that are known as long as they live, without being kept alive."""

from __future__ import annotations

from _weakref import ref

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class Flock:
    """As weakref.WeakSet, in steps of C.

    So no signal handler is called out of the callback of a reference, where
    its exception would be lost, and no thread changes it during iteration.
    """

    def __init__(self) -> None:
        self._refs: set[ref[Any]] = set()

    def add(self, thing: object) -> None:
        """Know an object."""
        self._refs.add(ref(thing, self._refs.discard))

    def __iter__(self) -> Iterator[Any]:
        things = [each() for each in [*self._refs]]
        return iter([each for each in things if each is not None])

    def __len__(self) -> int:
        return len(self._refs)
