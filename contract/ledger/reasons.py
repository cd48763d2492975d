"""Labels for what keeps a worker from working: a fixed set, because a metric has a series for each."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a worker takes no work, or lets a large body wait."""

    ENOSPC = "ENOSPC"  #: the disk is full
    EDQUOT = "EDQUOT"  #: the user's or the folder's quota is used up
    SPACE = "space"  #: less is free than --min-free leaves, or than a body needs
    INODES = "inodes"  #: the disk has no inode left
    EROFS = "EROFS"  #: the disk is read-only
    EIO = "EIO"  #: the disk fails
    EACCES = "EACCES"  #: this user may not write to the folder
    EPERM = "EPERM"  #: the same
    ENOENT = "ENOENT"  #: the folder is gone
    ENOTDIR = "ENOTDIR"  #: it is not a folder
    ESTALE = "ESTALE"  #: the file server no longer knows it
    OTHER = "other"  #: something else: the worker's log and `trawl status` say what

    @classmethod
    def of(cls, word: object) -> Reason:
        """Return the label with this text; OTHER if another version has labels that we lack."""
        return next((reason for reason in cls if reason == word), cls.OTHER)
