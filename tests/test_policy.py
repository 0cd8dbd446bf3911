import copy
import enum
import math
import pickle
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

import csandbox
from csandbox.errors import PolicyError
from csandbox.policy import Policy, make_policy, size_in_bytes

HUGE = pytest.param(10**5000, id="huge")  # more digits than str() takes


class LyingStr(str):
    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


class LyingInt(int):
    def __lt__(self, other):
        return True


class LyingDict(dict):
    def items(self):
        return [("A", "1")]


class Size(enum.IntEnum):
    BIG = 2**30


def refusal(**fields):
    with pytest.raises(PolicyError) as caught:
        Policy(**fields)
    return str(caught.value)


def test_defaults_are_those_of_the_design():
    policy = Policy()
    assert policy.timeout == 10.0
    assert policy.queue_timeout == 60.0
    assert (policy.memory, policy.memory_bytes) == ("512M", 512 << 20)
    assert policy.threads == 16
    assert (policy.scratch, policy.scratch_bytes) == ("64M", 64 << 20)
    assert (policy.output, policy.output_bytes) == ("1M", 1 << 20)
    assert (policy.result, policy.result_bytes) == ("64M", 64 << 20)
    assert policy.packages == "environment"
    assert policy.preload == ()
    assert policy.env == {}


@pytest.mark.parametrize(
    ("size", "count"),
    [
        (1024, 1024),
        ("1024", 1024),
        ("1024B", 1024),
        ("1K", 1 << 10),
        ("1k", 1 << 10),
        ("2KB", 2 << 10),
        ("2KiB", 2 << 10),
        ("3M", 3 << 20),
        ("3mb", 3 << 20),
        ("4G", 4 << 30),
        ("4GiB", 4 << 30),
        ("1T", 1 << 40),
    ],
)
def test_sizes_are_bytes_or_have_a_binary_suffix(size, count):
    assert size_in_bytes(size) == count


@pytest.mark.parametrize(
    "size",
    ["", "M", "1.5G", "-1M", "+1M", "1 M", " 1M", "1_0M", "1X", "1MM", "1Bi",
     "1I", "\u0661M", "1\0M", "9" * 5000, "1M\n"],
)  # fmt: skip
def test_a_malformed_size_is_refused(size):
    message = refusal(memory=size)
    assert message.startswith("memory must be a whole number of bytes")
    assert len(message) < 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory", "15M"),
        ("memory", 0),
        ("memory", -1),
        ("memory", "1025T"),
        pytest.param("memory", 10**5000, id="huge"),
        ("scratch", "63K"),
        ("output", 0),
        ("result", "1K"),
    ],
)
def test_a_size_out_of_range_is_refused_with_the_range(field, value):
    message = refusal(**{field: value})
    assert message.startswith(f"{field} must be ")
    assert "from " in message
    assert " to 1024T, not " in message


@pytest.mark.parametrize(
    "value",
    [0, 0.0, -1, -0.5, math.nan, math.inf, -math.inf, 1e300, HUGE],
)
def test_a_timeout_that_is_no_span_of_time_is_refused(value):
    assert "more than 0 and at most" in refusal(timeout=value)


@pytest.mark.parametrize("value", [True, "10", None, [1], 1j, LyingInt(5)])
def test_a_timeout_that_is_no_number_is_refused(value):
    assert "timeout must be a number of seconds" in refusal(timeout=value)


def test_a_queue_timeout_may_be_0():
    assert Policy(queue_timeout=0).queue_timeout == 0.0


@pytest.mark.parametrize("value", [-1, -1e-9, math.nan, math.inf, HUGE])
def test_a_queue_timeout_that_is_no_span_of_time_is_refused(value):
    assert "at least 0 and at most" in refusal(queue_timeout=value)


def test_a_timeout_becomes_a_float():
    assert type(Policy(timeout=3).timeout) is float
    assert Policy(timeout=3) == Policy(timeout=3.0)


@pytest.mark.parametrize("value", [True, "4", 4.0, b"4", LyingInt(4)])
def test_threads_that_are_no_int_are_refused(value):
    assert "threads must be an int" in refusal(threads=value)


