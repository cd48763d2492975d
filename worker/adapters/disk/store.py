"""A job's bodies as files below an output folder: complete and durable under their names, or absent."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence

from contract.errors import SettingError
from contract.records.policy import Sync
from contract.urls.naming import Layout, output_path
from worker.adapters.disk.descriptors import FOLDER, READ, digests_of, let_go, sync_folder
from worker.adapters.disk.draft import FileDraft
from worker.adapters.disk.folder import OutputFolder
from worker.adapters.disk.opening import Opening
from worker.adapters.disk.space import trouble_of
from worker.engine.ports import Draft, Obstacle, Response

_FEW = 8  # folders to sync one by one; with more, their file system is synced
_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.ELOOP)  # a folder where a file belongs, or the reverse


class FolderStore:
    """Implements ``worker.engine.ports.Store`` for a job; all stores of a process share its output folder."""

    def __init__(self, folder: OutputFolder, *, layout: Layout, sync: Sync) -> None:
        self._folder = folder
        self._layout = layout
        self._sync = sync

    def open(self, name: str, head: Response) -> FileDraft:
        return self._folder.draft(output_path(name, self._layout), head.length)

    def resume(self, name: str) -> tuple[FileDraft, int, str] | None:
        return self._folder.resume(output_path(name, self._layout))

    def publish(self, group: Sequence[Draft], may: Callable[[], bool]) -> Sequence[str | Obstacle] | None:
        drafts = _files(group)
        opening = self._folder.opening
        try:
            opening.expect_in_place()
            if self._sync is Sync.BATCH:
                self._folder.sync_all(drafts, opening)
            elif self._sync is Sync.FILE:
                for draft in drafts:
                    draft.sync()
            if not may():
                return None
            paths = [_rename(draft, opening) for draft in drafts]
            if self._sync is not Sync.NONE:
                self._sync_folders(paths, opening)
            opening.expect_in_place()  # files named in a folder that has gone are nowhere
        except OSError as error:
            raise trouble_of(error) from error
        return paths

    def holds(self, name: str, size: int, digest: str) -> str | None:
        algorithm, _, expected = digest.partition(":")
        try:
            path = output_path(name, self._layout)
            fd = _open_file(path, self._folder.opening)
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode) or found.st_size != size:
                    return None
                return path if not expected or digests_of(fd, [algorithm])[algorithm] == expected else None
            finally:
                let_go(fd)
        except (OSError, ValueError, SettingError):
            return None

    def trouble(self) -> str | None:
        return self._folder.trouble()

    def _sync_folders(self, paths: Sequence[str | Obstacle], opening: Opening) -> None:
        folders = {""}
        for path in paths:
            if isinstance(path, str) and "/" in path:
                *within, _ = path.split("/")
                folders.update("/".join(within[:depth]) for depth in range(1, len(within) + 1))
        if len(folders) > _FEW and self._folder.sync_disk(opening):
            return
        for folder in folders:
            sync_folder(os.open(folder or ".", FOLDER, dir_fd=opening.root))


def _files(group: Sequence[Draft]) -> list[FileDraft]:
    drafts = [draft for draft in group if isinstance(draft, FileDraft)]
    assert len(drafts) == len(group), "a draft of another store"
    return drafts


def _rename(draft: FileDraft, opening: Opening) -> str | Obstacle:
    if draft.opening is not opening:
        raise OSError(errno.ESTALE, "")
    try:
        if "/" not in draft.path:
            draft.rename(draft.path, opening.root)
        else:
            *within, file = draft.path.split("/")
            with opening.below(within, make=True) as folder:
                draft.rename(file, folder)
    except OSError as error:
        if error.errno not in _IN_THE_WAY:
            raise
        found = "a folder where a file belongs, or the reverse"
        return Obstacle(f"Something in the output folder is in the way of {draft.path}: {found}.")
    return draft.path


def _open_file(path: str, opening: Opening) -> int:
    opening.expect_in_place()
    *within, file = path.split("/")
    with opening.below(within) as folder:
        return os.open(file, READ | os.O_NONBLOCK, dir_fd=folder)
