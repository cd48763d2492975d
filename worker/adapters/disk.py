"""The output folder: temporary files that become named files, whole and durable, or nothing."""

from __future__ import annotations

import ctypes
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
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from contract.errors import FolderError, SettingError
from contract.naming import Layout, output_path
from contract.policy import Sync
from worker.engine.digests import starter
from worker.engine.ports import DiskTrouble, Draft

PRIVATE = ".trawl"  # our own folder within the output folder
PARTS = "parts"  # one folder per process within it, locked by its owner
PARTIALS = "partials"  # bodies that a later run may continue, each beside what is known of it

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PIECE = 1024 * 1024  # bytes read at once
_FEW = 8  # folders synced one by one; more are synced with their file system
_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.ELOOP)  # a folder has a file's name, or something else a folder's

_SENTENCES = {
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "The disk quota is used up",
    errno.EROFS: "The output folder is read-only",
    errno.EACCES: "The output folder may not be written to",
    errno.EPERM: "The output folder may not be written to",
    errno.EMFILE: "This process has no file descriptors left",
    errno.ENFILE: "This machine has no file descriptors left",
    errno.EIO: "The disk reported an error",
}


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Where a body lies that a later run may continue: the folder, and the files of one name in it."""

    RECORD: ClassVar = ".json"

    folder: int
    name: str

    @property
    def part(self) -> str:
        return f"{self.name}.part"

    @property
    def record(self) -> str:
        return self.name + self.RECORD

    @property
    def new_record(self) -> str:
        return f"{self.name}.new"


class FileDraft:
    """Keeps ``worker.engine.ports.Draft``."""

    __slots__ = ("_fd", "_folder", "_name", "_shelf", "_size", "losses", "obstacle")

    def __init__(
        self, folder: int, name: str, losses: int, *, fd: int = -1, size: int = 0, shelf: _Shelf | None = None
    ) -> None:
        """Make the file, or take over the open and locked file ``fd`` that holds ``size`` bytes and lies on a shelf.

        ``losses`` counts the syncs that had failed before.
        """
        self.losses = losses
        self.obstacle: str | None = None
        self._folder = folder
        self._name: str | None = name
        self._fd = fd
        self._size = size
        self._shelf = shelf  # where the file lies instead, for a later run to find; locked while it is open
        if fd < 0:
            try:
                self._fd = os.open(name, _NEW, 0o666, dir_fd=folder)
            except OSError as error:
                raise trouble_of(error) from error

    def write(self, data: bytes, at: int) -> None:
        end = at + len(data)
        try:
            at += os.pwrite(self._fd, data, at)
            while at < end:
                written = os.pwrite(self._fd, data[at - end :], at)
                if not written:
                    raise OSError(errno.EIO, "nothing was written")
                at += written
        except OSError as error:
            raise trouble_of(error) from error
        self._size = max(self._size, end)

    def finish(self, size: int) -> None:
        try:
            # Before its lock is gone: nobody else may continue a body that is about to get its name.
            self._come_home()
            fd, self._fd = self._fd, -1
            os.close(fd)
        except OSError as error:
            raise trouble_of(error) from error
        if self._size != size:
            raise DiskTrouble(f"{self._size} of {size} bytes were written.")

    def discard(self) -> None:
        with suppress(OSError):
            self._come_home()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            _let_go(fd)
        name, self._name = self._name, None
        if name is not None:
            with suppress(OSError):
                os.unlink(name, dir_fd=self._folder)

    def leave(self) -> None:
        if self._shelf is None:
            self.discard()
            return
        fd, self._fd, self._name = self._fd, -1, None
        _let_go(fd)

    def move(self, shelf: _Shelf) -> None:
        """Go on where a later run finds it; OSError if that cannot be."""
        assert self._name is not None
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until it is closed, nobody else continues it
        os.rename(self._name, shelf.part, src_dir_fd=self._folder, dst_dir_fd=shelf.folder)
        self._shelf = shelf

    def _come_home(self) -> None:
        """Go back to where nobody else looks."""
        shelf, self._shelf = self._shelf, None
        if shelf is None or self._name is None:
            return
        if not _is_at(shelf.part, shelf.folder, self._fd):
            raise OSError(errno.ESTALE, "somebody else's file has its name")
        with suppress(OSError):
            os.unlink(shelf.record, dir_fd=shelf.folder)
        os.rename(shelf.part, self._name, src_dir_fd=shelf.folder, dst_dir_fd=self._folder)

    def reopen(self) -> int:
        """Open the finished file for reading; OSError if it is gone."""
        if self._name is None:
            raise FileNotFoundError(errno.ENOENT, "a discarded draft")
        return os.open(self._name, _READ, dir_fd=self._folder)

    def rename(self, name: str, folder: int) -> None:
        """Give the file its name in another folder, in place of whatever has that name."""
        if self._name is None:
            raise FileNotFoundError(errno.ENOENT, "a discarded draft")
        os.rename(self._name, name, src_dir_fd=self._folder, dst_dir_fd=folder)
        self._name = None


class OutputFolder:
    """Keeps ``worker.engine.ports.Disk``. Opened once per process, after the fork.

    Every path below the folder is reached by directory descriptors that follow no symbolic link.
    """

    def __init__(self, path: str | Path, *, min_free: int = 0) -> None:
        """Open or make the folder and remove what dead processes left in it.

        Raises:
            FolderError: it cannot be made, opened or written to.
        """
        self._min_free = min_free
        self._count = itertools.count()
        self._syncing = threading.Lock()
        self._shelving = threading.Lock()
        self._losses = 0
        with ExitStack() as opened:
            try:
                _make(Path(path))
                # The folder itself may be reached by a link its owner made; below it none is followed.
                self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                opened.callback(_let_go, self._root)
                private = _enter(self._root, PRIVATE)
                try:
                    self._all_parts = _enter(private, PARTS)
                    opened.callback(_let_go, self._all_parts)
                    self._partials = _enter(private, PARTIALS)
                    opened.callback(_let_go, self._partials)
                finally:
                    _let_go(private)
                self._owner, self._parts = self._claim()
                opened.callback(_let_go, self._parts)
                reap(self._all_parts)
            except OSError as error:
                raise FolderError(f"The output folder {path} cannot be used: {error.strerror}.") from error
            self._opened = opened.pop_all()

    def draft(self) -> FileDraft:
        return FileDraft(self._parts, f"{next(self._count):x}", self._losses)

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
                _let_go(fd)
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
                _let_go(fd)
        except (OSError, ValueError, SettingError):
            return False

    def shelve(self, draft: Draft, name: str, known: str) -> None:
        assert isinstance(draft, FileDraft)
        shelf = _Shelf(self._partials, name)
        # Somebody else is at it, or it cannot be: the body is fetched all the same.
        with suppress(OSError), self._alone_on_the_shelf(), ExitStack() as held:
            with suppress(FileNotFoundError):
                held.callback(_let_go, _lock_file(shelf.part, shelf.folder))
            for leftover in (shelf.record, shelf.new_record):
                with suppress(FileNotFoundError):
                    os.unlink(leftover, dir_fd=shelf.folder)
            draft.move(shelf)
            fd = os.open(shelf.new_record, _NEW, 0o666, dir_fd=shelf.folder)
            held.callback(_let_go, fd)
            os.write(fd, json.dumps({"boot": _BOOT, "known": known}).encode())
            os.rename(shelf.new_record, shelf.record, src_dir_fd=shelf.folder, dst_dir_fd=shelf.folder)

    def take_back(self, name: str) -> tuple[FileDraft, int, str] | None:
        shelf = _Shelf(self._partials, name)
        try:
            fd = _lock_file(shelf.part, shelf.folder)
        except OSError:
            return None
        size, known = 0, None
        with suppress(OSError, ValueError):
            size, known = os.fstat(fd).st_size, _known_of(shelf, fd)
        draft = FileDraft(self._parts, f"{next(self._count):x}", self._losses, fd=fd, size=size, shelf=shelf)
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
            found = os.fstatvfs(self._parts)
        except OSError as error:
            return str(trouble_of(error))
        if found.f_flag & os.ST_RDONLY:
            return str(trouble_of(OSError(errno.EROFS, "")))
        if found.f_files and not found.f_favail:
            return "The disk has no room for another file (inodes)."
        free = found.f_bavail * found.f_frsize
        if free < self._min_free:
            return f"The disk has {free >> 20} MiB free, less than the {self._min_free >> 20} MiB to be kept free."
        return None

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
                fd = os.open(name, _FOLDER, dir_fd=self._all_parts)
            except FileNotFoundError:  # a reaper was faster than we
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(fd).st_nlink > 0:  # or faster than our lock
                    return name, fd
            except BlockingIOError:
                pass
            except BaseException:
                _let_go(fd)
                raise
            _let_go(fd)

    def _open_file(self, path: str) -> int:
        *folders, name = path.split("/")
        fd = self._root
        try:
            for folder in folders:
                inner = os.open(folder, _FOLDER, dir_fd=fd)
                if fd != self._root:
                    _let_go(fd)
                fd = inner
            return os.open(name, _READ | os.O_NONBLOCK, dir_fd=fd)
        finally:
            if fd != self._root:
                _let_go(fd)

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
                return _syncfs(self._parts)
            except OSError:
                self._losses += 1
                self._distrust_the_shelf()
                raise

    def _distrust_the_shelf(self) -> None:
        """Let nobody continue what may have lost bytes: without its record, nobody does."""
        with suppress(OSError):
            for name in os.listdir(self._partials):
                if name.endswith(_Shelf.RECORD):
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
            folders.update("/".join(within[:depth]) for depth in range(1, len(within) + 1))
        return folders

    def _rename(self, draft: FileDraft, within: Sequence[str], file: str) -> None:
        if not within:
            draft.rename(file, self._root)
            return
        fd = self._root
        try:
            for folder in within:
                inner = _enter(fd, folder)
                if fd != self._root:
                    _let_go(fd)
                fd = inner
            draft.rename(file, fd)
        finally:
            if fd != self._root:
                _let_go(fd)

    def _sync_folders(self, folders: set[str]) -> None:
        if len(folders) > _FEW and self._sync_disk():
            return
        for folder in folders:
            _sync_folder(os.open(folder or ".", _FOLDER, dir_fd=self._root))


def trouble_of(error: OSError) -> DiskTrouble:
    """Translate an error of the disk into a sentence without paths."""
    sentence = _SENTENCES.get(error.errno or 0, "The disk could not take a file")
    return DiskTrouble(f"{sentence} ({errno.errorcode.get(error.errno or 0, 'unknown')}).")


def _make(path: Path) -> None:
    """Make the output folder and the folders above it, durably, where they are missing."""
    if not path.is_dir():
        _make(path.parent)
        with suppress(FileExistsError):
            os.mkdir(path)
        with suppress(PermissionError):  # one may be allowed to make folders where one may not look
            _sync_folder(os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))


def reap(all_parts: int) -> None:
    """Remove the folders for temporary files whose owners are dead: nobody holds their lock."""
    for name in os.listdir(all_parts):
        try:
            fd = os.open(name, _FOLDER, dir_fd=all_parts)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_folder(all_parts, name, fd)
        except OSError:
            pass  # its owner lives
        finally:
            _let_go(fd)


def _remove_folder(parent: int, name: str, fd: int) -> None:
    with suppress(OSError):
        for leftover in os.listdir(fd):
            with suppress(OSError):
                os.unlink(leftover, dir_fd=fd)
        os.rmdir(name, dir_fd=parent)


def _let_go(fd: int) -> None:
    """Close what was not written to: whatever the system says, the descriptor is gone and nothing is lost."""
    with suppress(OSError):
        os.close(fd)


def _lock_file(name: str, folder: int) -> int:
    """Open a file for reading and writing and lock it; OSError if it is missing, or somebody else's."""
    fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_at(name, folder, fd):  # whoever had the lock gave the file another name
            raise FileNotFoundError(errno.ENOENT, "it has gone")
    except OSError:
        _let_go(fd)
        raise
    return fd


