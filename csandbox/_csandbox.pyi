# The C core of csandbox.  Not a public interface.

import sys
from collections.abc import Callable
from typing import Any, Final, Self, final

from typing_extensions import Buffer

CELL_INPUTS: Final[int]
CELL_JOB: Final[int]
CELL_RESULT: Final[int]
CELL_STORE: Final[int]
CGROUP: Final[int]
FRAME_ERROR: Final[int]
FRAME_INLINE: Final[int]
FRAME_JOB: Final[int]
FRAME_MAGIC: Final[int]
FRAME_RESERVE: Final[int]
FRAME_UNSUPPORTED: Final[int]
FRAME_VALUE: Final[int]
INPUTS_ARMED: Final[int]
MECHANISMS: Final[dict[str, int]]
NOTIFY: Final[int]
SANITIZED: Final[bool]
STEPS: Final[tuple[str, ...]]
UID: Final[int]

class SetupError(Exception): ...

@final
class Zygote:
    def __new__(
        cls,
        argv: list[str],
        env: list[str],
        mechanisms: int,
        fault: tuple[str, int] | None = None,
    ) -> Self: ...
    @property
    def alive(self) -> bool: ...
    @property
    def pid(self) -> int: ...
    @property
    def born(self) -> float: ...
    @property
    def used(self) -> float: ...
    @property
    def runs(self) -> int: ...
    def launch(self) -> None: ...
    def fork(
        self, settle: Callable[[], object], main: Callable[[], object], /
    ) -> None: ...
    def take_plan(self, plan: bytes, /) -> None: ...
    def boot(self, timeout: float, /) -> None: ...
    def advance(self) -> bool: ...
    def start(
        self,
        *,
        memory: int,
        scratch: int,
        inodes: int,
        threads: int,
        processes: int,
        descriptors: int,
        cpu_seconds: int,
        store: int,
        inputs: Inputs | None,
        leaf: tuple[int, str] | None,
        place: tuple[int, int, str, str] | None,
    ) -> Run: ...
    def close(self) -> None: ...

@final
class Inputs:
    def __new__(cls) -> Self: ...
    def write(self, parts: list[tuple[int, Buffer]], /) -> None: ...
    def close(self) -> None: ...

@final
class Region:
    if sys.version_info >= (3, 12):
        def __buffer__(self, flags: int, /) -> memoryview: ...

    def __len__(self) -> int: ...

@final
class Run:
    def communicate(
        self,
        job: Buffer,
        input: Buffer,
        *,
        timeout: float,
        setup_timeout: float,
        cpu_time: float,
        memory: int,
        tasks: int,
        processes: int,
        output: int,
        output_kills: bool,
        result: int,
        required: int,
        signals: bool,
        sink: Callable[[int, bytes], object] | None,
        successor: bool,
        hurried: bool,
    ) -> dict[str, Any]: ...
    def kill(self) -> None: ...
    @property
    def ready(self) -> bool: ...
    def successor(self) -> Run | None: ...
    def take_inputs(self, parts: list[tuple[int, Buffer]], /) -> None: ...
    def waits(self) -> bool: ...
    def close(self) -> None: ...

@final
class Places:
    def __new__(cls, cells: int, /) -> Self: ...
    @property
    def cells(self) -> int: ...
    @property
    def alive(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def closed(self) -> bool: ...
    def enter(self, timeout: float, signals: bool, /) -> Place | None: ...
    def resize(self, cells: int, /) -> None: ...
    def close(self) -> list[int]: ...
    def fork_began(self) -> None: ...

@final
class Place:
    def release(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exception: object) -> None: ...

def build_plan(
    view: list[tuple[str, str, str]],
    preload: str,
    uid: int,
    mechanisms: int,
    fault: tuple[str, int] | None = None,
    several: bool = False,
    compute: bool = False,
) -> bytes: ...
def decode(
    data: Buffer,
    /,
    *,
    region: Buffer | None = None,
    items: int = 10_000_000,
    depth: int = 1000,
    memory: int = 1073741824,
) -> Any: ...
def await_input(fd: int, seconds: int, /) -> bool: ...
def fill(store: int, job: int, parts: list[tuple[int, Buffer]], /) -> None: ...
def check_receipt(
    mechanisms: int, host: dict[str, int], receipt: dict[str, int], /
) -> str: ...
def clear_directory(base: int, name: str, /) -> None: ...
def fork_began() -> None: ...
def fork_begins() -> None: ...
def fork_ends() -> None: ...
def is_root() -> bool: ...
def open_region(fd: int, size: int, /) -> Region: ...
def refuse_files() -> None: ...
def serve(
    preload: Callable[[str | None], object],
    settle: Callable[[int], bool],
    rehearse: Callable[[], object],
    /,
) -> bool: ...
def syscalls(
    several: bool = False, compute: bool = False, bare: bool = False, /
) -> list[tuple[str, str, str, int]]: ...
def try_cgroup(base: int, /) -> None: ...
