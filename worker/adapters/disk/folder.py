"""The output folder of a process: its drafts, their names, its shelf, and what dead processes left."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from math import inf
from pathlib import Path

from contract.errors import FolderError, SettingError
from contract.records.policy import Sync
from contract.urls.naming import Layout, output_path
from worker.adapters.disk.descriptors import FOLDER, NEW, READ, enter, let_go, lock_file, sync_file_system, sync_folder
from worker.adapters.disk.draft import FileDraft
from worker.adapters.disk.opening import Opening
from worker.adapters.disk.partials import Partials, is_of_another_machine, known_of, new_record
from worker.adapters.disk.space import Space, trouble_of
from worker.engine.digests import starter
from worker.engine.ports import Draft

SETTLED = 2.0  # seconds a path has led to the same other place before the folder is opened there

_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)
_PIECE = 1024 * 1024  # bytes read at once
_FEW = 8  # folders synced one by one; more are synced with their file system
_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.ELOOP)  # a folder has a file's name, or something else a folder's


class OutputFolder:
    """Keeps ``worker.engine.ports.Disk``. Opened in each process after the fork; anew when its path leads elsewhere."""

    def __init__(self, path: str | Path, *, min_free: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        """Open or make the folder and remove what dead processes left in it.

        Raises:
            FolderError: it cannot be made, opened or written to.
        """
        self._path = Path(path)
        self._min_free = min_free
        self._clock = clock
        self._count = itertools.count()
        self._syncing = threading.Lock()
        self._shelving = threading.Lock()
        self._reopening = threading.Lock()
        self._elsewhere: tuple[int, int] | None = None  # where the path led when it last led away, and since when
        self._since = inf
        self._losses = 0
        try:
            self._opening = Opening(self._path, min_free)
        except OSError as error:
            raise FolderError(f"The output folder {path} cannot be used: {_why(self._path, error)}.") from error

    def draft(self, size: int | None = None) -> FileDraft:
        opening = self._opening
        try:
            draft = FileDraft(opening, f"{next(self._count):x}", self._losses)
        except OSError as error:
            draft = self._begin_anew(opening, error)
        if size:
            try:
                draft.promise(size)
            except BaseException:
                draft.discard()
                raise
        return draft

    def publish(self, group: Sequence[tuple[Draft, str]], layout: Layout, sync: Sync, may: Callable[[], bool]) -> bool:
        drafts = [(draft, name) for draft, name in group if isinstance(draft, FileDraft)]
        opening = self._opening
        try:
            _expect_in_place(opening)
            if sync is Sync.BATCH:
                self._sync_all(drafts, opening)
            elif sync is Sync.FILE:
                _sync_files(drafts)
            if not may():
                return False
            folders = self._rename_all(drafts, layout, opening)
            if sync is not Sync.NONE:
                self._sync_folders(folders, opening)
            _expect_in_place(opening)  # what was named in a folder that had gone lies nowhere
        except OSError as error:
            raise trouble_of(error) from error
        return True

    def digest(self, draft: Draft, algorithms: Sequence[str]) -> dict[str, str]:
        assert isinstance(draft, FileDraft)
        try:
            fd = draft.reopen()
            try:
                return _digests(fd, algorithms)
            finally:
                let_go(fd)
        except OSError as error:
            raise trouble_of(error) from error

    def holds(self, name: str, layout: Layout, size: int, digest: str) -> bool:
        algorithm, _, expected = digest.partition(":")
        try:
            fd = self._open_file(output_path(name, layout))
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode) or found.st_size != size:
                    return False
                return not expected or _digests(fd, [algorithm])[algorithm] == expected
            finally:
                let_go(fd)
        except (OSError, ValueError, SettingError):
            return False

    def shelve(self, draft: Draft, name: str, known: str) -> None:
        assert isinstance(draft, FileDraft)
        opening = self._opening
        shelf = Partials(opening.partials, name)
        # Somebody else is at it, or it cannot be: the body is fetched all the same.
        with suppress(OSError), self._alone_on_the_shelf(opening), ExitStack() as held:
            with suppress(FileNotFoundError):
                fd = lock_file(shelf.part, shelf.folder)
                held.callback(let_go, fd)
                if is_of_another_machine(shelf, fd):
                    return
            for leftover in (shelf.record, shelf.new_record):
                with suppress(FileNotFoundError):
                    os.unlink(leftover, dir_fd=shelf.folder)
            draft.move(shelf)
            fd = os.open(shelf.new_record, NEW, 0o666, dir_fd=shelf.folder)
            held.callback(let_go, fd)
            os.write(fd, new_record(known))
            os.rename(shelf.new_record, shelf.record, src_dir_fd=shelf.folder, dst_dir_fd=shelf.folder)

    def take_back(self, name: str) -> tuple[FileDraft, int, str] | None:
        opening = self._opening
        shelf = Partials(opening.partials, name)
        try:
            fd = lock_file(shelf.part, shelf.folder)
        except OSError:
            return None
        if is_of_another_machine(shelf, fd):
            let_go(fd)
            return None
        size, known = 0, None
        with suppress(OSError, ValueError):
            size, known = os.fstat(fd).st_size, known_of(shelf, fd)
        draft = FileDraft(opening, f"{next(self._count):x}", self._losses, fd=fd, size=size, shelf=shelf)
        if known is not None:
            return draft, size, known
        draft.discard()
        return None

    @contextmanager
    def _alone_on_the_shelf(self, opening: Opening) -> Iterator[None]:
        """Keep others from putting something there meanwhile; OSError at once if one of them does."""
        with self._shelving:
            fcntl.flock(opening.partials, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                yield
            finally:
                fcntl.flock(opening.partials, fcntl.LOCK_UN)

    def trouble(self) -> str | None:
        try:
            self._look_where_it_is()
            found = self._opening.space.trouble()
        except OSError as error:
            found = trouble_of(error)
        return None if found is None else str(found)

    def close(self) -> None:
        """Remove this process's folder for temporary files; what is in it is lost."""
        self._opening.close()

    def _begin_anew(self, opening: Opening, error: OSError) -> FileDraft:
        """Try once more where the folder for temporary files has gone; raises DiskTrouble."""
        if error.errno not in (errno.ENOENT, errno.ESTALE):
            raise trouble_of(error) from error
        try:
            return FileDraft(self._without_own_folder(opening), f"{next(self._count):x}", self._losses)
        except OSError as again:
            raise trouble_of(again) from again

    def _look_where_it_is(self) -> None:
        """Open the folder anew once its path has led to the same other place for a while.

        Raises:
            OSError: it leads elsewhere, or the folder cannot be opened there.
        """
        with self._reopening:
            if self._opening.is_in_place():
                self._since = inf
                self._opening.stamp(time.time())
                return
            elsewhere, now = _identity(self._path), self._clock()
            if self._since == inf or elsewhere != self._elsewhere:
                self._elsewhere, self._since = elsewhere, now
            if now - self._since < SETTLED:  # a disk that is mounted anew: it is about to come back
                raise OSError(errno.ESTALE, "")
            self._opening = Opening(self._path, self._min_free, avoid=self._opening.underneath)
            self._since = inf

    def _without_own_folder(self, opening: Opening) -> Opening:
        """Return an opening with a folder for temporary files: somebody has removed that of this one."""
        with self._reopening:
            if self._opening is opening:
                if not opening.is_in_place():
                    raise OSError(errno.ESTALE, "")
                self._opening = Opening(self._path, self._min_free)
            return self._opening

    def _open_file(self, path: str) -> int:
        *folders, name = path.split("/")
        opening = self._opening
        if not opening.is_in_place():
            raise OSError(errno.ESTALE, "")
        fd = opening.root
        try:
            for folder in folders:
                inner = os.open(folder, FOLDER, dir_fd=fd)
                if fd != opening.root:
                    let_go(fd)
                fd = inner
            return os.open(name, READ | os.O_NONBLOCK, dir_fd=fd)
        finally:
            if fd != opening.root:
                let_go(fd)

    def _sync_all(self, drafts: Sequence[tuple[FileDraft, str]], opening: Opening) -> None:
        if not self._sync_disk(opening):
            _sync_files(drafts)
        if any(draft.losses != self._losses for draft, _ in drafts):
            raise OSError(errno.EIO, "bytes written before may be lost")

    def _sync_disk(self, opening: Opening) -> bool:
        """Sync the file system; False where there is no such call.

        The kernel tells each failure once per descriptor, whoever asks first (syncfs(2), since Linux 5.8). So it is
        counted: every draft begun before is suspect, in whichever group it comes.
        """
        with self._syncing:
            try:
                return sync_file_system(opening.parts)
            except OSError:
                self._losses += 1
                self._distrust_the_shelf(opening)
                raise

    def _distrust_the_shelf(self, opening: Opening) -> None:
        """Let nobody continue what may have lost bytes: without its record, nobody does."""
        with suppress(OSError):
            for name in os.listdir(opening.partials):
                if name.endswith(Partials.RECORD):
                    with suppress(OSError):
                        os.unlink(name, dir_fd=opening.partials)

    def _rename_all(self, drafts: Sequence[tuple[FileDraft, str]], layout: Layout, opening: Opening) -> set[str]:
        folders = {""}
        for draft, name in drafts:
            if draft.opening is not opening:
                raise OSError(errno.ESTALE, "")
            *within, file = output_path(name, layout).split("/")
            try:
                self._rename(draft, within, file, opening.root)
            except OSError as error:
                if error.errno not in _IN_THE_WAY:
                    raise
                draft.obstacle = "Something in the output folder is in the way: a folder, or no folder of ours."
                continue
            if within:
                folders.update("/".join(within[:depth]) for depth in range(1, len(within) + 1))
        return folders

    def _rename(self, draft: FileDraft, within: Sequence[str], file: str, root: int) -> None:
        if not within:
            draft.rename(file, root)
            return
        fd = root
        try:
            for folder in within:
                inner = enter(fd, folder)
                if fd != root:
                    let_go(fd)
                fd = inner
            draft.rename(file, fd)
        finally:
            if fd != root:
                let_go(fd)

    def _sync_folders(self, folders: set[str], opening: Opening) -> None:
        if len(folders) > _FEW and self._sync_disk(opening):
            return
        for folder in folders:
            sync_folder(os.open(folder or ".", FOLDER, dir_fd=opening.root))


def trouble_at(path: str | Path, min_free: int) -> str | None:
    """Say in a sentence why nothing can be stored in an output folder that this process has not opened."""
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
    """Is a folder that cannot be used merely short of something, so that waiting may help?"""
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in _PASSING


def _expect_in_place(opening: Opening) -> None:
    if not opening.is_in_place():
        raise OSError(errno.ESTALE, "")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _why(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOENT and path.is_symlink():
        return f"it is a link to {os.readlink(path)}, which is not there"
    return str(error.strerror)


def _digests(fd: int, algorithms: Iterable[str]) -> dict[str, str]:
    hashers = {algorithm: starter(algorithm)() for algorithm in algorithms}
    while data := os.read(fd, _PIECE):
        for hasher in hashers.values():
            hasher.update(data)
    return {algorithm: hasher.hexdigest() for algorithm, hasher in hashers.items()}


def _sync_files(drafts: Sequence[tuple[FileDraft, str]]) -> None:
    for draft, _ in drafts:
        fd = draft.reopen()
        try:
            os.fsync(fd)
        finally:
            let_go(fd)
