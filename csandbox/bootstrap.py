"""What a zygote executes first: Python's command line, and its own loader.

The files of the guest's side are read before the package's directory
disappears from view, and compiled once, as Python compiles any module of the
package: the byte code lies in its __pycache__, where it counts if it is of
the source as that is now.  Where there is none, and none may be written, they
are compiled at each start.
"""

from __future__ import annotations

import os
import sys

from csandbox import _csandbox
from csandbox.view import import_path

# In one namespace: the first, with what most jobs need, then the others, in
# this order.
FIRST_FILE = "_guest_first.py"
GUEST_FILES = (
    "_guest_errors.py",
    "_guest_mmap.py",
    "_guest_ready.py",
    "_guest_store.py",
    "_guest_tried.py",
    "_guest_end.py",
    "_guest_heavy.py",
    "_guest_wait.py",
    "_guest.py",
)
COMPUTE_FILE = "_guest_compute.py"  # after those, if it is all they do
VALUES_FILE = "_guest_values.py"

# Beyond the policy's env: what programs cannot do without.
ENVIRONMENT = {
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
}

# With -I -S -B the zygote reads no variable, directory or .pth file that
# could be the caller's; what site would do is done by the guest's furnish().
FLAGS = ("-I", "-S", "-B", "-X", "utf8")
_TEXT = """\
import builtins, marshal, sys
from posix import stat
from _frozen_importlib import ModuleSpec, module_from_spec
from _frozen_importlib_external import (
    MAGIC_NUMBER, ExtensionFileLoader, SourceFileLoader, cache_from_source)
def _code(name):
    path = {here!r} + "/" + name
    loader = SourceFileLoader(name, path)
    info = stat(path)
    head = MAGIC_NUMBER + b"\\0\\0\\0\\0" + b"".join(
        (int(each) & 0xFFFFFFFF).to_bytes(4, "little")
        for each in (info.st_mtime, info.st_size))
    try:
        data = loader.get_data(cache_from_source(path))
    except OSError:
        data = b""
    if data.startswith(head):
        return data[len(head):]
    return marshal.dumps(loader.get_code(name))
sys.path[:] = {path!r}
sys.prefix, sys.exec_prefix = {prefix!r}, {exec_prefix!r}
_loader = ExtensionFileLoader("csandbox._csandbox", {core!r})
_spec = ModuleSpec("csandbox._csandbox", _loader, origin={core!r})
_core = module_from_spec(_spec)
_loader.exec_module(_core)
_guest = {{"__name__": "csandbox_guest", "__builtins__": {{**vars(builtins)}}}}
sys.dont_write_bytecode, sys.pycache_prefix = {dry!r}, {prefix_of_caches!r}
exec(marshal.loads(_code({first!r})), _guest)
_guest.update(
    CORE=_core, ENVIRONMENT={environment!r}, VALUES=_code({values!r}),
    REST=[*map(_code, {rest!r})], WHOLE={whole!r})
sys.dont_write_bytecode, sys.pycache_prefix = True, None
_names = "begin", "improve", "rehearse_as_cell"
_guest["enter"](_core.serve(*map(_guest.get, _names)))
"""


def text(*, compute: bool = False) -> str:
    """Return the source that a zygote executes."""
    own = (COMPUTE_FILE,) if compute else ()
    return _TEXT.format(
        path=import_path(),
        prefix=sys.prefix,
        exec_prefix=sys.exec_prefix,
        core=os.path.abspath(_csandbox.__file__),
        here=os.path.dirname(os.path.abspath(__file__)),
        dry=sys.dont_write_bytecode,
        prefix_of_caches=sys.pycache_prefix,
        first=FIRST_FILE,
        rest=(*GUEST_FILES, *own),
        whole=compute,
        values=VALUES_FILE,
        environment=ENVIRONMENT,
    )
