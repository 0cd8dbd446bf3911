"""Packages that take long over their first use: that is made in the zygote.

Executed in the namespace of _guest.py, before that.  What a package imports,
builds or specializes when it is first used is there for every cell then, and
what each cell writes to in its use is copied while the cell waits for a job.
"""

from __future__ import annotations

import io
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def use_packages() -> None:
    """Use the preloaded packages as many guests will; in the zygote."""
    for name, use in (
        ("numpy", _use_numpy),
        ("pandas", _use_pandas),
        ("matplotlib.pyplot", _use_pyplot),
    ):
        module = sys.modules.get(name)
        if module is not None:
            _try(use, module)


def touch_packages() -> None:
    """Write to what a use of them writes to; in a cell that waits."""
    for name, use in (("numpy", _use_numpy), ("pandas", _touch_pandas)):
        module = sys.modules.get(name)
        if module is not None:
            _try(use, module)


def _try(use, module) -> None:
    """Use a module of whichever version; what fails is the guest's to meet."""
    warnings = sys.modules.get("warnings")
    try:
        if warnings is None:
            use(module)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                use(module)
    except Exception:
        return


def _use_numpy(numpy: Any) -> None:
    numbers = numpy.arange(8.0)
    square = numbers[:4].reshape(2, 2)
    (numbers * 2 + 1).sum()
    numbers.mean(), numbers.std(), numbers.max()
    numpy.sort(numbers[::-1])
    numpy.sqrt(numbers[numbers > 2])
    square @ square
    numpy.array([[1, 2], [3, 4]]).tolist()
    repr(numbers)


def _use_pandas(pandas: Any) -> None:
    frame = pandas.DataFrame(
        {"key": ["a", "b", "a"], "number": [1, 2, 3], "real": [1.5, 2.5, 0]}
    )
    frame.groupby("key").sum()
    frame.groupby("key")["real"].mean()
    frame[frame["number"] > 1].sort_values("real")
    frame.merge(frame, on="key").describe()
    pandas.read_csv(io.StringIO("a,b\n1,x\n2.5,y\n")).to_csv()
    frame.to_dict("records")
    repr(frame)


def _touch_pandas(pandas: Any) -> None:
    frame = pandas.DataFrame({"key": ["a", "b", "a"], "number": [1, 2, 3]})
    frame.groupby("key").sum().to_dict()


def _use_pyplot(pyplot: Any) -> None:
    figure, axes = pyplot.subplots(figsize=(1, 1))
    axes.plot([1, 2, 3])
    figure.savefig(io.BytesIO(), format="png")
    pyplot.close(figure)
