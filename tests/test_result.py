import copy
import pickle
import time

import pytest

from csandbox.errors import GuestError, GuestExit
from csandbox.result import Isolation, Result, Usage


def make_usage(**fields):
    return Usage(
        **{"wall": 0.5, "user": 0.25, "system": 0.1, "peak_memory": 1} | fields
    )


def make_result(value=None, stdout=b"", stderr=b"", **fields):
    return Result(
        **{
            "value": value,
            "stdout_bytes": stdout,
            "stderr_bytes": stderr,
            "usage": make_usage(),
            "isolation": Isolation(mechanisms=frozenset({"seccomp"})),
        }
        | fields
    )


def test_a_result_is_ok_without_an_error():
    result = make_result(45)
    assert result.ok
    assert result.unwrap() == 45
    assert (result.error, result.exit_code) == (None, None)
    assert result.violations == ()


def test_a_result_with_an_error_raises_it_and_is_carried_by_it():
    error = GuestExit(3)
    result = make_result(error=error, exit_code=3)
    assert not result.ok
    assert error.result is result
    with pytest.raises(GuestExit) as caught:
        result.unwrap()
    assert caught.value is error


def test_output_is_kept_exactly_and_decoded_for_reading():
    result = make_result(stdout=b"\xff\0\x1b[31m\r\n", stderr="é".encode())
    assert result.stdout_bytes == b"\xff\0\x1b[31m\r\n"
    assert result.stdout == "\ufffd\0\x1b[31m\r\n"
    assert (result.stderr_bytes, result.stderr) == (b"\xc3\xa9", "é")


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        (b"abc", "abc\n[csandbox: 7 more bytes were dropped]\n"),
        (b"abc\n", "abc\n[csandbox: 7 more bytes were dropped]\n"),
        (b"", "[csandbox: 7 more bytes were dropped]\n"),
    ],
)
def test_text_says_how_much_output_was_dropped(kept, shown):
    usage = make_usage(stdout_dropped=7, stderr_dropped=7)
    result = make_result(stdout=kept, stderr=kept, usage=usage)
    assert (result.stdout, result.stderr) == (shown, shown)
    assert result.stdout_bytes == kept


def test_a_result_needs_all_its_fields_and_takes_no_others():
    with pytest.raises(TypeError, match=r"Usage\(\) needs user="):
        Usage(wall=1.0)
    with pytest.raises(TypeError, match=r"has no field 'walls'"):
        make_usage(walls=1.0)
    with pytest.raises(TypeError):
        Usage(1.0, 1.0, 1.0, 1)


@pytest.mark.parametrize(
    "record", [make_result(), make_usage(), make_result().isolation]
)
def test_records_cannot_be_changed(record):
    with pytest.raises(AttributeError, match="read-only"):
        record.wall = 2.0
    with pytest.raises(AttributeError, match="read-only"):
        del record.wall


def test_usage_and_isolation_are_equal_by_value():
    assert make_usage() == make_usage()
    assert hash(make_usage()) == hash(make_usage())
    assert make_usage() != make_usage(wall=1.0)
    assert Isolation(mechanisms=frozenset()) != make_usage()


def test_results_are_equal_only_to_themselves():
    result = make_result([1])
    other = make_result([1])
    assert result != other
    assert [other, result].index(result) == 1
    assert {result: 1}[result] == 1


@pytest.mark.parametrize(
    "how", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_result_pickles_and_copies(how):
    result = make_result({"a": [1]}, b"out", exit_code=0)
    again = how(result)
    assert again.value == result.value
    assert again.stdout == "out"
    assert again.usage == result.usage
    assert again.isolation == result.isolation


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "None"),
        (45, "45"),
        (1.5, "1.5"),
        ("a\x1b[31m\u202e", r"'a\x1b[31m\u202e'"),
        (b"\x1b", r"b'\x1b'"),
        ([1, (2,), {"a": {3}}], "[1, (2,), {'a': {3}}]"),
        ([[[[1]]]], "[[[<list>]]]"),
        (list(range(9)), "[0, 1, 2, 3, 4, 5, ...]"),
        (frozenset({1}), "frozenset({1})"),
        pytest.param(10**5000, "<int>", id="huge"),
        (range(3), "<range>"),
        ("x" * 100, f"'{'x' * 80}'..."),
    ],
)
def test_repr_shows_the_value_in_brief(value, shown):
    assert repr(make_result(value)) == f"Result(value={shown})"


def test_repr_shows_output_error_and_exit_code():
    error = GuestError("ValueError", "\x1b[31m", "Traceback\nValueError: \x1b")
    result = make_result(stdout=b"hi\n", stderr=b"\x1b", error=error)
    assert repr(result) == (
        r"Result(value=None, stdout=b'hi\n', stderr=b'\x1b', "
        r"error=<GuestError: ValueError: \x1b>)"
    )
    assert "exit_code=3" in repr(make_result(exit_code=3))


def test_repr_is_short_and_quick_for_any_value():
    wide = {f"{i}" * 200: ["x" * 10**6] * 10 for i in range(1000)}
    for _ in range(20):
        wide = {"again": wide, "x" * 200: [wide] * 1000}
    loop = []
    loop.append(loop)
    started = time.perf_counter()
    for value in (wide, loop, "\x1b" * 10**8, b"\0" * 10**8, -(10**5000)):
        text = repr(make_result(value, error=GuestError("E" * 10**6, "")))
        assert len(text) < 20_000
        assert text.isprintable()
    assert time.perf_counter() - started < 5
