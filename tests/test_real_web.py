"""Web servers that call csandbox per request stay right and leave nothing."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import csandbox
from csandbox import scratches
from real import need

HERE = Path(__file__).parent / "real"
REQUESTS = 500
CLIENTS = 8
SECONDS = 60.0
# uvicorn ends by the signal that it was sent.
ENDED_WELL = (0, -signal.SIGTERM)

SERVERS = {
    "flask": (
        ("flask", "gunicorn"),
        (
            *("gunicorn", "--preload", "--workers=2", "--threads=4"),
            *("--bind=127.0.0.1:0", f"--chdir={HERE}", "flask_app:app"),
        ),
    ),
    "fastapi": (
        ("fastapi", "uvicorn"),
        (
            *("uvicorn", "--host=127.0.0.1", "--port=0", "--no-access-log"),
            *(f"--app-dir={HERE}", "fastapi_app:app"),
        ),
    ),
}

BENIGN = """
import os
assert os.listdir(".") == [], os.listdir(".")
with open("token", "w") as file:
    file.write(token)
print(token)
total = sum(i * i for i in range(number))
{"token": token, "total": total, "cwd": os.listdir(".")}
"""
RAISING = "raise LookupError(token)"
LOOP = "while True: pass"
SEGFAULT = "import ctypes; ctypes.string_at(8)"
KILL = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
BOMB = "hoard = []\nwhile True: hoard.append(bytearray(1 << 24))"
EXIT = "import os; os._exit(7)"


@dataclass
class Server:
    """A running server."""

    port: int
    log: Path
    guardian: subprocess.Popen
    temporary: Path

    def call(self, method, path, body=None):
        client = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=SECONDS
        )
        try:
            client.request(
                method,
                path,
                body=None if body is None else json.dumps(body),
                headers={"Content-Type": "application/json"},
            )
            response = client.getresponse()
            text = response.read()
            assert response.status == 200, (text, self.last_words())
            return json.loads(text)
        finally:
            client.close()

    def run(self, **job):
        return self.call("POST", "/run", job)

    def health(self):
        return self.call("GET", "/health")

    def end(self, how):
        """Return its exit status and the processes it left behind."""
        printed, _ = self.guardian.communicate(how, timeout=SECONDS)
        return json.loads(printed)

    def last_words(self):
        return self.log.read_text()[-4000:]


def wait_for_port(log, guardian):
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and guardian.poll() is None:
        text = log.read_text() if log.exists() else ""
        found = re.search(r"http://127\.0\.0\.1:(\d+)", text)
        if found:
            return int(found[1])
        time.sleep(0.05)
    raise AssertionError(f"the server did not start:\n{text}")


@contextmanager
def serving(name, folder):
    """Start a server; what the test did not stop is stopped at the end."""
    modules, command = SERVERS[name]
    for module in modules:
        need(module)
    log = folder / "log"
    temporary = folder / "temporary"
    temporary.mkdir()
    checkout = Path(csandbox.__file__).parent.parent
    guardian = subprocess.Popen(
        [
            *(sys.executable, HERE / "guardian.py", log),
            *(sys.executable, "-m", *command),
        ],
        env={
            **os.environ,
            "PYTHONPATH": str(checkout),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(temporary),
        },
        cwd=folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        port = wait_for_port(log, guardian)
        yield Server(port, log, guardian, temporary)
    finally:
        if guardian.poll() is None:
            guardian.communicate("kill", timeout=SECONDS)
        guardian.stdout.close()
        guardian.stdin.close()


def mounts():
    text = Path("/proc/self/mountinfo").read_text()
    return {line.split(" ", 1)[1] for line in text.splitlines()}


def is_anothers(path):
    """Whether a living host, or another user, has it: csandbox locks its
    own directory."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (FileNotFoundError, PermissionError):
        return True
    try:
        return not scratches._lock(fd)
    finally:
        os.close(fd)


