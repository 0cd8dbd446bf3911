"""CPython's own tests have the same outcomes inside as outside."""

import csv
import importlib.util
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from real import need
from real.outside import outside

import csandbox

need("test.support")

HERE = Path(__file__).parent / "real"
PROGRAM = (HERE / "unittest_program.py").read_text()
VERSION = "{}.{}".format(*sys.version_info)
SECONDS = 150.0

MODULES = (HERE / "stdlib_modules.txt").read_text().split()
PRESENT = [
    module
    for module in MODULES
    if importlib.util.find_spec(f"test.test_{module}") is not None
]


@dataclass(frozen=True)
class Explanation:
    """A difference that is meant, a row of the kept table."""

    module: str
    test: str
    versions: str
    reason: str

    def holds_here(self):
        return self.versions == "*" or VERSION in self.versions.split()

    def covers(self, test):
        return fnmatchcase(test, self.test)


def read_table():
    with open(HERE / "stdlib_differences.csv", newline="") as file:
        rows = csv.DictReader(file)
        names = [field.name for field in fields(Explanation)]
        assert rows.fieldnames == names
        return [Explanation(**row) for row in rows]


TABLE = read_table()


def inside(module):
    return csandbox.run(PROGRAM, inputs={"module": module}, timeout=SECONDS)


def plain(module):
    return outside(PROGRAM, {"module": module}, timeout=SECONDS)


@pytest.fixture(scope="module")
def outcomes(request):
    """Futures of both sides of every module that was selected."""
    selected = [
        item.callspec.params["module"]
        for item in request.session.items
        if item.function is test_outcomes_are_the_same_inside_and_outside
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {
            module: (
                pool.submit(inside, f"test.test_{module}"),
                pool.submit(plain, f"test.test_{module}"),
            )
            for module in selected
        }
        pool.shutdown(cancel_futures=True)


def describe(test, inside, outside):
    lines = [f"{test}: {inside[0]} inside, {outside[0]} outside"]
    for where, (_, detail) in (("inside", inside), ("outside", outside)):
        if detail:
            lines += [f"  {where}:", *("    " + s for s in detail.split("\n"))]
    return "\n".join(lines)


@pytest.mark.parametrize("module", PRESENT)
def test_outcomes_are_the_same_inside_and_outside(module, outcomes):
    within, without = (future.result() for future in outcomes[module])
    assert "pass" in {kind for kinds, _ in without.values() for kind in kinds}

    absent = ([], "")
    different = [
        test
        for test in sorted({*within, *without})
        if within.get(test, absent)[0] != without.get(test, absent)[0]
    ]
    rows = [row for row in TABLE if row.module == module and row.holds_here()]
    unexplained = [
        describe(test, within.get(test, absent), without.get(test, absent))
        for test in different
        if not any(row.covers(test) for row in rows)
    ]
    needless = [
        row for row in rows if not any(row.covers(test) for test in different)
    ]
    assert not unexplained, "\n".join(unexplained)
    assert not needless, needless


def test_sixty_modules_or_more_are_compared():
    assert len(set(PRESENT)) >= 60


def test_every_difference_is_of_a_compared_module_and_has_a_reason():
    for row in TABLE:
        assert row.module in MODULES, row
        assert row.reason.strip(), row
