"""What is run: source text and inputs, the same for everybody."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ROWS = """
def enrich(row):
    total = row["price"] * row["count"]
    if row["country"] in ("DE", "FR"):
        tax = 0.19
    elif row["country"] == "US":
        tax = 0.07
    else:
        tax = 0.0
    return {
        "id": row["id"],
        "total": total,
        "tax": round(total * tax, 2),
        "label": f"{row['name']}-{row['id']:05d}",
        "large": total > 500,
    }

done = []
for row in rows:
    done.append(enrich(row))
done.sort(key=lambda row: row["total"])
done
"""

GROUPBY = """
import numpy, pandas
chance = numpy.random.default_rng(1)
frame = pandas.DataFrame({
    "key": chance.integers(0, 100, 100_000),
    "value": chance.random(100_000),
})
float(frame.groupby("key")["value"].mean().sum())
"""


@dataclass(frozen=True)
class Workload:
    """One job.  `fails` if it is one that raises; `packages` it imports."""

    name: str
    source: str
    inputs: dict[str, Any] = field(default_factory=dict)
    packages: tuple[str, ...] = ()
    fails: bool = False
    prints: bool = False


def thousand_rows() -> list[dict[str, Any]]:
    """Return rows as a web service or a script would have them."""
    countries = ("DE", "FR", "US", "JP")
    return [
        {
            "id": i,
            "name": f"user{i}",
            "price": 1.5 * (i % 97),
            "count": i % 13,
            "country": countries[i % 4],
        }
        for i in range(1000)
    ]


def workloads() -> list[Workload]:
    """Return all, those that need numpy or pandas last."""
    found = [
        Workload("1+1", "1+1"),
        Workload("1,000 rows", ROWS, {"rows": thousand_rows()}),
        Workload("100 KB printed", "print('x' * 102_400)", prints=True),
        Workload("raising", "{}['missing']", fails=True),
    ]
    try:
        import numpy
    except ImportError:
        return found
    array = numpy.random.default_rng(1).random(1_000_000)
    found += [
        Workload("numpy, 1+1", "import numpy; 1+1", packages=("numpy",)),
        Workload(
            "mean of 1e6",
            "float(array.mean())",
            {"array": array},
            ("numpy",),
        ),
        Workload(
            "1e6 floats in, out", "array * 2", {"array": array}, ("numpy",)
        ),
    ]
    try:
        import pandas  # noqa: F401
    except ImportError:
        return found
    return [
        *found,
        Workload("groupby of 1e5", GROUPBY, packages=("numpy", "pandas")),
    ]