def traces():
    """Return the mounts, and the files of our name beside the server's
    own temporary folder, once it has ended."""
    files = {
        str(path)
        for folder in ("/dev/shm", "/run")
        for path in Path(folder).glob("*csandbox*")
        if not is_anothers(path)
    }
    return mounts() | files


def check_benign(server, index):
    token = f"token-{index}"
    kind = index % 4
    if kind == 0:
        got = server.run(factor=index, numbers=[1, 2, 3])
        expected = {"value": [index, 2 * index, 3 * index], "error": None}
    elif kind == 1:
        got = server.run(code=RAISING, inputs={"token": token})
        expected = {
            "error": "GuestError",
            "type_name": "LookupError",
            "message": token,
        }
    else:
        got = server.run(code=BENIGN, inputs={"token": token, "number": index})
        expected = {
            "value": {
                "token": token,
                "total": sum(i * i for i in range(index)),
                "cwd": ["token"],
            },
            "stdout": f"{token}\n",
            "error": None,
        }
    assert {name: got[name] for name in expected} == expected
    return "benign"


def check_hostile(server, index):
    kind = ("loop", "segfault", "kill", "bomb", "exit")[index % 5]
    if kind == "loop":
        started = time.monotonic()
        got = server.run(code=LOOP, timeout=0.4)
        assert got["error"] == "TimeLimitError", got
        assert time.monotonic() - started < 10
    elif kind == "bomb":
        got = server.run(code=BOMB)
        assert got["error"] == "MemoryLimitError" or (
            (got["error"], got["type_name"]) == ("GuestError", "MemoryError")
        ), got
    elif kind == "exit":
        got = server.run(code=EXIT)
        assert (got["error"], got["code"]) == ("GuestExit", 7), got
    else:
        got = server.run(code=SEGFAULT if kind == "segfault" else KILL)
        assert (got["error"], got["signal"]) == ("GuestCrash", 11), got
    assert got["value"] is None
    return kind


def check(server, index):
    if index % 10 == 7:
        return check_hostile(server, index // 10)
    return check_benign(server, index)


@pytest.mark.parametrize("name", SERVERS)
def test_every_answer_is_right_and_nothing_is_left(name, tmp_path):
    before = traces()
    with serving(name, tmp_path) as server:
        with ThreadPoolExecutor(CLIENTS) as pool:
            jobs = [
                pool.submit(check, server, index) for index in range(REQUESTS)
            ]
            done = Counter(job.result() for job in jobs)
        assert server.health()["ready"]
        status, left = server.end("stop")
        assert status in ENDED_WELL, server.last_words()
        assert left == []
        assert list(server.temporary.iterdir()) == []
    assert traces() - before == set()
    assert done.pop("benign") == REQUESTS * 9 // 10
    assert set(done.values()) == {REQUESTS // 50}


@pytest.mark.parametrize("name", SERVERS)
def test_many_requests_leave_no_descriptor_or_thread_behind(name, tmp_path):
    def most():
        seen = [server.health() for _ in range(20)]
        return [
            max(each[what] for each in seen)
            for what in ("descriptors", "threads")
        ]

    def load(requests):
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda index: check(server, index), requests))

    with serving(name, tmp_path) as server:
        load(range(100))
        first = most()
        load(range(100, 200))
        # A connection that is being closed may still count.
        assert all(
            later <= earlier + CLIENTS
            for earlier, later in zip(first, most(), strict=True)
        )


@pytest.mark.parametrize("name", SERVERS)
def test_killed_server_leaves_nothing(name, tmp_path):
    before = traces()
    with serving(name, tmp_path) as server, ThreadPoolExecutor(2) as pool:
        assert server.run(code="1 + 1")["value"] == 2
        under_way = pool.submit(server.run, code=LOOP, timeout=300)
        time.sleep(0.5)
        assert not under_way.done()
        _, left = server.end("kill")
        assert left == []
        with pytest.raises((OSError, http.client.HTTPException)):
            under_way.result()
    assert traces() - before == set()
