"""The pickler of what goes in: cloudpickle's, but for open files."""

from __future__ import annotations

import sys
from collections import ChainMap
from io import TextIOWrapper

import cloudpickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar


def _reduce_file(file: TextIOWrapper) -> tuple[Any, ...]:
    # cloudpickle would read a file, and send what is in it along.
    for name in ("stdout", "stderr"):
        if file is getattr(sys, name):
            return getattr, (sys, name)
    raise TypeError("cannot pickle '_io.TextIOWrapper' object")


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Pickles functions, classes and modules by value where need be."""

    dispatch_table: ClassVar[Any] = ChainMap(
        {TextIOWrapper: _reduce_file}, cloudpickle.Pickler.dispatch_table
    )
