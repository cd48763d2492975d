"""A draft: one temporary file, from its first byte to its name or its end."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from worker.adapters.disk.descriptors import NEW, READ, digests_of, is_at, let_go, lock_file
from worker.adapters.disk.opening import Opening
from worker.adapters.disk.partials import Partials, is_of_another_machine, new_record
from worker.adapters.disk.space import BLOCK, LARGE, TOO_LARGE, trouble_of
from worker.engine.ports import BodyTooLargeError, DiskTrouble

_STEP = 8 * 1024**2  # bytes by which a body of unknown length is promised more at most


class FileDraft:
    """Keeps ``worker.engine.ports.Draft``."""

    __slots__ = ("_fd", "_file", "_held", "_shelf", "_size", "losses", "opening", "path")

    def __init__(
        self,
        opening: Opening,
        file: str,
        path: str,
        losses: int,
        *,
        fd: int = -1,
        size: int = 0,
        shelf: Partials | None = None,
    ) -> None:
        """Make the file, or take over the open and locked file ``fd`` that holds ``size`` bytes and lies on a shelf.

        ``file`` is its temporary name, ``path`` where it is to lie below the output folder; ``losses`` counts the
        syncs that had failed before.

        Raises:
            OSError: it cannot be made.
        """
        self.opening = opening
        self.path = path
        self.losses = losses
        self._file: str | None = file
        self._size = size
        self._held = size  # bytes it has been promised
        self._shelf = shelf  # where the file lies instead, for a later run to find; locked while it is open
        self._fd = fd if fd >= 0 else os.open(file, NEW, 0o666, dir_fd=opening.parts)

    @property
    def unwritten(self) -> int:
        """Bytes promised that have not come yet."""
        return self._held - self._size

    def promise(self, size: int) -> None:
        """Have space for so many bytes; raises NoSpaceError, DiskTrouble, BodyTooLargeError."""
        space = self.opening.space
        if size < LARGE and size < space.spare:  # most are: no call for those
            space.spare -= size + BLOCK
        else:
            space.promise(self, self._fd, self._held, size)
        self._held = size

    def write(self, data: bytes, at: int) -> None:
        end = at + len(data)
        if end > self._held:
            self._grow(end)
        try:
            at += os.pwrite(self._fd, data, at)
            while at < end:
                written = os.pwrite(self._fd, data[at - end :], at)
                if not written:
                    raise OSError(errno.EIO, "nothing was written")
                at += written
        except OSError as error:
            if error.errno == errno.EFBIG:
                raise BodyTooLargeError(TOO_LARGE) from error
            raise trouble_of(error) from error
        self._size = max(self._size, end)

    def finish(self, size: int) -> None:
        try:
            # Before its lock is gone: nobody else may continue a body that is about to get its name.
            self._come_home()
            if self._held >= LARGE:
                self._give_back()
            fd, self._fd = self._fd, -1
            os.close(fd)
        except OSError as error:
            raise trouble_of(error) from error
        if self._size != size:
            raise DiskTrouble(f"{self._size} of {size} bytes were written.")

    def discard(self) -> None:
        with suppress(OSError):
            self._come_home()
        if self._held >= LARGE:
            self.opening.space.forget(self)
        fd, self._fd = self._fd, -1
        if fd >= 0:
            let_go(fd)
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                os.unlink(file, dir_fd=self.opening.parts)

    def leave(self) -> None:
        if self._shelf is None:
            self.discard()
            return
        with suppress(OSError):
            if self._held >= LARGE:
                self._give_back()
        fd, self._fd, self._file = self._fd, -1, None
        let_go(fd)

    def digest(self, algorithms: Sequence[str]) -> dict[str, str]:
        try:
            fd = self._reopen()
            try:
                return digests_of(fd, algorithms)
            finally:
                let_go(fd)
        except OSError as error:
            raise trouble_of(error) from error

    def shelve(self, known: str) -> None:
        shelf = Partials.of(self.path, self.opening.partials)
        # Somebody else is at it, or it cannot be: the body is fetched all the same.
        with suppress(OSError), self.opening.alone_on_the_shelf(), ExitStack() as held:
            with suppress(FileNotFoundError):
                fd = lock_file(shelf.part, shelf.folder)
                held.callback(let_go, fd)
                if is_of_another_machine(shelf, fd):
                    return
            for leftover in (shelf.record, shelf.new_record):
                with suppress(FileNotFoundError):
                    os.unlink(leftover, dir_fd=shelf.folder)
            self._move(shelf)
            fd = os.open(shelf.new_record, NEW, 0o666, dir_fd=shelf.folder)
            held.callback(let_go, fd)
            os.write(fd, new_record(known))
            os.rename(shelf.new_record, shelf.record, src_dir_fd=shelf.folder, dst_dir_fd=shelf.folder)

    def sync(self) -> None:
        """Have the finished file on the disk; raises OSError."""
        fd = self._reopen()
        try:
            os.fsync(fd)
        finally:
            let_go(fd)

    def rename(self, name: str, folder: int) -> None:
        """Give the file its name in another folder, in place of whatever has that name; raises OSError."""
        if self._file is None:
            raise FileNotFoundError(errno.ENOENT, "a discarded draft")
        os.rename(self._file, name, src_dir_fd=self.opening.parts, dst_dir_fd=folder)
        self._file = None

    def _move(self, shelf: Partials) -> None:
        """Go on where a later run finds it; OSError if that cannot be."""
        assert self._file is not None
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until it is closed, nobody else continues it
        os.rename(self._file, shelf.part, src_dir_fd=self.opening.parts, dst_dir_fd=shelf.folder)
        self._shelf = shelf

    def _grow(self, end: int) -> None:
        """Have space for what came of a body of unknown length, and if it can be for as much again."""
        ahead = min(2 * self._held, self._held + _STEP)
        if ahead > end:
            with suppress(DiskTrouble, BodyTooLargeError):
                return self.promise(ahead)
        return self.promise(end)

    def _give_back(self) -> None:
        """Let others have what was set aside for bytes that did not come."""
        self.opening.space.forget(self)
        if self._held > self._size:
            os.ftruncate(self._fd, self._size)
        self._held = self._size

    def _come_home(self) -> None:
        """Go back to where nobody else looks."""
        shelf, self._shelf = self._shelf, None
        if shelf is None or self._file is None:
            return
        if not is_at(shelf.part, shelf.folder, self._fd):
            raise OSError(errno.EBUSY, "somebody else's file has its name")
        with suppress(OSError):
            os.unlink(shelf.record, dir_fd=shelf.folder)
        os.rename(shelf.part, self._file, src_dir_fd=shelf.folder, dst_dir_fd=self.opening.parts)

    def _reopen(self) -> int:
        """Open the finished file for reading; OSError if it is gone."""
        if self._file is None:
            raise FileNotFoundError(errno.ENOENT, "a discarded draft")
        return os.open(self._file, READ, dir_fd=self.opening.parts)
