"""The pickler of plain data: pickle's, where cloudpickle adds nothing."""

from __future__ import annotations

import pickle
import sys
from types import BuiltinFunctionType, FunctionType

from csandbox import shipping

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from csandbox.shipping import Cargo

# What of these modules' an object is made of travels by its name.
_BY_NAME = frozenset(
    (
        "builtins",
        "collections",
        "datetime",
        "decimal",
        "fractions",
        "numpy",
        "uuid",
    )
)


class PlainPickler(pickle.Pickler):
    """Pickles what needs no cloudpickle, and that as cloudpickle would.

    Raises an exception for anything else.
    """

    def __init__(self, cargo: Cargo, roots: tuple[str, ...]) -> None:
        super().__init__(cargo, 5, buffer_callback=cargo.keep_out)
        self._below = tuple(f"{root}/" for root in roots)

    # Called for all that pickle itself does not know by heart.
    def reducer_override(self, thing: Any) -> Any:
        """Let pickle reduce a thing, if its module has it by name inside."""
        named = isinstance(thing, (type, FunctionType, BuiltinFunctionType))
        module = (thing if named else type(thing)).__module__
        if module.partition(".")[0] not in _BY_NAME or shipping.is_hidden(
            sys.modules[module], self._below
        ):
            raise TypeError(module)
        return NotImplemented
