"""What a caller asks for: one immutable, validated object.

Values are checked by exact type, so that an object which only claims to be
a string or a number cannot read one way here and another way later.
"""

from __future__ import annotations

import os
from time import monotonic
from types import MappingProxyType

from csandbox.errors import PolicyError
from csandbox.result import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any, Never

YEAR = 366 * 24 * 3600  # seconds

_SUFFIXES = {"": 0, "B": 0}
for _shift, _letter in enumerate("KMGT", start=1):
    for _unit in (_letter, f"{_letter}B", f"{_letter}IB"):
        _SUFFIXES[_unit] = 10 * _shift


# What these fields are unless given, by profile.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "default": {"threads": 16, "scratch": "64M"},
    "compute": {"threads": 0, "scratch": 0},
}

# What `require` may name: mechanisms that not every kernel has.
REQUIRABLE = ("namespaces", "landlock", "seccomp", "notify", "cgroup", "uid")


class Policy(Record):
    """What a run may use; frozen, hashable, validated when it is built.

    A size is a number of bytes or a string such as "512M": a whole number
    followed by K, M, G or T, powers of 1024; KB and KiB mean K.  It stays
    as it was given, and `memory_bytes` and the like give it in bytes.

    timeout   seconds that a run may take, 10.0; at most a year
    cpu_time  seconds of processors that it may use, those of all threads
              together, None: as many as `timeout`
    queue_timeout  seconds that a run may wait before, for a free place among
              the cells of this process (see set_capacity), 60.0; 0 does not
              wait; at most a year
    memory    size of what it may hold at once beyond what it begins with, in
              whichever way: objects, mappings, files in /tmp, page tables;
              "512M"; at least 16M
    threads   threads beside the first, 16, or 0 with profile="compute"; 0 to
              32768; their stacks take a
              quarter of `memory` at the most; with `processes`, those of all
              processes together, and what is left of `processes` besides
    processes  child processes that may be alive at once, 0; to 128.  With
              some, the programs of /usr/bin can be executed, and /dev/shm is
              there, in the same space as /tmp
    scratch   size of the private /tmp, "64M", or 0 with profile="compute"; at
              least 64K, or 0 for none: then no file can be made
    output    size kept of stdout and of stderr, each, "1M"; at least 1K
    output_action  what becomes of a run that writes more: "drop", it goes
              on, and what is beyond is counted and thrown away; or "kill", it
              ends with OutputLimitError
    result    size of the value on its way back, "64M"; at least 4K; in the
              caller's memory it may take eight times that, or 64M
    packages  what can be imported, "environment": the standard library and
              the packages of this environment
    preload   names of modules to import before any run, such as ("numpy",)
    env       environment variables of the guest, {}; it gets no others
    profile   "default": ordinary Python, which sees the installation and may
              write to /tmp; or "compute": modules are imported before, those
              of `preload` and the common ones, and then no file can be
              opened, no thread or process started: the fewest system calls
              that Python can compute, print and return with.  Functions of
              ctypes that are called back, ZoneInfo(), and a TZ in `env` that
              is the name of a file do not work there
    require   names of mechanisms without which a run is refused, (), even if
              others give the same guarantees here: "namespaces", "landlock",
              "seccomp", "notify", "cgroup", "uid"
    start     what the guest is forked from: "zygote", a fresh Python that
              knows nothing of the caller; or "fork", the caller itself, so
              that functions, inputs and arguments are used as they are,
              uncopied, but then **the guest can read all of the caller's
              memory**: keys, passwords, what other users sent
    allow_threads  whether start="fork" may fork a caller that has several
              threads, False: what one of them has locked at that moment
              stays locked in the guest, which may wait for it until its
              timeout

    A field that does not exist or is not valid raises PolicyError, which
    says what to write instead.
    """

    __slots__ = ("_terms",)  # what runs make of it: no part of its value

    timeout: float
    cpu_time: float | None
    queue_timeout: float
    memory: int | str
    threads: int
    processes: int
    scratch: int | str
    output: int | str
    output_action: str
    result: int | str
    packages: str
    preload: tuple[str, ...]
    _env: tuple[tuple[str, str], ...]
    profile: str
    require: tuple[str, ...]
    start: str
    allow_threads: bool

    def __init__(
        self,
        *,
        timeout: float = 10.0,
        cpu_time: float | None = None,
        queue_timeout: float = 60.0,
        memory: int | str = "512M",
        threads: int | None = None,
        processes: int = 0,
        scratch: int | str | None = None,
        output: int | str = "1M",
        output_action: str = "drop",
        result: int | str = "64M",
        packages: str = "environment",
        preload: Sequence[str] = (),
        env: Mapping[str, str] = MappingProxyType({}),
        profile: str = "default",
        require: Collection[str] = (),
        start: str = "zygote",
        allow_threads: bool = False,
        **unknown: Never,
    ) -> None:
        for name in unknown:
            raise PolicyError(_unknown_field(name))
        defaults = _DEFAULTS[_choice("profile", profile, tuple(_DEFAULTS))]
        if threads is None:
            threads = defaults["threads"]
        if scratch is None:
            scratch = defaults["scratch"]
        vars(self).update(
            timeout=_seconds("timeout", timeout),
            cpu_time=_cpu_time("cpu_time", cpu_time),
            queue_timeout=_seconds("queue_timeout", queue_timeout, zero=True),
            memory=_size("memory", memory, least="16M"),
            threads=_count("threads", threads, most=32768),
            processes=_count("processes", processes, most=128),
            scratch=_size("scratch", scratch, least="64K", zero=True),
            output=_size("output", output, least="1K"),
            output_action=_choice(
                "output_action", output_action, ("drop", "kill")
            ),
            result=_size("result", result, least="4K"),
            packages=_choice("packages", packages, ("environment",)),
            preload=_modules("preload", preload),
            _env=_environment("env", env),
            profile=profile,
            require=_names("require", require, REQUIRABLE),
            start=_choice("start", start, ("zygote", "fork")),
            allow_threads=_truth("allow_threads", allow_threads),
        )
        if profile == "compute":
            self._check_compute()
        if self.start == "fork" and self.preload:
            raise PolicyError(
                'preload does not go with start="fork", whose guest has '
                "what its caller has imported: import it in the caller"
            )

    def _check_compute(self) -> None:
        for name in ("threads", "processes", "scratch_bytes"):
            if getattr(self, name):
                raise PolicyError(
                    f"{name.partition('_')[0]} does not go with "
                    'profile="compute", which has but memory to compute in: '
                    'leave it out, or take profile="default"'
                )
        if self.start == "fork":
            raise PolicyError(
                'start="fork" does not go with profile="compute"'
            )
        zone = self.env.get("TZ", "UTC")
        if not _is_rule_of_time(zone):
            raise PolicyError(
                "TZ must be UTC or a rule such as CET-1CEST,M3.5.0,M10.5.0/3 "
                f'with profile="compute", which opens no file, not {zone!r}'
            )

    def __getstate__(self) -> dict[str, Any]:
        return vars(self)

    def replace(self, **changes: Any) -> Policy:
        """Return a policy like this one but for the fields given.

        With another profile, what has the old one's default gets the new
        one's.
        """
        fields = {name: getattr(self, name) for name in self._fields}
        if changes.get("profile", self.profile) != self.profile:
            for name, default in _DEFAULTS[self.profile].items():
                if fields[name] == default:
                    del fields[name]
        return Policy(**{**fields, **changes})

    __replace__ = replace

    @property
    def env(self) -> Mapping[str, str]:
        """The guest's environment variables, read-only, sorted by name."""
        return MappingProxyType(dict(self._env))

    @property
    def cpu_seconds(self) -> float:
        """`cpu_time`, or what it is when it is None."""
        return self.timeout if self.cpu_time is None else self.cpu_time

    @property
    def library_threads(self) -> int:
        """How many threads a library such as OpenBLAS may well start.

        As many as there are processors, unless the limits are too narrow for
        that: each has a stack, and buffers of tens of MiB.
        """
        share = (self.threads + 1) // (self.processes + 1)
        return max(1, min(cores(), share, self.memory_bytes >> 27))

    @property
    def memory_bytes(self) -> int:
        """`memory` in bytes."""
        return size_in_bytes(self.memory)

    @property
    def scratch_bytes(self) -> int:
        """`scratch` in bytes."""
        return size_in_bytes(self.scratch)

    @property
    def output_bytes(self) -> int:
        """`output` in bytes."""
        return size_in_bytes(self.output)

    @property
    def result_bytes(self) -> int:
        """`result` in bytes."""
        return size_in_bytes(self.result)


