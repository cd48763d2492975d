"""Waits for libcurl's sockets, with select or epoll, and for a pipe through which other threads end the wait."""

from __future__ import annotations

import os
import select
import threading
from contextlib import suppress
from typing import Any

import pycurl

# select() does not support descriptors from 1,024 on, and libcurl silently leaves them out. It is faster for small
# bodies, so it is used while descriptors are clearly below.
HIGHEST_SELECTED = 900

# A wait with select() takes 2 us per socket, ready or not; with epoll, one that is ready costs 5 us more.
_SPARSE = 32  # sockets watched per one that is ready, from which epoll is cheaper
_SAMPLE = 10_000  # sockets watched, of which the share is taken

# The same numbers under both names; epoll.poll takes seconds, poll.poll milliseconds.
_POLL_UNIT = 1.0 if hasattr(select, "epoll") else 1000.0
_READ, _WRITE = select.POLLIN, select.POLLOUT
_INTERESTS = {pycurl.POLL_IN: _READ, pycurl.POLL_OUT: _WRITE, pycurl.POLL_INOUT: _READ | _WRITE}


class Selecting:
    """Waits with select(): few Python calls per transfer, few descriptors, most of them busy."""

    def __init__(self, multi: Any, wake: int) -> None:
        multi.setopt(pycurl.M_SOCKETFUNCTION, None)
        self._multi = multi
        self._wake = wake
        self._watched = self._ready = 0
        self.is_sparse = False  # few of the sockets it watched were ready

    def wait(self, seconds: float) -> bool:
        """Wait for events for at most this long, then transfer bytes once; True: ``wake`` was readable."""
        is_woken = False
        if seconds > 0:
            readable, writable, exceptional = self._multi.fdset()
            readable.append(self._wake)
            ready, ready_to_write, _ = select.select(readable, writable, exceptional, seconds)
            is_woken = self._wake in ready
            if ready or ready_to_write:
                self._watched += len(readable) + len(writable)
                self._ready += len(ready) + len(ready_to_write)
                if self._watched >= _SAMPLE:
                    self.is_sparse = self._watched >= _SPARSE * self._ready
                    self._watched = self._ready = 0
        self._multi.perform()
        return is_woken

    def close(self) -> None:
        """Nothing to close."""


class Polling:
    """Waits with epoll (or poll): any number of descriptors, and silent ones cost nothing; a few more Python calls per
    transfer.
    """

    def __init__(self, multi: Any, wake: int) -> None:
        self._multi = multi
        self._wake = wake
        self._poller: Any = select.epoll() if hasattr(select, "epoll") else select.poll()
        self._poller.register(wake, _READ)
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)

    def wait(self, seconds: float) -> bool:
        """Wait for events for at most this long, then transfer bytes once; True: ``wake`` was readable."""
        is_woken = False
        for fd, event in self._poller.poll(seconds * _POLL_UNIT):
            if fd == self._wake:
                is_woken = True
                continue
            action = (pycurl.CSELECT_IN if event & _READ else 0) | (pycurl.CSELECT_OUT if event & _WRITE else 0)
            self._multi.socket_action(fd, action or pycurl.CSELECT_ERR)
        # libcurl's timers are polled: it reports each only once, and one reported slightly early is not reported again.
        if self._multi.timeout() == 0:
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
        return is_woken

    def close(self) -> None:
        if hasattr(self._poller, "close"):
            self._poller.close()

    def _watch(self, what: int, fd: int, _multi: Any, _data: Any) -> None:
        interest = _INTERESTS.get(what)
        try:
            if interest is None:
                self._poller.unregister(fd)
            else:
                self._poller.register(fd, interest)
        except FileExistsError:
            self._poller.modify(fd, interest)
        except (OSError, KeyError):
            return  # libcurl has closed it already


class WakePipe:
    """Makes ``fd`` readable from ``wake`` until ``clear``; only ``wake`` is thread-safe."""

    def __init__(self) -> None:
        self.fd, self._entrance = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._entrance, False)
        self._is_woken = False
        self._lock = threading.Lock()
        self._poller = select.poll()
        self._poller.register(self.fd, _READ)

    def wake(self) -> None:
        if not self._is_woken:
            self._is_woken = True
            with self._lock, suppress(OSError):  # full: it wakes anyway; closed: no thread waits
                os.write(self._entrance, b"\0")

    def wait(self, seconds: float | None) -> bool:
        """Wait for ``wake`` only, at most this long (None: for ever); return whether it was called."""
        return bool(self._poller.poll(None if seconds is None else seconds * 1000))

    def clear(self) -> None:
        with suppress(BlockingIOError):
            os.read(self.fd, 4096)
        self._is_woken = False

    def close(self) -> None:
        with self._lock:
            os.close(self.fd)
            os.close(self._entrance)
            self._entrance = -1  # a late wake must not write to a file that reuses the descriptor
