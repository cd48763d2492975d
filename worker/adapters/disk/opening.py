"""An open output folder: descriptors of it and of its folders for temporary files."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from contract.folders import PARTIALS, PARTS, PRIVATE, Owner, is_left_behind
from worker.adapters.disk.descriptors import FOLDER, device_underneath, enter, let_go, make_folder
from worker.adapters.disk.space import Space

_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF, errno.EINVAL)  # of file systems without locks
_STAMP_PAUSE = 600.0  # seconds; other machines remove only what was not stamped for a day


class Opening:
    """Valid even when the path leads elsewhere; closed when its last draft is.

    Every path below the folder is opened relative to descriptors, without following symbolic links.
    """

    def __init__(self, path: Path, floor: int, *, avoid: int | None = None) -> None:
        """Open or create the folder, and remove abandoned temporary files.

        ``avoid`` is a device on which not to create it: the one below the mount it was on.

        Raises:
            OSError: it cannot be created, opened or written to.
        """
        self.path = path
        self._locking = threading.Lock()
        with ExitStack() as opened:
            make_folder(path, avoid=avoid)
            # Links in the path of the folder are its owner's choice; below it none is followed.
            self.root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(let_go, self.root)
            self._found = os.fstat(self.root)
            self.underneath = device_underneath(path)
            private = enter(self.root, PRIVATE)
            try:
                self.all_parts = enter(private, PARTS)
                opened.callback(let_go, self.all_parts)
                self.partials = enter(private, PARTIALS)
                opened.callback(let_go, self.partials)
            finally:
                let_go(private)
            self._owner, self.parts = _claim(self.all_parts)
            opened.callback(let_go, self.parts)
            self.space = Space(self.parts, floor)
            self._stamped = os.fstat(self.parts).st_mtime  # by the file system's clock
            reap(self.all_parts, now=self._stamped)
            self._opened = opened.pop_all()

    def is_in_place(self) -> bool:
        """Does the path still lead to this folder?"""
        try:
            return os.path.samestat(os.stat(self.path), self._found)
        except OSError:
            return False

    def expect_in_place(self) -> None:
        """Raise OSError if the path leads elsewhere."""
        if not self.is_in_place():
            raise OSError(errno.ESTALE, "")

    @contextmanager
    def below(self, folders: Sequence[str], *, make: bool = False) -> Iterator[int]:
        """Open nested folders, creating missing ones if ``make``; raises OSError."""
        fd = self.root
        try:
            for folder in folders:
                inner = enter(fd, folder) if make else os.open(folder, FOLDER, dir_fd=fd)
                if fd != self.root:
                    let_go(fd)
                fd = inner
            yield fd
        finally:
            if fd != self.root:
                let_go(fd)

    @contextmanager
    def lock_partials(self) -> Iterator[None]:
        """Keep other processes from adding partials; OSError at once if one is doing so."""
        with self._locking:
            fcntl.flock(self.partials, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                yield
            finally:
                fcntl.flock(self.partials, fcntl.LOCK_UN)

    def stamp(self, now: float) -> None:
        """Show other machines that this process is alive; ``now``: Unix seconds."""
        if abs(now - self._stamped) > _STAMP_PAUSE:
            self._stamped = now
            with suppress(OSError):
                os.utime(self.parts)

    def close(self) -> None:
        """Remove this process's folder for temporary files, with its contents. May be called again."""
        if self.parts < 0:
            return
        with self._opened:
            _remove_folder(self.all_parts, self._owner, self.parts)
        self.root = self.all_parts = self.partials = self.parts = -1  # the descriptors may soon be reused

    def __del__(self) -> None:
        if hasattr(self, "_opened"):
            self.close()


def reap(all_parts: int, *, now: float) -> None:
    """Remove abandoned folders for temporary files; ``now``: Unix seconds by the file system's clock."""
    for name in os.listdir(all_parts):
        try:
            fd = os.open(name, FOLDER, dir_fd=all_parts)
        except OSError:
            continue
        try:
            is_ours = Owner.of(name) == Owner.this()  # in use, unless its lock is free
            if is_left_behind(name, idle=now - os.fstat(fd).st_mtime) and _lock(fd, without_locks=not is_ours):
                _remove_folder(all_parts, name, fd)
        except OSError:
            pass  # it is gone
        finally:
            let_go(fd)


def _claim(all_parts: int) -> tuple[str, int]:
    """Create and lock this process's own folder for temporary files."""
    while True:
        name = Owner.this().new_folder()
        os.mkdir(name, 0o777, dir_fd=all_parts)
        try:
            fd = os.open(name, FOLDER, dir_fd=all_parts)
        except FileNotFoundError:  # reaped already
            continue
        try:
            if _lock(fd, without_locks=True) and os.fstat(fd).st_nlink > 0:  # or reaped before it was locked
                return name, fd
        except BaseException:
            let_go(fd)
            raise
        let_go(fd)


def _lock(fd: int, *, without_locks: bool) -> bool:
    """Lock a folder; False: another process holds it. ``without_locks`` is returned on file systems without locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return without_locks
    return True


def _remove_folder(parent: int, name: str, fd: int) -> None:
    with suppress(OSError):
        for leftover in os.listdir(fd):
            with suppress(OSError):
                os.unlink(leftover, dir_fd=fd)
        os.rmdir(name, dir_fd=parent)
