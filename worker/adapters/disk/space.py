"""The space of a disk above its floor: reserved for a body before its bytes arrive."""

from __future__ import annotations

import errno
import os
import re
import resource
from typing import Protocol

from contract.ledger.reasons import Reason
from worker.adapters.disk.descriptors import set_aside
from worker.engine.ports import BodyTooLargeError, DiskTrouble, NoSpaceError

LARGE = 64 * 1024  # bytes from which space is reserved; smaller files are written as soon as they are opened
BLOCK = 4096  # bytes a file may occupy beyond its size

_PROCESSES = 16  # that may share a disk: each uses at most this fraction of its space before it checks again
_ENOUGH_FOR_OTHERS = 16 * 1024**2  # bytes above the floor that make smaller bodies worth fetching
_ERROR_NAME = re.compile(r"\((E[A-Z]+|inodes)\)\.$")  # at the end of a sentence
_UNKNOWN = 1 << 62  # bytes free, if the file system does not say


class Growing(Protocol):
    """A file with promised space."""

    @property
    def unwritten(self) -> int:
        """Bytes promised but not written yet."""
        ...


class Space:
    """What one process may still write to a disk so that ``floor`` bytes stay free.

    The file system itself reserves the space, so that all processes of all workers see less free space. If it cannot
    (NFS before 4.2, most FUSE mounts), this process only counts what its own files were promised.
    """

    def __init__(self, folder: int, floor: int) -> None:
        """``folder`` is an open folder on the disk."""
        self._folder = folder
        self._floor = floor
        self.spare = 0  # bytes of small files until the next check; several threads may count it down
        self._is_set_aside = True
        self._growing: set[Growing] = set()  # files whose space is counted, not reserved
        largest = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        self._largest = largest if largest != resource.RLIM_INFINITY else _UNKNOWN

    def promise(self, file: Growing, fd: int, held: int, size: int) -> None:
        """Make sure that an open file that was promised ``held`` bytes can have ``size``.

        Raises:
            BodyTooLargeError: it never can.
            NoSpaceError: it cannot now, but smaller ones can.
            DiskTrouble: the disk is full, or fails.
        """
        more = size - held if size >= LARGE else size - held + BLOCK
        if more > self.spare or size > self._largest:
            self._look(size, more)
        self.spare -= more
        if size < LARGE:
            return
        if self._is_set_aside and self._set_aside(fd, held, size):
            self._look(size, 0)
        else:
            self._growing.add(file)

    def forget(self, file: Growing) -> None:
        """The file will not grow any more."""
        self._growing.discard(file)

    def trouble(self) -> DiskTrouble | None:
        """Return why nothing more should be written now; None: nothing is wrong. Raises OSError."""
        found = os.fstatvfs(self._folder)
        if found.f_flag & os.ST_RDONLY:
            return trouble_of(OSError(errno.EROFS, ""))
        if found.f_files and not found.f_favail:
            return DiskTrouble("The disk has no room for another file (inodes).")
        free = _free(found)
        self.spare = max(0, free - self._floor - self._unwritten()) // _PROCESSES
        return self._below(free) if free < self._floor else None

    def _look(self, size: int, more: int) -> None:
        """Take a new part of the free space, if a file of this size can have ``more`` bytes."""
        try:
            found = os.fstatvfs(self._folder)
        except OSError as error:
            raise trouble_of(error) from error
        free = _free(found)
        ever = found.f_blocks * found.f_frsize - self._floor if found.f_blocks else _UNKNOWN
        if size > min(ever, self._largest):
            raise BodyTooLargeError(_too_large(size, min(ever, self._largest)))
        space = free - self._floor - self._unwritten()
        if more > space:
            raise self._refusal(size, free, space)
        self.spare = max(more, space // _PROCESSES)

    def _refusal(self, size: int, free: int, space: int) -> DiskTrouble:
        if space >= _ENOUGH_FOR_OTHERS:
            kept = f" and {self._floor >> 20} MiB must stay free" if self._floor else ""
            return NoSpaceError(f"A body of {size >> 20} MiB waits: the disk has {free >> 20} MiB free{kept}.")
        return self._below(free) if self._floor else trouble_of(OSError(errno.ENOSPC, ""))

    def _below(self, free: int) -> DiskTrouble:
        below = "less than" if free < self._floor else "hardly more than"
        return DiskTrouble(f"The disk has {free >> 20} MiB free, {below} the {self._floor >> 20} MiB to be kept free.")

    def _set_aside(self, fd: int, held: int, size: int) -> bool:
        try:
            self._is_set_aside = set_aside(fd, held, size - held)
        except OSError as error:
            if error.errno == errno.EFBIG:
                raise BodyTooLargeError(TOO_LARGE) from error
            raise trouble_of(error) from error
        return self._is_set_aside

    def _unwritten(self) -> int:
        return sum(file.unwritten for file in tuple(self._growing))


_SENTENCES = {
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "The disk quota is used up",
    errno.EROFS: "The output folder is read-only",
    errno.EACCES: "The output folder may not be written to",
    errno.EPERM: "The output folder may not be written to",
    errno.EMFILE: "This process has no file descriptors left",
    errno.ENFILE: "This machine has no file descriptors left",
    errno.EIO: "The disk reported an error",
    errno.ENOENT: "The output folder is gone",
    errno.ESTALE: "The output folder was replaced, moved or unmounted",
    errno.ENOTDIR: "The output folder is a file now",
    errno.ENOTCONN: "The file system of the output folder is not connected",
}

TOO_LARGE = "The body is larger than any file of the output's file system (EFBIG)."


def trouble_of(error: OSError) -> DiskTrouble:
    """Translate an error of the disk into a sentence without paths."""
    sentence = _SENTENCES.get(error.errno or 0, "The disk could not take a file")
    return DiskTrouble(f"{sentence} ({errno.errorcode.get(error.errno or 0, 'unknown')}).")


def label_of(sentence: str) -> Reason:
    """Return the label of a trouble from its sentence, which ends with an error's name or says how much is free."""
    match = _ERROR_NAME.search(sentence)
    if match is not None:
        return Reason.of(match[1])
    return Reason.SPACE if "MiB" in sentence else Reason.OTHER


def _too_large(size: int, most: int) -> str:
    return f"The body of {size} bytes is more than the output's file system could ever hold ({max(0, most)} bytes)."


def _free(found: os.statvfs_result) -> int:
    """Return the free bytes; mounted buckets may report no size at all."""
    return found.f_bavail * found.f_frsize if found.f_blocks else _UNKNOWN
