# The C core of csandbox.  Not a public interface.

from collections.abc import Callable
from typing import Any, Final, Self, final

from typing_extensions import Buffer

CELL_JOB: Final[int]
CELL_RESULT: Final[int]
FRAME_ERROR: Final[int]
FRAME_JOB: Final[int]
FRAME_MAGIC: Final[int]
FRAME_UNSUPPORTED: Final[int]
FRAME_VALUE: Final[int]
MECHANISMS: Final[dict[str, int]]
SANITIZED: Final[bool]
STEPS: Final[tuple[str, ...]]

class SetupError(Exception): ...

@final
class Zygote:
    def __new__(cls, argv: list[str], env: list[str], plan: bytes) -> Self: ...
    @property
    def alive(self) -> bool: ...
    @property
    def pid(self) -> int: ...
    def launch(self) -> None: ...
    def fork(
        self, settle: Callable[[], object], main: Callable[[], object], /
    ) -> None: ...
    def boot(self, timeout: float, /) -> None: ...
    def start(
        self,
        *,
        memory: int,
        scratch: int,
        inodes: int,
        threads: int,
        descriptors: int,
        cpu_seconds: int,
    ) -> Run: ...
    def close(self) -> None: ...

@final
class Run:
    def communicate(
        self,
        job: Buffer,
        input: Buffer,
        *,
        timeout: float,
        setup_timeout: float,
        output: int,
        result: int,
        signals: bool,
        sink: Callable[[int, bytes], object] | None,
    ) -> dict[str, Any]: ...
    def kill(self) -> None: ...
    def close(self) -> None: ...

def build_plan(
    view: list[tuple[str, str, str]],
    preload: str,
    uid: int,
    mechanisms: int,
    fault: tuple[str, int] | None = None,
) -> bytes: ...
def decode(
    data: Buffer,
    /,
    *,
    items: int = 10_000_000,
    depth: int = 1000,
    memory: int = 1073741824,
) -> Any: ...
def fork_began() -> None: ...
def fork_begins() -> None: ...
def fork_ends() -> None: ...
def is_root() -> bool: ...
def serve(preload: Callable[[str], object], /) -> None: ...
def syscalls() -> list[tuple[str, str, str, int]]: ...