def _is_at(name: str, folder: int, fd: int) -> bool:
    """Does this name still mean this open file?"""
    return os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=folder, follow_symlinks=False))


def _known_of(shelf: _Shelf, fd: int) -> str | None:
    """Return what is known of a shelved body; None, OSError or ValueError: it is not to be trusted."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
        return None
    record = json.loads(_read_small(shelf.record, shelf.folder))
    # After a crash of the machine a file may be longer than what of it reached the disk.
    if not isinstance(record, dict) or not _BOOT or record.get("boot") != _BOOT:
        return None
    known = record.get("known")
    return known if isinstance(known, str) else None


def _read_small(name: str, folder: int) -> bytes:
    fd = os.open(name, _READ, dir_fd=folder)
    try:
        return os.read(fd, _PIECE)
    finally:
        _let_go(fd)


def _boot() -> str:
    """Return what identifies this run of the machine; empty where nothing does."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


_BOOT = _boot()


def _enter(parent: int, name: str) -> int:
    """Open a folder within another, made if it is missing."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o777, dir_fd=parent)
    return os.open(name, _FOLDER, dir_fd=parent)


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
            _let_go(fd)


def _sync_folder(fd: int) -> None:
    """Sync a folder, where its file system can do that, and close it."""
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    finally:
        _let_go(fd)


def _find_syncfs() -> Callable[[int], int] | None:
    try:
        function = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):  # not Linux
        return None
    function.argtypes, function.restype = [ctypes.c_int], ctypes.c_int
    return function


_libc_syncfs = _find_syncfs()


def _syncfs(fd: int) -> bool:
    """Have the whole file system on the disk; False where there is no such call. Raises OSError."""
    if _libc_syncfs is None:
        return False
    if _libc_syncfs(fd) != 0:
        code = ctypes.get_errno()
        if code in (errno.ENOSYS, errno.EINVAL):
            return False
        raise OSError(code, os.strerror(code))
    return True
