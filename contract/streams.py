"""Standard streams that never raise: if one is closed, full or not read, only the text written to it is lost."""

from __future__ import annotations

import io
import math
import os
import select
import stat
import sys
import time
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_PATIENCE = 5.0  # seconds standard error waits for a reader that stopped reading, or a stopped terminal
_PAUSE = 0.01  # seconds between two checks
_PIECE = select.PIPE_BUF  # bytes a writable pipe accepts without blocking


class Outlet(io.RawIOBase):
    """Writes to a descriptor while possible and drops the rest; ``fault`` is the first error."""

    def __init__(self, descriptor: int, *, patience: float = math.inf) -> None:
        """``patience`` is how long to wait for a reader that stopped reading, in seconds; once."""
        self._descriptor = descriptor
        self._patience = patience
        self._is_stuck = False
        self._is_file = _is_file(descriptor)
        self.fault: OSError | None = None

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, text: ReadableBuffer) -> int:
        """Accept all of it; what cannot be written is dropped."""
        left = memoryview(text)
        whole = len(left)
        try:
            while left:
                left = left[self._write_some(left) :]
        except OSError as error:
            self.fault = self.fault or error
        return whole

    def _write_some(self, left: memoryview) -> int:
        until = time.monotonic() + (0.0 if self._is_stuck else self._patience)
        while True:
            if self._is_file or select.select([], [self._descriptor], [], 0.0)[1]:
                try:
                    written = os.write(self._descriptor, left[:_PIECE])
                except BlockingIOError:
                    pass  # full and non-blocking: set by us, or by a program that shares it
                else:
                    self._is_stuck = False
                    return written
            if time.monotonic() >= until:
                self._is_stuck = True
                raise TimeoutError("its reader has stopped")
            time.sleep(_PAUSE)


def _is_file(descriptor: int) -> bool:
    """Is it a regular file? Those never block, and eventlet's ``select`` cannot wait for them: epoll rejects files."""
    try:
        return stat.S_ISREG(os.fstat(descriptor).st_mode)
    except OSError:
        return False


def harden() -> Outlet:
    """Replace ``sys.stdout`` and ``sys.stderr`` by streams that never raise; return the outlet of standard output."""
    fill_gaps()
    outlet = Outlet(1)
    sys.stdout = _text(outlet, sys.stdout)
    sys.stderr = _text(Outlet(_without_waiting(2), patience=_PATIENCE), sys.stderr, is_error=True)
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc]  # where Celery logs to
    return outlet


def fill_gaps() -> None:
    """Open /dev/null in place of missing standard descriptors.

    Call it first: otherwise the next file or socket gets the number, and output is written into it.
    """
    while (nowhere := os.open(os.devnull, os.O_RDWR)) <= 2:  # open() returns the lowest free number
        os.set_inheritable(nowhere, True)  # child processes get it too
    os.close(nowhere)


def _without_waiting(descriptor: int) -> int:
    """Return a non-blocking descriptor of the same terminal, whose shared descriptor stays blocking."""
    try:
        return os.open(os.ttyname(descriptor), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return descriptor


def _text(outlet: Outlet, instead_of: TextIO | None, *, is_error: bool = False) -> io.TextIOWrapper:
    encoding = instead_of.encoding if instead_of is not None else "utf-8"
    # Paths may hold characters the terminal cannot show.
    return io.TextIOWrapper(
        io.BufferedWriter(outlet),
        encoding=encoding,
        errors="backslashreplace",
        line_buffering=is_error or outlet.isatty(),
    )
