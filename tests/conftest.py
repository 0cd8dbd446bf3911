"""For every test: nothing may be left; CSANDBOX_MUST_WORK=1 forbids skips.

CSANDBOX_SECOND_USER=1 leaves out what is the same for every user.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import socket

import pytest

import support

# What a shell runs in the background ignores both, as would all that we start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)

MUST_WORK = os.environ.get("CSANDBOX_MUST_WORK") == "1"
SECOND_USER = os.environ.get("CSANDBOX_SECOND_USER") == "1"
# What crosses, and how, and Python code of the host's: no privilege matters.
SAME_FOR_EVERY_USER = {
    *("test_accounts", "test_decode", "test_docs", "test_errors"),
    *("test_filter", "test_flock", "test_parity_python"),
    *("test_policy", "test_real_pyperformance", "test_result"),
    *("test_source_rules", "test_syscall_table", "test_text"),
    *("test_syscall_table_compute", "test_untransportable", "test_values"),
}


def _fail_if_skipped(report):
    if not MUST_WORK or not report.skipped or hasattr(report, "wasxfail"):
        return
    where = report.longrepr
    reason = where[2] if isinstance(where, tuple) else str(where)
    # "new in 3.13" is about this Python, not about what this machine lacks.
    if "new in 3." not in reason:
        report.outcome = "failed"
        report.longrepr = f"skipped under CSANDBOX_MUST_WORK=1: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    _fail_if_skipped(report)
    return report


def pytest_collection_modifyitems(config, items):
    """Leave out what needs cgroup v2, unless it is said to be there."""
    out = {item for item in items if _is_left_out(item)}
    config.hook.pytest_deselected(items=[*out])
    items[:] = [item for item in items if item not in out]


def _is_left_out(item):
    if SECOND_USER and item.module.__name__ in SAME_FOR_EVERY_USER:
        return True
    has_cgroups = os.environ.get("CSANDBOX_CGROUP") == "1"
    return not has_cgroups and item.get_closest_marker("cgroup") is not None


@pytest.fixture(autouse=True)
def nothing_is_left():
    """Fail a test that leaves processes or descriptors behind."""
    before = support.Snapshot()
    yield
    before.check()


class Outside:
    """Things of the host that guests go after."""

    def __init__(self, root):
        self.root = root
        self.uid = support.guest_uid()
        self.secret = root / "project" / "settings.py"
        self.key = root / "home" / ".ssh" / "id_ed25519"
        for path in (self.secret, self.key):
            path.parent.mkdir(parents=True)
            path.write_text("the secret of the host")
        self.drop = root / "drop"  # where anybody may write
        self.drop.mkdir()
        self.drop.chmod(0o777)
        self.shared = self.drop / "shared.txt"
        self.shared.write_text("precious")
        self.shared.chmod(0o666)
        self.sockets = []
        self.port = self._listen(socket.AF_INET, ("127.0.0.1", 0))[1]
        self.udp = self._udp()
        self.abstract = f"csandbox-test-{os.getpid()}"
        self._listen(socket.AF_UNIX, f"\0{self.abstract}")
        self.path = str(self.drop / "socket")
        self._listen(socket.AF_UNIX, self.path)
        os.chmod(self.path, 0o777)

    def _listen(self, family, address):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.bind(address)
        listener.listen(64)
        self.sockets.append(listener)
        return listener.getsockname()

    def _udp(self):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        self.sockets.append(receiver)
        return receiver

    def inputs(self):
        """Return what an attack may know."""
        return {
            "secret": str(self.secret),
            "key": str(self.key),
            "drop": str(self.drop),
            "shared": str(self.shared),
            "port": self.port,
            "udp_port": self.udp.getsockname()[1],
            "abstract": self.abstract,
            "path": self.path,
            "host_pid": os.getpid(),
        }

    def close(self):
        """Close all sockets."""
        for each in self.sockets:
            each.close()


@pytest.fixture(scope="session")
def outside():
    """Files, sockets and names of the host, outside of /tmp."""
    root = pathlib.Path(support.outside_of_tmp())
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, root)
        made = Outside(root)
        stack.callback(made.close)
        yield made
