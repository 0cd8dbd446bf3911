"""Inputs that pickle alone takes in, and those that need cloudpickle."""

import collections
import datetime
import decimal
import fractions
import pickle
import uuid

import cloudpickle
import numpy as np
import pytest

import csandbox
import hosts
from csandbox import zygotes
from csandbox.plain import PlainPickler
from csandbox.shipping import Cargo


def plain(value):
    """Return what the pickler of plain data makes of a value."""
    cargo = Cargo()
    PlainPickler(cargo, zygotes.visible_roots()).dump(value)
    return cargo.close().pickle


class Liar:
    __module__ = "numpy"


class Row(dict):
    pass


PLAIN = [
    [{"id": 1, "name": "n", "price": 1.5, "tags": ("a", None, True)}],
    {b"bytes": bytearray(b"x"), "sets": {1, 2}, 2**100: frozenset({1j})},
    [range(3), slice(1, 2), ...],
    datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
    [decimal.Decimal("1.5"), fractions.Fraction(1, 3), uuid.UUID(int=5)],
    [collections.OrderedDict(a=1), collections.Counter("aab"),
     collections.deque([1], 5), collections.defaultdict(list, a=[1])],
]  # fmt: skip
OTHER = [
    [lambda: 5], [Liar], [Liar()], [Row(a=1)], [csandbox],
    [pytest.raises], [np.array([lambda: 5], dtype=object)], [PlainPickler],
]  # fmt: skip


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_data_is_pickled_as_cloudpickle_would(value):
    assert pickle.loads(plain(value)) == value
    assert plain(value) == cloudpickle.dumps(value, 5)


def test_arrays_are_plain():
    value = {"a": np.arange(6).reshape(2, 3), "b": np.float64(1.5)}
    got = pickle.loads(plain(value))
    assert got["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert got["b"] == 1.5
    assert plain(value) == cloudpickle.dumps(value, 5)


@pytest.mark.parametrize("value", OTHER, ids=lambda each: str(type(each[0])))
def test_what_cloudpickle_takes_by_value_is_not_plain(value):
    with pytest.raises(Exception):  # noqa: B017
        plain(value)


def test_what_is_not_plain_goes_in_as_before():
    def double(x):
        return 2 * x

    rows = [{"id": i, "row": Row(a=i)} for i in range(3)]
    source = "[double(each['row']['a']) for each in rows]"
    got = csandbox.run(source, inputs={"rows": rows, "double": double})
    assert got == [0, 2, 4]


def test_plain_inputs_import_no_cloudpickle():
    program = """
import sys, csandbox, hosts
value = csandbox.run("rows[1]['a']", inputs={"rows": [{"a": 1}, {"a": 2}]})
hosts.show([value, "cloudpickle" in sys.modules])
"""
    assert hosts.run(program) == [2, False]


def test_a_module_that_cells_cannot_see_is_not_plain(monkeypatch):
    monkeypatch.setattr(np, "__file__", "/home/somebody/numpy/__init__.py")
    with pytest.raises(TypeError, match="numpy"):
        plain([np.float64(1.5)])
