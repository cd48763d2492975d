"""A draft: one temporary file, until it is published or discarded."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from worker.adapters.disk.descriptors import NEW, READ, digests_of, is_at, let_go, lock_file
from worker.adapters.disk.opening import Opening
from worker.adapters.disk.partials import Partial, is_of_another_machine, new_record
from worker.adapters.disk.space import BLOCK, LARGE, TOO_LARGE, trouble_of
from worker.engine.ports import BodyTooLargeError, DiskTrouble

_STEP = 8 * 1024**2  # bytes: the most reserved ahead for a body of unknown length


class FileDraft:
    """Implements ``worker.engine.ports.Draft``."""

    __slots__ = ("_fd", "_file", "_held", "_partial", "_size", "losses", "opening", "path")

    def __init__(
        self,
        opening: Opening,
        file: str,
        path: str,
        losses: int,
        *,
        fd: int = -1,
        size: int = 0,
        partial: Partial | None = None,
    ) -> None:
        """Create the file, or take over the open and locked file ``fd`` of ``size`` bytes of a ``partial`` body.

        ``file`` is its temporary name, ``path`` its final path below the output folder; ``losses`` counts the syncs
        that had failed before.

        Raises:
            OSError: it cannot be created.
        """
        self.opening = opening
        self.path = path
        self.losses = losses
        self._file: str | None = file
        self._size = size
        self._held = size  # bytes reserved
        self._partial = partial  # where the file is instead; locked while it is open
        self._fd = fd if fd >= 0 else os.open(file, NEW, 0o666, dir_fd=opening.parts)

    @property
    def unwritten(self) -> int:
        """Bytes reserved but not written yet."""
        return self._held - self._size

    def promise(self, size: int) -> None:
        """Reserve space for this many bytes; raises NoSpaceError, DiskTrouble, BodyTooLargeError."""
        space = self.opening.space
        if size < LARGE and size < space.spare:  # most are; this saves a system call
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
        if end > self._size:
            self._size = end

    def finish(self, size: int) -> None:
        try:
            # While still locked: no other run may resume a body that is about to be published.
            if self._partial is not None:
                self._move_back()
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
            self._move_back()
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
        if self._partial is None:
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

    def keep_partial(self, known: str) -> None:
        partial = Partial.of(self.path, self.opening.partials)
        # If another run uses the partial, or the file cannot be moved, the body is fetched all the same.
        with suppress(OSError), self.opening.lock_partials(), ExitStack() as held:
            with suppress(FileNotFoundError):
                fd = lock_file(partial.part, partial.folder)
                held.callback(let_go, fd)
                if is_of_another_machine(partial, fd):
                    return
            for leftover in (partial.record, partial.new_record):
                with suppress(FileNotFoundError):
                    os.unlink(leftover, dir_fd=partial.folder)
            self._move(partial)
            fd = os.open(partial.new_record, NEW, 0o666, dir_fd=partial.folder)
            held.callback(let_go, fd)
            os.write(fd, new_record(known))
            os.rename(partial.new_record, partial.record, src_dir_fd=partial.folder, dst_dir_fd=partial.folder)

    def sync(self) -> None:
        """Sync the finished file; raises OSError."""
        fd = self._reopen()
        try:
            os.fsync(fd)
        finally:
            let_go(fd)

    def rename(self, name: str, folder: int) -> None:
        """Move the file to its name in another folder, replacing any file of that name; raises OSError."""
        if self._file is None:
            raise FileNotFoundError(errno.ENOENT, "a discarded draft")
        os.rename(self._file, name, src_dir_fd=self.opening.parts, dst_dir_fd=folder)
        self._file = None

    def _move(self, partial: Partial) -> None:
        """Move the file to where a later run finds it; raises OSError."""
        assert self._file is not None
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until it is closed, no other run resumes it
        os.rename(self._file, partial.part, src_dir_fd=self.opening.parts, dst_dir_fd=partial.folder)
        self._partial = partial

    def _grow(self, end: int) -> None:
        """Reserve space for what has arrived of a body of unknown length and, if possible, for as much again."""
        ahead = min(2 * self._held, self._held + _STEP)
        if ahead > end:
            with suppress(DiskTrouble, BodyTooLargeError):
                return self.promise(ahead)
        return self.promise(end)

    def _give_back(self) -> None:
        """Release space reserved for bytes that did not arrive."""
        self.opening.space.forget(self)
        if self._held > self._size:
            os.ftruncate(self._fd, self._size)
        self._held = self._size

    def _move_back(self) -> None:
        """Move the file back to this process's own folder."""
        partial, self._partial = self._partial, None
        if partial is None or self._file is None:
            return
        if not is_at(partial.part, partial.folder, self._fd):
            raise OSError(errno.EBUSY, "another file has its name")
        with suppress(OSError):
            os.unlink(partial.record, dir_fd=partial.folder)
        os.rename(partial.part, self._file, src_dir_fd=partial.folder, dst_dir_fd=self.opening.parts)

    def _reopen(self) -> int:
        """Open the finished file for reading; OSError if it is gone."""
        if self._file is None:
            raise FileNotFoundError(errno.ENOENT, "a discarded draft")
        return os.open(self._file, READ, dir_fd=self.opening.parts)
