"""Tries csandbox where it runs: python smoke.py --tier=TIER [--at-once=N]

Says what failed on stderr, or if that is closed in the file that
CSANDBOX_SMOKE_LOG names.  The exit status is 1 then.
"""

import argparse
import importlib.util
import os
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parent.parent))
import csandbox
import hosts

COMPUTE = "compute"


class Smoke:
    """The checks, in the order of their methods."""

    def __init__(self, tier, at_once):
        self.tier = tier
        self.at_once = at_once
        self.policy = csandbox.Policy(timeout=30)
        if tier == COMPUTE:
            self.policy = self.policy.replace(profile=COMPUTE, scratch=0)
        self.execute = partial(csandbox.execute, policy=self.policy)

    def check_value(self):
        result = self.execute("print('said'); sum(range(10))")
        assert result.unwrap() == 45
        assert result.stdout == "said\n", result.stdout

    def check_tier(self):
        assert self.execute("1").isolation.tier == self.tier
        report = csandbox.doctor()
        assert report.tier == self.tier, report
        assert report.ok, report

    def check_default_is_refused_without_files(self):
        if self.tier != COMPUTE:
            return
        try:
            csandbox.run("1")
        except csandbox.UnavailableError as error:
            assert error.guarantee == "files", error
            assert error.remedy, error
        else:
            raise AssertionError("it ran without a guarantee of files")

    def check_inputs(self):
        assert self.execute("[x] * 2", inputs={"x": 1.5}).value == [1.5, 1.5]

    def check_stdin(self):
        assert self.execute("input()", stdin="a line\n").unwrap() == "a line"

    def check_error(self):
        error = self.execute("1 / 0").error
        assert error.type_name == "ZeroDivisionError", error

    def check_exit(self):
        assert self.execute("raise SystemExit(3)").exit_code == 3

    def check_timeout(self):
        error = self.execute("while True: pass", timeout=0.3).error
        assert isinstance(error, csandbox.TimeLimitError), error

    def check_memory(self):
        error = self.execute("bytearray(10**10)").error
        assert error.type_name == "MemoryError", error

    def check_scratch(self):
        if self.tier == COMPUTE:
            return
        source = "open('/tmp/a', 'w').write('b'); open('/tmp/a').read()"
        assert self.execute(source).unwrap() == "b"
        source = "import os; 'a' in os.listdir('/tmp')"
        assert self.execute(source).unwrap() is False

    def check_numpy(self):
        if importlib.util.find_spec("numpy") is None:
            return
        source = "import numpy; int(numpy.arange(10).sum())"
        policy = self.policy.replace(preload=("numpy",))
        assert csandbox.execute(source, policy=policy).unwrap() == 45

    def check_what_is_refused(self):
        for source in (
            "open('/etc/passwd')",
            f"open({os.path.realpath(__file__)!r})",
            "import os; os.stat('/etc/passwd')",
            "import os; os.listdir('/home')",
            "import socket; socket.create_connection(('127.0.0.1', 9))",
            "import os; os.fork()",
            f"import os; os.kill({os.getpid()}, 0)",
        ):
            result = self.execute(source)
            assert result.error is not None, source

    def check_what_was_denied_is_told(self):
        # In the lowest tier no socket module is there to be imported.
        source = "import socket\nsocket.socket()"
        if self.tier == COMPUTE:
            return
        result = self.execute(source)
        if "user notification" not in result.isolation.mechanisms:
            assert not result.violations, result.violations
            return
        [violation] = result.violations
        assert violation.syscall == "socket", violation
        assert violation.line == "<guest>:2", violation
        assert "csandbox denied socket" in str(result.error), result.error

    def check_many_at_once(self):
        sources = [f"{number} * 2" for number in range(self.at_once)]
        with ThreadPoolExecutor(self.at_once) as pool:
            results = list(pool.map(self.execute, sources))
        values = [result.unwrap() for result in results]
        assert values == [2 * number for number in range(self.at_once)]

    def check_no_zombies(self):
        hosts.wait_until(
            lambda: not [pid for pid in hosts.pids() if is_zombie(pid)]
        )


def is_zombie(pid):
    """Whether it is a child of this process that nobody has reaped."""
    state, parent, *_ = hosts.stat(pid) or ("", "")
    return state == "Z" and parent == str(os.getpid())


def tell(text):
    """Say what failed, wherever that can be read."""
    if sys.stderr is not None:
        print(text, file=sys.stderr)
    elif "CSANDBOX_SMOKE_LOG" in os.environ:
        Path(os.environ["CSANDBOX_SMOKE_LOG"]).write_text(text)


def main():
    """Check everything, and say what failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tier", required=True)
    parser.add_argument("--at-once", type=int, default=20)
    options = parser.parse_args()
    smoke = Smoke(options.tier, options.at_once)
    failed = []
    for name in [name for name in vars(Smoke) if name.startswith("check_")]:
        try:
            getattr(smoke, name)()
        except Exception:
            failed.append(f"{name}\n{traceback.format_exc()}")
    if failed:
        tell("\n".join(failed))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
