"""Anonymous memory that is shared, inside: part of the guest's side.

The kernel keeps the pages of a shared mapping until the last piece of it is
unmapped, and counts them nowhere that a limit could stand, so the filter
refuses it.  In a process that has no other to share it with, private memory is
the same; where there can be others, a file of /dev/shm is, which counts as
such.  Loaded with _guest.py, and like that not trusted.
"""

import mmap as _mmap_module
import os
from errno import ENOMEM

_SHARED, _PRIVATE = _mmap_module.MAP_SHARED, _mmap_module.MAP_PRIVATE
_BOTH = _mmap_module.PROT_READ | _mmap_module.PROT_WRITE
_PROTECTIONS = {
    _mmap_module.ACCESS_READ: _mmap_module.PROT_READ,
    _mmap_module.ACCESS_WRITE: _BOTH,
}
_SPACE = "/dev/shm"


class _Mapping(_mmap_module.mmap):
    __doc__ = _mmap_module.mmap.__doc__

    def __new__(
        cls,
        fileno,
        length,
        flags=_SHARED,
        prot=_BOTH,
        access=_mmap_module.ACCESS_DEFAULT,
        offset=0,
        **options,
    ):
        new = super().__new__
        given = {"access": access} if access else {}
        if fileno == -1:
            if access in _PROTECTIONS and (flags, prot) == (_SHARED, _BOTH):
                given, prot = {}, _PROTECTIONS[access]
            if not given and flags & _SHARED:
                if os.path.isdir(_SPACE):
                    return _in_a_file(new, cls, length, flags, prot)
                flags = flags & ~_SHARED | _PRIVATE
        if not given or (flags, prot) != (_SHARED, _BOTH):
            given.update(flags=flags, prot=prot)  # both: it says what is wrong
        return new(cls, fileno, length, offset=offset, **given, **options)


def _in_a_file(new, cls, length, flags, prot):
    """Map a nameless file, if there is room: to touch more is to die."""
    room = os.statvfs(_SPACE)
    none = room.f_flag & os.ST_RDONLY  # with scratch=0
    if none or length > room.f_bavail * room.f_frsize:
        raise OSError(ENOMEM, f"no room in {_SPACE}; pass a larger scratch=")
    number = os.open(_SPACE, os.O_RDWR | os.O_TMPFILE, 0o600)
    try:
        os.ftruncate(number, length)
        flags &= ~_mmap_module.MAP_ANONYMOUS
        return new(cls, number, length, flags, prot)
    finally:
        os.close(number)


_Mapping.__name__ = _Mapping.__qualname__ = "mmap"
_Mapping.__module__ = "mmap"


def share_by_files():
    """Put it in the place of the original."""
    _mmap_module.mmap = _Mapping
