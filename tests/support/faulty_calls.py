"""The system calls the output folder makes, written down, failing or fatal at the n-th of them.

    with FaultyCalls(at=7, code=errno.ENOSPC) as calls:     # the seventh call fails
        ...
    calls.made                                              # what was called, in order, and on what

A layer over what `worker.adapters.disk` knows as `os`, `fcntl`, syncfs(2) and fallocate(2), and over nothing else of
the process.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from worker.adapters.disk import descriptors, draft, folder, opening, partials, space, store

#: Calls that change something or can run out of something: each is counted.
COUNTED = frozenset(
    {"open", "pwrite", "fsync", "syncfs", "rename", "close", "mkdir", "unlink", "rmdir", "listdir", "read", "flock"}
    | {"fstat", "fstatvfs", "ftruncate", "link", "pread", "stat", "scandir", "replace", "write", "fallocate"}
)
#: What fails as long as a disk is full or read-only; opening does where it makes a file.
_NEEDY = frozenset(
    {"pwrite", "write", "mkdir", "rename", "replace", "link", "ftruncate", "fsync", "syncfs", "fallocate"}
)

_TWO_PATHS = frozenset({"rename", "replace", "link"})
_REPLACED = [
    (vars(module), name, vars(module)[name])
    for module in (descriptors, draft, folder, opening, partials, space, store)
    for name in ("os", "fcntl", "_libc_syncfs", "_libc_fallocate")
    if name in vars(module)
]


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its name and the path it was made on, relative to the output folder; `rename` has two."""

    name: str
    path: str
    old_path: str = ""


class FaultyCalls:
    """Counts the calls from 1; one at a time may be in place.

    `code` is the error the call number `at` fails with, and with `lasting` every later one that needs space. A failing
    close has closed, as on Linux; every other failing call did nothing. Without `code`, the process is killed in place
    of the call. `short` makes every pwrite write one byte less than asked, to the last one. Syncing calls are only
    written down: what they cost is the machine's.
    """

    def __init__(self, *, at: int = 0, code: int | None = None, lasting: bool = False, short: bool = False) -> None:
        self.made: list[Call] = []
        self.failed: Call | None = None
        self._at = at
        self._code = code
        self._lasting = lasting
        self._short = short
        self._paths: dict[int, str] = {}
        self._root = ""
        self._lock = threading.Lock()

    def __enter__(self) -> FaultyCalls:
        assert all(names[name] is real for names, name, real in _REPLACED), "one at a time"
        ours = {"_libc_syncfs": self._syncfs, "_libc_fallocate": self._fallocate}
        for names, name, _ in _REPLACED:
            names[name] = ours.get(name, self)
        return self

    def __exit__(self, *_: object) -> None:
        for names, name, real in _REPLACED:
            names[name] = real

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name) if hasattr(os, name) else getattr(fcntl, name)
        if name not in COUNTED:
            return real

        def counted(*args: Any, **options: Any) -> Any:
            return self._call(name, real, args, options)

        return counted

    def note(self, name: str, path: str = "") -> None:
        """Write down something that is not a call, in its place between them."""
        with self._lock:
            self.made.append(Call(name, path))

    def names(self) -> list[str]:
        return [call.name for call in self.made]

    def _call(self, name: str, real: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        path = self._path(name, args, options)
        is_needy = name in _NEEDY or (name == "open" and (bool(args[1] & os.O_CREAT) or self._code == errno.EMFILE))
        old_path = self._join(options.get("src_dir_fd"), args[0]) if name in _TWO_PATHS else ""
        is_faulty = self._count(Call(name, path, old_path), is_needy=is_needy)
        if is_faulty and name != "close":
            raise OSError(self._code, f"made up: {os.strerror(self._code or 0)}")
        if name == "fsync":
            return None
        if name == "pwrite" and self._short and len(args[1]) > 1:
            args = (args[0], args[1][:-1], *args[2:])
        answer = real(*args, **options)
        if name == "open":
            self._paths[answer] = path
        if is_faulty:
            raise OSError(self._code, f"made up: {os.strerror(self._code or 0)}")
        return answer

    def _syncfs(self, fd: int) -> int:
        if self._count(Call("syncfs", self._paths.get(fd, "")), is_needy=True):
            ctypes.set_errno(self._code or 0)
            return -1
        return 0

    def _fallocate(self, fd: int, mode: int, at: int, size: int) -> int:
        if self._count(Call("fallocate", self._paths.get(fd, "")), is_needy=True):
            ctypes.set_errno(self._code or 0)
            return -1
        real = next(real for _, name, real in _REPLACED if name == "_libc_fallocate")
        return int(real(fd, mode, at, size))

    def _count(self, call: Call, *, is_needy: bool) -> bool:
        """Is this call to fail? Does not return where it is to be the process's last."""
        with self._lock:
            self.made.append(call)
            number = len(self.made)
            is_it = number == self._at
            is_later = self._lasting and is_needy and 0 < self._at < number
            if not (is_it or is_later):
                return False
            if self._code is None:
                os.kill(os.getpid(), signal.SIGKILL)
            self.failed = self.failed or call
            return True

    def _path(self, name: str, args: tuple[Any, ...], options: dict[str, Any]) -> str:
        if name in _TWO_PATHS:
            return self._join(options.get("dst_dir_fd"), args[1])
        if args and isinstance(args[0], int):
            return self._paths.get(args[0], "")
        if options.get("dir_fd") is None:
            return ""  # the output folder itself, or one above it
        return self._join(options["dir_fd"], args[0])

    def _join(self, folder: int | None, name: object) -> str:
        within = self._paths.get(folder, "") if folder is not None else ""
        return within if name == "." else os.path.join(within, str(name))