@pytest.mark.parametrize("value", [-1, 32769, HUGE])
def test_threads_out_of_range_are_refused(value):
    assert "threads must be from 0 to 32768" in refusal(threads=value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory", LyingInt(2**30)),
        ("memory", LyingStr("512M")),
        ("memory", Size.BIG),
        ("memory", True),
        ("memory", 1e9),
        ("packages", LyingStr("everything")),
        ("preload", LyingStr("numpy")),
        ("preload", (LyingStr("numpy"),)),
        ("env", LyingDict(LD_PRELOAD="x")),
        ("env", MappingProxyType(LyingDict())),
        ("env", {LyingStr("A"): "1"}),
        ("env", {"A": LyingStr("1")}),
    ],
)
def test_what_claims_to_be_a_type_does_not_pass_as_it(field, value):
    if type(value) is MappingProxyType:
        assert Policy(env=value).env == {"A": "1"}
    else:
        assert field in refusal(**{field: value})


def test_only_the_environment_can_be_the_packages():
    assert refusal(packages="all") == (
        "packages must be 'environment', not 'all'"
    )


@pytest.mark.parametrize("preload", [("numpy",), ["numpy"]])
def test_preload_becomes_a_tuple(preload):
    assert Policy(preload=preload).preload == ("numpy",)


def test_preload_takes_submodules():
    assert Policy(preload=("os.path", "_x1")).preload == ("os.path", "_x1")


@pytest.mark.parametrize(
    "name",
    ["", ".", "a.", ".a", "a..b", "a,b", "a b", "a\0", "a/b", "1a", "\ud800"],
)
def test_preload_refuses_what_is_no_module_name(name):
    assert "preload must hold module names" in refusal(preload=(name,))


@pytest.mark.parametrize("value", ["numpy", None, {"numpy"}, {"numpy": 1}])
def test_preload_refuses_what_is_no_tuple_or_list(value):
    assert 'such as ("numpy",)' in refusal(preload=value)


def test_env_is_read_only_and_sorted():
    given_env = {"B": "2", "A": "1=="}
    policy = Policy(env=given_env)
    given_env["C"] = "3"
    assert list(policy.env.items()) == [("A", "1=="), ("B", "2")]
    with pytest.raises(TypeError):
        policy.env["A"] = "2"
    assert policy == Policy(env={"A": "1==", "B": "2"})


@pytest.mark.parametrize(
    "env",
    [
        {"": "x"},
        {"A=B": "x"},
        {"A\0": "x"},
        {"A": "x\0"},
        {"A": "\ud800"},
        {"A": 1},
        {1: "A"},
        [("A", "x")],
        None,
    ],
)
def test_env_refuses_what_no_environment_can_hold(env):
    assert refusal(env=env).startswith("env must ")


def test_env_keeps_bytes_that_are_not_utf8():
    assert Policy(env={"A": "\udcff"}).env == {"A": "\udcff"}


def test_an_unknown_field_is_named_with_the_nearest():
    message = refusal(time_out=3)
    assert message == (
        "a policy has no field 'time_out'; did you mean 'timeout'?"
    )


@pytest.mark.parametrize("name", ["network", "sandboxed", "_env"])
def test_an_unknown_field_is_refused_with_all_that_are_known(name):
    message = refusal(**{name: ()})
    assert message.startswith(f"a policy has no field {name!r}")
    assert "env" in message


def test_fields_are_keyword_only():
    with pytest.raises(TypeError):
        Policy(10.0)


def test_a_policy_cannot_be_changed():
    policy = Policy()
    for change in (
        lambda: setattr(policy, "timeout", 1e9),
        lambda: setattr(policy, "new", 1),
        lambda: delattr(policy, "timeout"),
    ):
        with pytest.raises(AttributeError):
            change()
    assert policy == Policy()


