"""What a guest prints: whole, in order, in few pieces, and soon."""

import contextlib
import os
import sys
import time

import pytest

import csandbox

PAUSE = 0.05  # seconds; longer than output is held back


class Sink:
    """Stands for sys.stdout or sys.stderr, and notes when and what it got."""

    def __init__(self, name="", log=None):
        self.name, self.log = name, [] if log is None else log
        self.times, self.threads = [], []

    def write(self, text):
        self.log.append(f"{self.name}{text}")
        self.times.append(time.monotonic())
        self.threads.append(len(os.listdir("/proc/self/task")))


@pytest.fixture
def sink():
    return Sink()


def printed(source, sink, **options):
    with contextlib.redirect_stdout(sink):
        csandbox.run(source, **options)


def test_lines_come_in_few_pieces(sink):
    printed("for i in range(20_000): print(i)", sink, output="1M")
    assert "".join(sink.log) == "".join(f"{i}\n" for i in range(20_000))
    assert len(sink.log) < 10_000  # a few dozens on an idle machine


def test_a_short_run_has_its_output_passed_on_without_a_thread(sink):
    before = len(os.listdir("/proc/self/task"))
    for _ in range(20):  # on a busy machine not each of them is short
        printed("print('x' * 1000)", sink)
    assert before in sink.threads


def test_output_does_not_wait_for_the_end_of_the_run(sink):
    printed("import time; print('now'); time.sleep(1); print('then')", sink)
    assert "".join(sink.log) == "now\nthen\n"
    assert sink.times[0] < sink.times[-1] - 0.5


def test_what_comes_on_two_streams_keeps_its_order(monkeypatch):
    log = []
    monkeypatch.setattr(sys, "stdout", Sink("o", log))
    monkeypatch.setattr(sys, "stderr", Sink("e", log))
    csandbox.run(f"""
import sys, time
for i in range(3):
    print(i)
    time.sleep({PAUSE})
    print(i, file=sys.stderr)
    time.sleep({PAUSE})
""")
    assert log == [f"{each}{i}\n" for i in range(3) for each in "oe"]


def test_streams_written_at_once_are_both_whole():
    source = """
import sys
for i in range(2000):
    print(i)
    print(-i, file=sys.stderr)
"""
    result = csandbox.execute(source)
    assert result.stdout == "".join(f"{i}\n" for i in range(2000))
    assert result.stderr == "".join(f"{-i}\n" for i in range(2000))


@pytest.mark.parametrize("size", [1, 4095, 65_535, 65_536, 300_000, 1 << 20])
def test_output_is_whole_up_to_its_limit(size, sink):
    printed(f"import os; os.write(1, b'x' * {size})", sink, output="1M")
    assert "".join(sink.log) == "x" * size
    result = csandbox.execute(
        f"import os; os.write(1, b'x' * {size})", output="1M"
    )
    assert result.stdout == "x" * size


@pytest.mark.parametrize("piece", [1, 1000, 1024, 1025, 200_000])
def test_what_is_beyond_the_limit_is_counted_to_the_byte(piece):
    source = f"""
import os
left = 300_000
while left:
    left -= os.write(1, b"x" * min(left, max({piece}, 100)))
"""
    result = csandbox.execute(source, output="1K")
    assert result.stdout_bytes == b"x" * 1024
    assert result.usage.stdout_bytes == 300_000
    assert result.usage.stdout_dropped == 300_000 - 1024


def test_a_stream_that_the_guest_closes_is_read_to_its_end(sink):
    source = "import os; os.write(1, b'last'); os.close(1); os.close(2)"
    printed(source, sink)
    assert "".join(sink.log) == "last"


def test_what_a_sink_raises_ends_the_run_soon(monkeypatch):
    class Broken(Sink):
        def write(self, text):
            raise ConnectionError(text)

    monkeypatch.setattr(sys, "stdout", Broken())
    started = time.monotonic()
    with pytest.raises(ConnectionError, match="x"):
        csandbox.run("import time; print('x'); time.sleep(60)", timeout=60)
    assert time.monotonic() - started < 30


def test_what_a_package_prints_as_it_is_imported_is_no_output_of_a_run():
    printed = "import this; this.s[:3]"
    for _ in range(2):
        result = csandbox.execute(printed, preload=("this",))
        assert (result.value, result.stdout) == ("Gur", "")
    assert "Zen" in csandbox.execute(printed).stdout
