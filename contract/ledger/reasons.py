"""Words for what keeps a worker from working: few and known beforehand, because a metric has a series for each."""

from __future__ import annotations

import re
from enum import StrEnum

_CODE = re.compile(r"\((E[A-Z]+|inodes)\)\.")


class Reason(StrEnum):
    """Why a worker takes no work, or lets a large body wait."""

    ENOSPC = "ENOSPC"  #: the disk is full
    EDQUOT = "EDQUOT"  #: the user's or the folder's quota is used up
    SPACE = "space"  #: less is free than --min-free leaves, or than a body needs
    INODES = "inodes"  #: no file more fits on the disk
    EROFS = "EROFS"  #: the disk is read-only
    EIO = "EIO"  #: the disk fails
    EACCES = "EACCES"  #: the folder may not be written to
    EPERM = "EPERM"  #: the same
    ENOENT = "ENOENT"  #: the folder is gone
    ENOTDIR = "ENOTDIR"  #: it is no folder
    ESTALE = "ESTALE"  #: its server has forgotten it
    OTHER = "other"  #: something else: the worker's log and `trawl status` say what


_BY_WORD = {str(reason): reason for reason in Reason}


def reason_of(sentence: str) -> Reason:
    """Return the word for a trouble's sentence."""
    match = _CODE.search(sentence)
    if match:
        return _BY_WORD.get(match[1], Reason.OTHER)
    return Reason.SPACE if "MiB" in sentence else Reason.OTHER