def test_replace_gives_a_validated_copy():
    policy = Policy(memory="1G", env={"A": "1"}, preload=["json"])
    changed = policy.replace(timeout=2)
    assert changed == Policy(
        timeout=2, memory="1G", env={"A": "1"}, preload=["json"]
    )
    assert policy.timeout == 10.0
    with pytest.raises(PolicyError):
        policy.replace(timeout=-1)
    with pytest.raises(PolicyError, match="did you mean 'timeout'"):
        policy.replace(timeouts=1)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="new in 3.13")
def test_copy_replace_works():
    assert copy.replace(Policy(), threads=1) == Policy(threads=1)


def test_equal_policies_hash_alike_and_others_differ():
    policy = Policy(env={"B": "2", "A": "1"})
    same = Policy(env={"A": "1", "B": "2"})
    assert (policy, hash(policy)) == (same, hash(same))
    assert policy != Policy()
    assert policy != "policy"


def test_a_policy_pickles_and_copies():
    policy = Policy(env={"A": "1"}, preload=("json",))
    assert pickle.loads(pickle.dumps(policy)) == policy
    assert copy.deepcopy(policy) == policy


def test_repr_shows_every_field():
    assert repr(Policy(env={"A": "1"})) == (
        "Policy(timeout=10.0, cpu_time=None, queue_timeout=60.0, "
        "memory='512M', threads=16, processes=0, scratch='64M', "
        "output='1M', output_action='drop', result='64M', "
        "packages='environment', preload=(), "
        "env=mappingproxy({'A': '1'}), profile='default', require=(), "
        "start='zygote', allow_threads=False)"
    )


def test_compute_goes_with_nothing_that_it_cannot_have():
    policy = Policy(profile="compute")
    assert (policy.threads, policy.scratch_bytes) == (0, 0)
    assert Policy().replace(profile="compute") == policy
    assert policy.replace(profile="default") == Policy()
    for field, value in (
        ("threads", 1),
        ("processes", 4),
        ("scratch", "1M"),
        ("start", "fork"),
    ):
        message = refusal(profile="compute", **{field: value})
        assert f"{field}" in message
        assert "does not go with" in message


def test_require_takes_known_names_in_any_order():
    policy = Policy(require={"seccomp", "namespaces"})
    assert policy == Policy(require=["namespaces", "seccomp"])
    assert "'landlock'" in refusal(require=("lanlock",))
    assert "must be a set or tuple" in refusal(require="landlock")


def test_make_policy_applies_overrides_to_the_default():
    assert make_policy(None, {}) == Policy()
    assert make_policy(None, {"timeout": 2}) == Policy(timeout=2)


def test_make_policy_applies_overrides_to_a_policy():
    policy = Policy(memory="1G")
    assert make_policy(policy, {}) is policy
    assert make_policy(policy, {"timeout": 2}).memory == "1G"


class LyingPolicy(Policy):
    @property
    def memory_bytes(self):
        return 0


@pytest.mark.parametrize("policy", [{"timeout": 2}, "default", LyingPolicy()])
def test_make_policy_refuses_what_is_no_policy(policy):
    with pytest.raises(PolicyError, match="must be a csandbox"):
        make_policy(policy, {})


@given(st.one_of(st.integers(), st.text(), st.floats(), st.none()))
def test_any_value_is_taken_or_refused_in_bounded_words(value):
    for field in ("timeout", "memory", "threads", "packages", "preload"):
        try:
            Policy(**{field: value})
        except PolicyError as error:
            message = str(error)
        else:
            message = f"{field} must be as it is"
        assert message.startswith(f"{field} must ")
        assert len(message) < 300


def test_importing_csandbox_loads_nothing_slow():
    slow = {
        "argparse",
        "asyncio",
        "cloudpickle",
        "concurrent.futures",
        "csandbox._csandbox",
        "csandbox.cli",
        "dataclasses",
        "inspect",
        "numpy",
        "re",
        "typing",
    }
    where = str(Path(csandbox.__file__).parents[1])
    code = (
        f"import sys; sys.path.insert(0, {where!r}); import csandbox;"
        f"print({slow!r} & {{*sys.modules}})"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "set()\n", done.stderr
