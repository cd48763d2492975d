"""A process's output folder, shared by the stores of its jobs: its location, its drafts, and its trouble."""

from __future__ import annotations

import errno
import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path

from contract.errors import FolderError
from worker.adapters.disk.descriptors import let_go, lock_file, sync_file_system
from worker.adapters.disk.draft import FileDraft
from worker.adapters.disk.opening import Opening
from worker.adapters.disk.partials import Partial, is_of_another_machine, known_of
from worker.adapters.disk.space import Space, trouble_of

SETTLED = 2.0  # seconds a path must lead to the same new folder before that is opened

_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)


class OutputFolder:
    """Opened by each process after the fork, and again when its path leads elsewhere."""

    def __init__(self, path: str | Path, *, min_free: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        """Open or create the folder, and remove what dead processes left in it.

        Raises:
            FolderError: it cannot be created, opened or written to.
        """
        self._path = Path(path)
        self._min_free = min_free
        self._clock = clock
        self._count = itertools.count()
        self._syncing = threading.Lock()
        self._reopening = threading.Lock()
        self._elsewhere: tuple[int, int] | None = None  # where the path led when it last led elsewhere
        self._since = inf
        self._losses = 0
        try:
            self.opening = Opening(self._path, min_free)
        except OSError as error:
            raise FolderError(f"The output folder {path} cannot be used: {_why(self._path, error)}.") from error

    def draft(self, path: str, size: int | None) -> FileDraft:
        """Open a new temporary file for ``path``, with space reserved for ``size`` bytes (None: unknown).

        Raises NoSpaceError, DiskTrouble, BodyTooLargeError.
        """
        opening = self.opening
        try:
            draft = FileDraft(opening, str(next(self._count)), path, self._losses)
        except OSError as error:
            draft = self._begin_anew(opening, path, error)
        if size:
            try:
                draft.promise(size)
            except BaseException:
                draft.discard()
                raise
        return draft

    def resume(self, path: str) -> tuple[FileDraft, int, str] | None:
        """Return a partial body, its size and the record kept with it; None: there is none to trust."""
        opening = self.opening
        partial = Partial.of(path, opening.partials)
        try:
            fd = lock_file(partial.part, partial.folder)
        except OSError:
            return None
        if is_of_another_machine(partial, fd):
            let_go(fd)
            return None
        size, known = 0, None
        with suppress(OSError, ValueError):
            size, known = os.fstat(fd).st_size, known_of(partial, fd)
        draft = FileDraft(opening, str(next(self._count)), path, self._losses, fd=fd, size=size, partial=partial)
        if known is not None:
            return draft, size, known
        draft.discard()
        return None

    def trouble(self) -> str | None:
        """Return why nothing more should be written now, as a sentence; None: nothing is wrong."""
        try:
            self._look_where_it_is()
            found = self.opening.space.trouble()
        except OSError as error:
            found = trouble_of(error)
        return None if found is None else str(found)

    def close(self) -> None:
        """Remove this process's folder for temporary files, with its contents."""
        self.opening.close()

    def _begin_anew(self, opening: Opening, path: str, error: OSError) -> FileDraft:
        """Try once more if the folder for temporary files has gone; raises DiskTrouble."""
        if error.errno not in (errno.ENOENT, errno.ESTALE):
            raise trouble_of(error) from error
        try:
            return FileDraft(self._without_own_folder(opening), str(next(self._count)), path, self._losses)
        except OSError as again:
            raise trouble_of(again) from again

    def _look_where_it_is(self) -> None:
        """Open the folder again once its path has led to the same new folder for a while.

        Raises:
            OSError: it leads elsewhere, or the folder cannot be opened there.
        """
        with self._reopening:
            if self.opening.is_in_place():
                self._since = inf
                self.opening.stamp(time.time())
                return
            elsewhere, now = _identity(self._path), self._clock()
            if self._since == inf or elsewhere != self._elsewhere:
                self._elsewhere, self._since = elsewhere, now
            if now - self._since < SETTLED:  # the disk may be being remounted
                raise OSError(errno.ESTALE, "")
            self.opening = Opening(self._path, self._min_free, avoid=self.opening.underneath)
            self._since = inf

    def _without_own_folder(self, opening: Opening) -> Opening:
        """Return an opening with a new folder for temporary files, because that of this one was removed."""
        with self._reopening:
            if self.opening is opening:
                opening.expect_in_place()
                self.opening = Opening(self._path, self._min_free)
            return self.opening

    def sync_all(self, drafts: Sequence[FileDraft], opening: Opening) -> None:
        """Sync finished drafts; raises OSError."""
        if not self.sync_disk(opening):
            for draft in drafts:
                draft.sync()
        if any(draft.losses != self._losses for draft in drafts):
            raise OSError(errno.EIO, "bytes written before may be lost")

    def sync_disk(self, opening: Opening) -> bool:
        """Sync the file system; False if there is no such call. Raises OSError.

        The kernel reports each failure once per descriptor (syncfs(2), since Linux 5.8). So failures are counted: every
        draft begun before a failure is suspect, in whatever group.
        """
        with self._syncing:
            try:
                return sync_file_system(opening.parts)
            except OSError:
                self._losses += 1
                self._distrust_partials(opening)
                raise

    def _distrust_partials(self, opening: Opening) -> None:
        """Remove the records of partial bodies, which may have lost bytes; without its record none is resumed."""
        with suppress(OSError):
            for name in os.listdir(opening.partials):
                if name.endswith(Partial.RECORD):
                    with suppress(OSError):
                        os.unlink(name, dir_fd=opening.partials)


def trouble_at(path: str | Path, min_free: int) -> str | None:
    """Return why nothing can be stored in an output folder that this process has not opened, as a sentence."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = Space(fd, min_free).trouble()
            if found is None and not os.access(path, os.W_OK | os.X_OK):
                found = trouble_of(OSError(errno.EACCES, ""))
        finally:
            let_go(fd)
    except OSError as error:
        found = trouble_of(error)
    return None if found is None else str(found)


def is_passing(error: FolderError) -> bool:
    """Is the folder unusable only for lack of space or descriptors, so that waiting may help?"""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _PASSING


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _why(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOENT and path.is_symlink():
        return f"it is a link to {os.readlink(path)}, which does not exist"
    return str(error.strerror)