Policy._fields = tuple(Policy.__init__.__kwdefaults__ or ())


def make_policy(policy: Policy | None, overrides: dict[str, Any]) -> Policy:
    """Return `policy`, or the default one, changed by `overrides`."""
    if policy is None:
        policy = _DEFAULT
    elif type(policy) is not Policy:
        raise PolicyError(
            f"policy must be a csandbox.Policy, not {_type_name(policy)}; "
            "from a dict, write csandbox.Policy(**fields)"
        )
    return policy.replace(**overrides) if overrides else policy


_cores_seen = (0, -1.0)  # how many, and when


def cores() -> int:
    """Return how many processors this process may use, or did a second ago."""
    global _cores_seen
    count, when = _cores_seen
    now = monotonic()
    if now - when > 1.0 or not count:
        count = len(os.sched_getaffinity(0))
        _cores_seen = count, now
    return count


def size_in_bytes(size: int | str) -> int:
    """Return the bytes of a size such as 1024 or "1K"; ValueError if none."""
    if isinstance(size, int):
        return size
    text = size.upper() if size.isascii() else ""
    number = text.rstrip("BIKMGT")
    shift = _SUFFIXES.get(text[len(number) :])
    # A length, because int() of a very long string takes very long.
    if shift is None or not number.isdecimal() or len(number) > 20:
        raise ValueError(size)
    return int(number) << shift


