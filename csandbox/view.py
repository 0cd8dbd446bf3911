"""What a run sees of the host's files, and which user it becomes.

A view is a list of (kind, source, target) for the core, in the order in
which they are placed.  Paths keep their names, so that `sys.path`, compiled
paths and the loader's cache mean the same inside as outside.
"""

from __future__ import annotations

import os
import sys
from itertools import islice

from csandbox.light import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Entry = tuple[str, str, str]

DEVICES = ("null", "zero", "full", "random", "urandom")

# Read-only for everybody on any system, and looked for by Python's modules
# or by libraries that wheels are linked with.
_DATA = (
    "/etc/ld.so.cache",
    "/etc/alternatives",  # Debian picks its BLAS there
    # The bundles alone: beside them lie certificates of this very host.
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem",
    "/usr/share/ca-certificates",
    "/usr/lib/ssl",
    "/usr/lib/locale",
    "/usr/share/zoneinfo",
)
_UIDS = 4096
_SHARED_PREFIXES = ("/", "/usr", "/usr/local")


def import_path() -> list[str]:
    """Return the entries of `sys.path` that belong to the environment.

    These are the standard library and site-packages, never the caller's
    directory, PYTHONPATH, the user's site-packages in the home directory, or
    what a .pth file added elsewhere (an editable install).
    """
    roots = {os.path.dirname(os.__file__), *_site_packages()}
    zipped = f"python{sys.version_info[0]}{sys.version_info[1]}.zip"
    paths = []
    for path in sys.path:
        if not os.path.isabs(path) or path in paths:
            continue
        inside = any(
            path == root or path.startswith(f"{root}/") for root in roots
        )
        if inside or os.path.basename(path) == zipped:
            paths.append(path)
    return paths


def environment_view(*, programs: bool = False) -> list[Entry]:
    """Return the view of `packages="environment"`.

    With `programs`, for runs that may have several processes, those of the
    system are in it, and the directory of what processes share.
    """
    wanted = [*_trees(), *(_programs() if programs else ())]
    trees = _without_nested(filter(os.path.exists, wanted))
    links = [(link, os.readlink(link)) for link in _links(programs=programs)]
    shared = [("directory", "", "/dev/shm")] if programs else []
    return [
        *(("tree", path, path) for path in trees),
        *(_shell() if programs else ()),
        *(("symlink", text, link) for link, text in links),
        *(("device", f"/dev/{name}", f"/dev/{name}") for name in DEVICES),
        *shared,
        ("directory", "", "/tmp"),
    ]


def roots(view: Iterable[Entry]) -> tuple[str, ...]:
    """Return the directories of the host that a view shows."""
    return tuple(target for kind, _, target in view if kind == "tree")


def _site_packages() -> list[str]:
    import site

    return site.getsitepackages()


def _trees() -> Iterator[str]:
    yield os.path.dirname(os.__file__)
    yield from import_path()
    for prefix in (sys.base_prefix, sys.base_exec_prefix):
        if _is_dedicated(prefix):
            yield f"{prefix}/lib"
            yield f"{prefix}/share"
    # Of a virtual environment its packages, which are in the import path:
    # its lib and share may be the project's.
    yield f"{sys.prefix}/pyvenv.cfg"
    yield from _executables()
    yield from _libraries()
    yield from _DATA


def _is_dedicated(prefix: str) -> bool:
    """Whether a prefix holds a Python installation and nothing else."""
    if os.path.normpath(prefix) in _SHARED_PREFIXES:
        return False
    inside = f"{os.path.realpath(prefix)}/"
    # A deleted working directory is in no prefix.
    with suppress(FileNotFoundError):
        if f"{os.getcwd()}/".startswith(inside):
            return False
    home = os.path.realpath(os.path.expanduser("~"))
    return not f"{home}/".startswith(inside)


def _executables() -> Iterator[str]:
    for path in (sys.executable, getattr(sys, "_base_executable", "")):
        if path:
            yield path
            yield os.path.realpath(path)


def _libraries() -> Iterator[str]:
    multiarch = getattr(sys.implementation, "_multiarch", "")
    if multiarch and os.path.isdir(f"/usr/lib/{multiarch}"):
        yield f"/usr/lib/{multiarch}"
        yield from _unless_link(f"/lib/{multiarch}")
    else:
        yield "/usr/lib"
        yield from _unless_link("/lib")
    yield "/usr/lib64"
    yield from _unless_link("/lib64")
    yield "/usr/local/lib"


def _shell() -> list[Entry]:
    """Have bash in the place of a dash that is sh.

    A fork of the guest waits for the host, and when a signal interrupts it
    dash gives up: the end of one program of a pipe, as it starts the next.
    """
    shell, bash = os.path.realpath("/bin/sh"), "/usr/bin/bash"
    if os.path.basename(shell) != "dash" or not os.path.isfile(bash):
        return []
    return [("tree", bash, shell)]


def _programs() -> Iterator[str]:
    yield "/usr/bin"
    if not os.path.islink("/bin"):
        yield "/bin"


def _links(*, programs: bool) -> list[str]:
    paths = ["/lib", "/lib64", *(["/bin"] if programs else ())]
    return [path for path in paths if os.path.islink(path)]


def _unless_link(path: str) -> list[str]:
    """Return the path, unless it is below a link that the view has too."""
    return [] if os.path.islink("/" + path.split("/")[1]) else [path]


def _without_nested(paths: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for path in sorted(map(os.path.abspath, paths)):
        if not kept or not f"{path}/".startswith(f"{kept[-1]}/"):
            kept.append(path)
    return kept


def unused_uid() -> int:
    """Return a user id of this user namespace that nobody has.

    From the range that systemd leaves free for nobody at all, or, where only
    few ids are mapped (a container with a user namespace), below nobody's.
    """
    return next(_unused_uids(), 65533)


def unused_uids() -> tuple[int, ...]:
    """Return several such ids."""
    return tuple(islice(_unused_uids(), _UIDS))


def _unused_uids() -> Iterator[int]:
    mapped = list(_ranges("/proc/self/uid_map"))
    taken = [*_passwd_ids(), *_subordinate_ids()]
    for candidate in (
        *range(2147420000, 2147420000 + _UIDS),
        *range(65533, 60000, -1),
    ):
        in_map = any(start <= candidate < start + n for start, n in mapped)
        free = all(not start <= candidate < start + n for start, n in taken)
        if in_map and free:
            yield candidate


def _ranges(path: str) -> Iterator[tuple[int, int]]:
    with open(path) as file:
        for line in file:
            start, _, count = line.split()
            yield int(start), int(count)


def _records(path: str) -> Iterator[list[str]]:
    try:
        with open(path, errors="replace") as file:
            for line in file:
                yield line.strip().split(":")
    except OSError:
        return


def _passwd_ids() -> Iterator[tuple[int, int]]:
    for record in _records("/etc/passwd"):
        if len(record) > 2 and record[2].isdecimal():
            yield int(record[2]), 1


def _subordinate_ids() -> Iterator[tuple[int, int]]:
    for record in _records("/etc/subuid"):
        if (
            len(record) == 3
            and record[1].isdecimal()
            and record[2].isdecimal()
        ):
            yield int(record[1]), int(record[2])
