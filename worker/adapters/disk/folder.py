"""The output folder of a process: its drafts, their names, its shelf, and what dead processes left."""

from __future__ import annotations

import errno
import fcntl
import itertools
import json
import os
import secrets
import stat
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from contract.errors import FolderError, SettingError
from contract.records.policy import Sync
from contract.urls.naming import Layout, output_path
from worker.adapters.disk.descriptors import (
    FOLDER,
    NEW,
    READ,
    enter,
    let_go,
    lock_file,
    make_folder,
    sync_file_system,
    sync_folder,
)
from worker.adapters.disk.draft import FileDraft
from worker.adapters.disk.partials import BOOT, Partials, known_of
from worker.adapters.disk.space import Space, trouble_of
from worker.engine.digests import starter
from worker.engine.ports import Draft

PRIVATE = ".trawl"  # our own folder within the output folder
PARTS = "parts"  # one folder per process within it, locked by its owner
PARTIALS = "partials"  # bodies that a later run may continue, each beside what is known of it

_PIECE = 1024 * 1024  # bytes read at once
_FEW = 8  # folders synced one by one; more are synced with their file system
_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.ELOOP)  # a folder has a file's name, or something else a folder's


class OutputFolder:
    """Keeps ``worker.engine.ports.Disk``. Opened once per process, after the fork.

    Every path below the folder is reached by directory descriptors that follow no symbolic link.
    """

    def __init__(self, path: str | Path, *, min_free: int = 0) -> None:
        """Open or make the folder and remove what dead processes left in it.

        Raises:
            FolderError: it cannot be made, opened or written to.
        """
        self._count = itertools.count()
        self._syncing = threading.Lock()
        self._shelving = threading.Lock()
        self._losses = 0
        with ExitStack() as opened:
            try:
                make_folder(Path(path))
                # The folder itself may be reached by a link its owner made; below it none is followed.
                self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                opened.callback(let_go, self._root)
                private = enter(self._root, PRIVATE)
                try:
                    self._all_parts = enter(private, PARTS)
                    opened.callback(let_go, self._all_parts)
                    self._partials = enter(private, PARTIALS)
                    opened.callback(let_go, self._partials)
                finally:
                    let_go(private)
                self._owner, self._parts = self._claim()
                opened.callback(let_go, self._parts)
                self._space = Space(self._parts, min_free)
                reap(self._all_parts)
            except OSError as error:
                raise FolderError(f"The output folder {path} cannot be used: {error.strerror}.") from error
            self._opened = opened.pop_all()

    def draft(self, size: int | None = None) -> FileDraft:
        draft = FileDraft(self._parts, f"{next(self._count):x}", self._losses, self._space)
        if size:
            try:
                draft.promise(size)
            except BaseException:
                draft.discard()
                raise
        return draft

    def publish(self, group: Sequence[tuple[Draft, str]], layout: Layout, sync: Sync, may: Callable[[], bool]) -> bool:
        drafts = [(draft, name) for draft, name in group if isinstance(draft, FileDraft)]
        try:
            if sync is Sync.BATCH:
                self._sync_all(drafts)
            elif sync is Sync.FILE:
                _sync_files(drafts)
            if not may():
                return False
            folders = self._rename_all(drafts, layout)
            if sync is not Sync.NONE:
                self._sync_folders(folders)
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
        shelf = Partials(self._partials, name)
        # Somebody else is at it, or it cannot be: the body is fetched all the same.
        with suppress(OSError), self._alone_on_the_shelf(), ExitStack() as held:
            with suppress(FileNotFoundError):
                held.callback(let_go, lock_file(shelf.part, shelf.folder))
            for leftover in (shelf.record, shelf.new_record):
                with suppress(FileNotFoundError):
                    os.unlink(leftover, dir_fd=shelf.folder)
            draft.move(shelf)
            fd = os.open(shelf.new_record, NEW, 0o666, dir_fd=shelf.folder)
            held.callback(let_go, fd)
            os.write(fd, json.dumps({"boot": BOOT, "known": known}).encode())
            os.rename(shelf.new_record, shelf.record, src_dir_fd=shelf.folder, dst_dir_fd=shelf.folder)

    def take_back(self, name: str) -> tuple[FileDraft, int, str] | None:
        shelf = Partials(self._partials, name)
        try:
            fd = lock_file(shelf.part, shelf.folder)
        except OSError:
            return None
        size, known = 0, None
        with suppress(OSError, ValueError):
            size, known = os.fstat(fd).st_size, known_of(shelf, fd)
        draft = FileDraft(
            self._parts, f"{next(self._count):x}", self._losses, self._space, fd=fd, size=size, shelf=shelf
        )
        if known is not None:
            return draft, size, known
        draft.discard()
        return None

    @contextmanager
    def _alone_on_the_shelf(self) -> Iterator[None]:
        """Keep others from putting something there meanwhile; OSError at once if one of them does."""
        with self._shelving:
            fcntl.flock(self._partials, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                yield
            finally:
                fcntl.flock(self._partials, fcntl.LOCK_UN)

    def trouble(self) -> str | None:
        try:
            found = self._space.trouble()
        except OSError as error:
            found = trouble_of(error)
        return None if found is None else str(found)

    def close(self) -> None:
        """Remove this process's folder for temporary files; what is in it is lost."""
        with self._opened:
            _remove_folder(self._all_parts, self._owner, self._parts)
        self._root = self._all_parts = self._partials = self._parts = -1  # these numbers may soon be somebody else's

    def _claim(self) -> tuple[str, int]:
        """Make and lock this process's own folder for temporary files."""
        while True:
            name = f"{os.getpid()}-{secrets.token_hex(4)}"
            os.mkdir(name, 0o777, dir_fd=self._all_parts)
            try:
                fd = os.open(name, FOLDER, dir_fd=self._all_parts)
            except FileNotFoundError:  # a reaper was faster than we
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(fd).st_nlink > 0:  # or faster than our lock
                    return name, fd
            except BlockingIOError:
                pass
            except BaseException:
                let_go(fd)
                raise
            let_go(fd)

    def _open_file(self, path: str) -> int:
        *folders, name = path.split("/")
        fd = self._root
        try:
            for folder in folders:
                inner = os.open(folder, FOLDER, dir_fd=fd)
                if fd != self._root:
                    let_go(fd)
                fd = inner
            return os.open(name, READ | os.O_NONBLOCK, dir_fd=fd)
        finally:
            if fd != self._root:
                let_go(fd)

    def _sync_all(self, drafts: Sequence[tuple[FileDraft, str]]) -> None:
        if not self._sync_disk():
            _sync_files(drafts)
        if any(draft.losses != self._losses for draft, _ in drafts):
            raise OSError(errno.EIO, "bytes written before may be lost")

    def _sync_disk(self) -> bool:
        """Sync the file system; False where there is no such call.

        The kernel tells each failure once per descriptor, whoever asks first (syncfs(2), since Linux 5.8). So it is
        counted: every draft begun before is suspect, in whichever group it comes.
        """
        with self._syncing:
            try:
                return sync_file_system(self._parts)
            except OSError:
                self._losses += 1
                self._distrust_the_shelf()
                raise

    def _distrust_the_shelf(self) -> None:
        """Let nobody continue what may have lost bytes: without its record, nobody does."""
        with suppress(OSError):
            for name in os.listdir(self._partials):
                if name.endswith(Partials.RECORD):
                    with suppress(OSError):
                        os.unlink(name, dir_fd=self._partials)

    def _rename_all(self, drafts: Sequence[tuple[FileDraft, str]], layout: Layout) -> set[str]:
        folders = {""}
        for draft, name in drafts:
            *within, file = output_path(name, layout).split("/")
            try:
                self._rename(draft, within, file)
            except OSError as error:
                if error.errno not in _IN_THE_WAY:
                    raise
                draft.obstacle = "Something in the output folder is in the way: a folder, or no folder of ours."
                continue
            if within:
                folders.update("/".join(within[:depth]) for depth in range(1, len(within) + 1))
        return folders

    def _rename(self, draft: FileDraft, within: Sequence[str], file: str) -> None:
        if not within:
            draft.rename(file, self._root)
            return
        fd = self._root
        try:
            for folder in within:
                inner = enter(fd, folder)
                if fd != self._root:
                    let_go(fd)
                fd = inner
            draft.rename(file, fd)
        finally:
            if fd != self._root:
                let_go(fd)

    def _sync_folders(self, folders: set[str]) -> None:
        if len(folders) > _FEW and self._sync_disk():
            return
        for folder in folders:
            sync_folder(os.open(folder or ".", FOLDER, dir_fd=self._root))


def reap(all_parts: int) -> None:
    """Remove the folders for temporary files whose owners are dead: nobody holds their lock."""
    for name in os.listdir(all_parts):
        try:
            fd = os.open(name, FOLDER, dir_fd=all_parts)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_folder(all_parts, name, fd)
        except OSError:
            pass  # its owner lives
        finally:
            let_go(fd)


def _remove_folder(parent: int, name: str, fd: int) -> None:
    with suppress(OSError):
        for leftover in os.listdir(fd):
            with suppress(OSError):
                os.unlink(leftover, dir_fd=fd)
        os.rmdir(name, dir_fd=parent)


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
