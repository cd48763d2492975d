"""The name of a stored body, and its path below the output folder."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import partial

try:  # as Python's own random does: without OpenSSL's setup a name takes half the instructions
    from _md5 import md5  # type: ignore[import-not-found]  # a part of CPython that the type stubs leave out
except ImportError:
    from hashlib import md5 as _md5

    md5 = partial(_md5, usedforsecurity=False)

_NAME = re.compile(r"[0-9a-f]{32}")
_PLACES = re.compile(r"[0-9a-f]{32}|[0-9a-f]{2}(/[0-9a-f]{2}(/[0-9a-f]{32})?)?")


class Layout(StrEnum):
    """How files are spread below the output folder."""

    FLAT = "flat"  #: every file directly in the output folder
    SHARDED = "sharded"  #: ``ab/cd/<name>``: an ext4 folder is full at about 7.5 million entries


_SHARDED = Layout.SHARDED  # looking a member up in its enum is slow, and this is done per URL


def output_name(url: str | bytes) -> str:
    """Return the md5, in hex, of a URL's exact UTF-8 bytes.

    Nothing is normalised: two spellings of a URL are two names.
    """
    exact = url.encode() if isinstance(url, str) else url
    # MD5 names things here; it protects nothing.
    name: str = md5(exact).hexdigest()
    return name


def output_digest(exact: bytes) -> bytes:
    """Return ``output_name`` as its 16 bytes."""
    digest: bytes = md5(exact).digest()
    return digest


def is_output_path(path: str) -> bool:
    """Could a path relative to the output folder be that of a file, or of a folder of files, in any layout?"""
    return _PLACES.fullmatch(path) is not None


def output_path(name: str, layout: Layout) -> str:
    """Return the path of a file relative to the output folder.

    Raises:
        ValueError: ``name`` was not made by ``output_name``. Names arrive in messages, and nothing received may choose
            a path.
    """
    if not _NAME.fullmatch(name):
        raise ValueError("a file's name is 32 lower-case hexadecimal digits")
    if layout is _SHARDED:
        return f"{name[:2]}/{name[2:4]}/{name}"
    return name