def _is_rule_of_time(zone: str) -> bool:
    """Whether a TZ is none that stands for a file, as Europe/Paris and CET."""
    if zone in ("", "UTC", "GMT"):
        return True
    import re

    return bool(re.fullmatch(r"(<[^>]+>|[A-Za-z]{3,})[+-]?\d.*", zone))


def _type_name(value: object) -> str:
    return type(value).__name__


def shown(value: object) -> str:
    """Return a short repr of a value that may be anything."""
    if type(value) is str:
        return repr(value[:40])
    if type(value) is float:
        return repr(value)
    if type(value) is int:
        # Python refuses to print the digits of a very large one.
        bits = value.bit_length()
        return repr(value) if bits <= 64 else f"a number of {bits} bits"
    return f"an object of type {_type_name(value)}"


# Parameters of run and execute, which take fields of a policy beside them.
_OF_RUN = ("args", "kwargs", "inputs", "outputs", "stdin", "on_unsupported")


def _unknown_field(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, [*Policy._fields, *_OF_RUN], n=1)
    if near:
        return f"a policy has no field {name!r}; did you mean {near[0]!r}?"
    known = ", ".join(Policy._fields)
    return f"a policy has no field {name!r}; it has {known}"


def _seconds(name: str, value: object, *, zero: bool = False) -> float:
    if type(value) is not float and type(value) is not int:
        raise PolicyError(
            f"{name} must be a number of seconds, an int or a float, "
            f"not {_type_name(value)}"
        )
    if not 0 <= value <= YEAR or (value == 0 and not zero):
        least = "at least 0" if zero else "more than 0"
        raise PolicyError(
            f"{name} must be {least} and at most {YEAR} seconds (a year), "
            f"not {shown(value)}"
        )
    return float(value)


