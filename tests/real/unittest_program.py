"""The guest program that runs one module of CPython's own test suite.

Its inputs are ``module``, a name like ``test.test_json``, and ``unrun``, the
patterns of the tests to leave out; its value is ``{test id: (sorted list of
outcomes, the last report of a failure)}``.
"""

import unittest
import warnings
from fnmatch import fnmatchcase

from test import support


class Recorder(unittest.TestResult):
    """Keeps what became of every test, by its id."""

    def __init__(self):
        super().__init__()
        self.outcomes = {}
        self.details = {}

    def record(self, test, outcome, detail=""):
        name = test.id().replace("\n", " ")
        self.outcomes.setdefault(name, set()).add(outcome)
        if detail:
            self.details[name] = detail

    def addSuccess(self, test):
        self.record(test, "pass")

    def addError(self, test, error):
        self.record(test, "error", self._exc_info_to_string(error, test))

    def addFailure(self, test, error):
        self.record(test, "fail", self._exc_info_to_string(error, test))

    def addSkip(self, test, reason):
        self.record(test, "skip")

    def addExpectedFailure(self, test, error):
        self.record(test, "expected failure")

    def addUnexpectedSuccess(self, test):
        self.record(test, "unexpected success")

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.record(
                test,
                "fail" if error[0] is test.failureException else "error",
                self._exc_info_to_string(error, test),
            )


def chosen(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from chosen(test)
        elif not any(fnmatchcase(test.id(), each) for each in unrun):  # noqa: F821
            yield test


support.verbose = False
support.use_resources = []
warnings.simplefilter("ignore")
recorder = Recorder()
suite = unittest.defaultTestLoader.loadTestsFromName(module)  # noqa: F821
unittest.TestSuite(chosen(suite)).run(recorder)
{
    name: (sorted(outcomes), recorder.details.get(name, "")[-2000:])
    for name, outcomes in recorder.outcomes.items()
}
