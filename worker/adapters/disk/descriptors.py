"""Files and folders by descriptor: opened without following links, locked, synced, closed."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from worker.engine.digests import starter

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_PIECE = 1024 * 1024  # bytes read at once
_SMALL = 64 * 1024  # largest record, in bytes
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE of linux/falloc.h


def make_folder(path: Path, *, avoid: int | None) -> None:
    """Create the output folder and its parents durably, if they are missing.

    ``avoid`` is a device not to create it on: raises ENOENT there.
    """
    if not path.is_dir():
        make_folder(path.parent, avoid=avoid)
        if os.stat(path.parent).st_dev == avoid:
            raise FileNotFoundError(errno.ENOENT, "its disk is not mounted")
        with suppress(FileExistsError):
            os.mkdir(path)
        with suppress(PermissionError):  # a folder may be writable but not readable
            sync_folder(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def device_underneath(path: Path) -> int | None:
    """Return the device below the mount that this folder is on; None: there is none, or it is not known."""
    inner = path.resolve()
    try:
        while inner != inner.parent:
            outer = os.stat(inner.parent).st_dev
            if os.stat(inner).st_dev != outer:
                return outer
            inner = inner.parent
    except OSError:
        pass
    return None


def enter(parent: int, name: str) -> int:
    """Open a folder within another; create it if it is missing."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o777, dir_fd=parent)
    return os.open(name, FOLDER, dir_fd=parent)


def lock_file(name: str, folder: int) -> int:
    """Open a file for reading and writing and lock it; OSError if it is missing, or locked by another process."""
    fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not is_at(name, folder, fd):  # the previous holder of the lock renamed the file
            raise FileNotFoundError(errno.ENOENT, "it has gone")
    except OSError:
        let_go(fd)
        raise
    return fd


def is_at(name: str, folder: int, fd: int) -> bool:
    """Does this name still refer to this open file?"""
    return os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=folder, follow_symlinks=False))


def read_small(name: str, folder: int) -> bytes:
    fd = os.open(name, READ, dir_fd=folder)
    try:
        return os.read(fd, _SMALL)
    finally:
        let_go(fd)


def digests_of(fd: int, algorithms: Iterable[str]) -> dict[str, str]:
    """Read an open file to its end and return its digests in hex by algorithm; raises OSError, SettingError."""
    hashers = {algorithm: starter(algorithm)() for algorithm in algorithms}
    while data := os.read(fd, _PIECE):
        for hasher in hashers.values():
            hasher.update(data)
    return {algorithm: hasher.hexdigest() for algorithm, hasher in hashers.items()}


def let_go(fd: int) -> None:
    """Close a file that was not written to: after an error too the descriptor is gone, and nothing is lost."""
    with suppress(OSError):
        os.close(fd)


def sync_folder(fd: int) -> None:
    """Sync a folder, if its file system supports it, and close it."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        let_go(fd)


def set_aside(fd: int, at: int, size: int) -> bool:
    """Reserve space for a file without changing its size; False if the file system cannot. Raises OSError."""
    if _libc_fallocate is None:
        return False
    while _libc_fallocate(fd, _KEEP_SIZE, at, size) != 0:
        code = ctypes.get_errno()
        if code in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.ENODEV):
            return False
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return True


def _find_fallocate() -> Callable[[int, int, int, int], int] | None:
    libc = ctypes.CDLL(None, use_errno=True)
    function = getattr(libc, "fallocate64", None) or getattr(libc, "fallocate", None)  # glibc, musl
    if function is None:  # not Linux
        return None
    function.argtypes, function.restype = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64], ctypes.c_int
    found: Callable[[int, int, int, int], int] = function
    return found


_libc_fallocate = _find_fallocate()


def _find_syncfs() -> Callable[[int], int] | None:
    try:
        function = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):  # not Linux
        return None
    function.argtypes, function.restype = [ctypes.c_int], ctypes.c_int
    return function


_libc_syncfs = _find_syncfs()


def sync_file_system(fd: int) -> bool:
    """Sync the whole file system; False if there is no such call. Raises OSError."""
    if _libc_syncfs is None:
        return False
    if _libc_syncfs(fd) != 0:
        code = ctypes.get_errno()
        if code in (errno.ENOSYS, errno.EINVAL):
            return False
        raise OSError(code, os.strerror(code))
    return True
