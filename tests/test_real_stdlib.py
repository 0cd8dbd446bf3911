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

import csandbox
import support
from real import need
from real.outside import outside

need("test.support")

HERE = Path(__file__).parent / "real"
PROGRAM = (HERE / "unittest_program.py").read_text()
VERSION = "{}.{}".format(*sys.version_info)
SECONDS = 150.0
LIMITS = {
    "compile": {"memory": "1G"},
    "io": {"threads": 64},
    "queue": {"threads": 128, "memory": "2G"},
    "shutil": {"memory": "1G"},
    "threading": {"threads": 64},
}

MODULES = (HERE / "stdlib_modules.txt").read_text().split()


def is_present(module):
    try:
        return importlib.util.find_spec(f"test.test_{module}") is not None
    except ModuleNotFoundError:
        return False


# Half of all the time.  For a second look at the same code, as another user
# or on another Python, a third of the rest is enough: each has another third.
SLOW = frozenset(
    """asyncio.test_tasks compile datetime exceptions io itertools pathlib
    pickle queue set shelve shutil threading""".split()
)
QUICK = os.environ.get("CSANDBOX_QUICK") == "1"
PRESENT = [module for module in MODULES if is_present(module)]
if len(PRESENT) < 60:
    pytest.skip(
        "this Python comes without most of CPython's own tests; Debian and "
        "Ubuntu have them in libpython3-testsuite",
        allow_module_level=True,
    )
if QUICK:
    PRESENT = [module for module in PRESENT if module not in SLOW]
    PRESENT = PRESENT[sys.version_info.minor % 3 :: 3]


@dataclass(frozen=True)
class Explanation:
    """A row of the kept table: tests that may end differently, and why.

    ``versions`` are those of Python, or ``*``.  ``differs`` is ``always``,
    ``sometimes`` where it hangs on what the machine outside has, or ``unrun``
    for tests that are run on neither side.
    """

    module: str
    test: str
    versions: str
    differs: str
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


def rows_of(module):
    return [row for row in TABLE if row.module == module and row.holds_here()]


def inputs_of(module):
    unrun = [row.test for row in rows_of(module) if row.differs == "unrun"]
    return {"module": f"test.test_{module}", "unrun": unrun}


def inside(module):
    return csandbox.run(
        PROGRAM,
        inputs=inputs_of(module),
        timeout=SECONDS,
        **LIMITS.get(module, {}),
    )


def plain(module):
    return outside(PROGRAM, inputs_of(module), timeout=SECONDS)


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Runs of other modules go on beside each test; see `outcomes`."""


@pytest.fixture(scope="module")
def outcomes(request):
    """Futures of both sides of every module that was selected."""
    selected = [
        item.callspec.params["module"]
        for item in request.session.items
        if item.function is test_outcomes_are_the_same_inside_and_outside
    ]
    before = support.Snapshot()
    # Many of the tests sleep.
    with ThreadPoolExecutor(2 + os.cpu_count()) as pool:
        yield {
            module: (
                pool.submit(inside, module),
                pool.submit(plain, module),
            )
            for module in selected
        }
        pool.shutdown(cancel_futures=True)
    before.check()


def describe(test, inside, outside):
    lines = [f"{test}: {inside[0]} inside, {outside[0]} outside"]
    for where, (_, detail) in (("inside", inside), ("outside", outside)):
        if detail:
            lines += [f"  {where}:", *("    " + s for s in detail.split("\n"))]
    return "\n".join(lines)


def compare(module, within, without):
    """Return the differences without a reason, and reasons without any."""
    absent = ([], "")
    different = [
        test
        for test in sorted({*within, *without})
        if within.get(test, absent)[0] != without.get(test, absent)[0]
    ]
    rows = rows_of(module)
    unexplained = [
        describe(test, within.get(test, absent), without.get(test, absent))
        for test in different
        if not any(row.covers(test) for row in rows)
    ]
    needless = [
        str(row)
        for row in rows
        if row.differs == "always"
        and not any(row.covers(test) for test in different)
    ]
    return unexplained + needless


@pytest.mark.parametrize("module", PRESENT)
def test_outcomes_are_the_same_inside_and_outside(module, outcomes):
    within, without = (future.result() for future in outcomes[module])
    assert "pass" in {kind for kinds, _ in without.values() for kind in kinds}
    wrong = compare(module, within, without)
    if wrong:
        # Some of these tests hang on timing: what counts shows again.
        wrong = compare(module, inside(module), plain(module))
    assert not wrong, "\n".join(wrong)


def test_every_difference_is_of_a_compared_module_and_has_a_reason():
    for row in TABLE:
        assert row.module in MODULES, row
        assert row.differs in ("always", "sometimes", "unrun"), row
        assert row.reason.strip(), row