def _cpu_time(name: str, value: object) -> float | None:
    return None if value is None else _seconds(name, value)


def _count(name: str, value: object, *, most: int) -> int:
    if type(value) is not int:
        raise PolicyError(f"{name} must be an int, not {_type_name(value)}")
    if not 0 <= value <= most:
        raise PolicyError(
            f"{name} must be from 0 to {most}, not {shown(value)}"
        )
    return value


def _size(
    name: str, value: object, *, least: str, zero: bool = False
) -> int | str:
    if type(value) is not int and type(value) is not str:
        raise PolicyError(
            f"{name} must be a number of bytes or a string such as "
            f'"{least}", not {_type_name(value)}'
        )
    try:
        size = size_in_bytes(value)
    except ValueError:
        raise PolicyError(
            f"{name} must be a whole number of bytes, or one with K, M, G "
            f'or T after it such as "{least}", not {shown(value)}'
        ) from None
    if zero and size == 0:
        return value
    if not size_in_bytes(least) <= size <= size_in_bytes("1024T"):
        none = "0, or " if zero else ""
        raise PolicyError(
            f"{name} must be {none}from {least} to 1024T, not {shown(value)}"
        )
    return value


def _choice(name: str, value: object, choices: Sequence[str]) -> str:
    if type(value) is not str or value not in choices:
        known = " or ".join(map(repr, choices))
        raise PolicyError(f"{name} must be {known}, not {shown(value)}")
    return value


def _truth(name: str, value: object) -> bool:
    if type(value) is not bool:
        raise PolicyError(f"{name} must be True or False, not {shown(value)}")
    return value


def _modules(name: str, value: object) -> tuple[str, ...]:
    if type(value) is not tuple and type(value) is not list:
        raise PolicyError(
            f"{name} must be a tuple or list of module names, "
            f'such as ("numpy",), not {_type_name(value)}'
        )
    modules = tuple(value)
    for module in modules:
        if type(module) is not str:
            raise PolicyError(
                f"{name} must hold module names, not {_type_name(module)}"
            )
        if not all(part.isidentifier() for part in module.split(".")):
            raise PolicyError(
                f"{name} must hold module names such as "
                f'"numpy" or "os.path", not {shown(module)}'
            )
    return modules


def _names(name: str, value: object, known: Sequence[str]) -> tuple[str, ...]:
    if type(value) not in (tuple, list, set, frozenset):
        raise PolicyError(
            f"{name} must be a set or tuple of names, such as "
            f'("{known[0]}",), not {_type_name(value)}'
        )
    names: list[str] = []
    for each in value:  # type: ignore[attr-defined]  # one of those above
        if type(each) is not str or each not in known:
            choices = ", ".join(map(repr, known))
            raise PolicyError(
                f"{name} must hold some of {choices}, not {shown(each)}"
            )
        names.append(each)
    return tuple(sorted({*names}))


def _environment(name: str, value: object) -> tuple[tuple[str, str], ...]:
    if type(value) is not dict and type(value) is not MappingProxyType:
        raise PolicyError(
            f"{name} must be a dict of names and values, "
            f"not {_type_name(value)}"
        )
    pairs = tuple(value.items())
    for pair in pairs:
        for text in pair:
            _check_environment_text(name, text)
        if not pair[0] or "=" in pair[0]:
            raise PolicyError(
                f'{name} must have names that are not empty and have no "=" '
                f"in them, not {shown(pair[0])}"
            )
    return tuple(sorted(pairs))


def _check_environment_text(name: str, text: object) -> None:
    if type(text) is not str:
        raise PolicyError(
            f"{name} must have names and values of type str, "
            f"not {_type_name(text)}"
        )
    if "\0" in text:
        raise PolicyError(f"{name} must not hold a NUL, as {shown(text)} does")
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise PolicyError(
            f"{name} must hold text that UTF-8 can encode, not {shown(text)}"
        ) from None


_DEFAULT = Policy()
