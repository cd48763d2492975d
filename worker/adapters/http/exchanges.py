"""Concurrent exchanges on one multi handle of libcurl."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Generic

import pycurl

from worker.adapters.http.addresses import HandedAddresses
from worker.adapters.http.breakages import is_of_connection
from worker.adapters.http.handle import B, Common, Egress, Handle
from worker.adapters.http.streams import StreamWatch
from worker.adapters.http.waiting import HIGHEST_SELECTED, Polling, Selecting, WakePipe
from worker.engine.ports import Ended, Request
from worker.engine.safety import AddressPolicy

AT_ONCE = 16  # exchanges handled per call, so that those that follow them can start
_VERDICTS_KEPT = 10_000
_STEP = 32  # connections
_LONGEST_SLEEP = 1.0  # seconds, if libcurl has no timer


class CurlHttp(Generic[B]):
    """Implements ``worker.engine.ports.Http``: one multi handle with its connections, TLS sessions and CA store.

    All exchanges of an object share its ``AddressPolicy``. Jobs that allow different networks use different objects, so
    that they never share connections.
    """

    def __init__(
        self,
        *,
        addresses: AddressPolicy,
        window: int,
        ca_file: str,
        ipv4_only: bool,
        http3: bool,
        egress: Egress | None = None,
        kept: int = 256,
    ) -> None:
        """``window`` exchanges are expected at once, on at most ``kept`` connections, idle ones included.

        Quiet exchanges beyond the window get connections in addition to those.
        """
        aims = lru_cache(maxsize=_VERDICTS_KEPT)(addresses.verdict)
        self._streams = StreamWatch()
        self._common = Common(
            judge=aims if egress is None else egress.verdict,
            aims=aims,
            streams=self._streams,
            crowd=self._crowd,
            ca_file=ca_file,
            ipv4_only=ipv4_only,
            http3=http3,
            egress=egress,
        )
        self._multi = pycurl.CurlMulti()
        self._window = window
        self._kept = kept
        self._most_connections = 0
        self._allow_connections(0)
        self._multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
        self._add: Callable[[Any], None] = self._multi.add_handle
        self._remove: Callable[[Any], None] = self._multi.remove_handle
        self._idle: list[Handle[B]] = []
        self._busy: dict[B, Handle[B]] = {}
        self._handles: dict[Any, Handle[B]] = {}  # by easy handle
        self._handed = HandedAddresses()
        self._unread = self._handed.unread  # the same set; emptied after libcurl's next call
        self._shared = -1  # the last connection that broke with several exchanges on it
        self._has_new = False
        self._has_more = False  # more exchanges have ended than ``wait`` returned
        self._pipe = WakePipe()
        # Connections, in use and idle, and a file for each.
        self._is_crowded = max(self._pipe.fd, 4 * window) > HIGHEST_SELECTED
        self._driver: Selecting | Polling = Selecting(self._multi, self._pipe.fd)

    def begin(self, request: Request, body: B) -> Sequence[bytes]:
        handle = self._idle.pop() if self._idle else self._new_handle()
        try:
            lines = handle.prepare(request, body)
            if handle.is_tls or handle.is_early or handle.listens:
                self._streams.begin(handle, request, self._busy.values())
            name = handle.name
            if self._unread and self._handed.is_leaving(name):
                self._look()
            addresses = request.addresses if handle.address is None else (handle.address,)
            more = self._handed.use(name, addresses)
            self._busy[body] = handle
            if lines or more:
                handle.curl.setopt(pycurl.RESOLVE, [*lines, *more])
            self._add(handle.curl)
        except BaseException:
            if self._busy.pop(body, None) is not None:
                self._handed.release(handle.name)
            self._discard(handle)
            raise
        self._has_new = True
        return handle.lines

    def drop(self, body: B) -> Ended:
        handle = self._busy.pop(body, None)
        if handle is None:  # it has just ended
            return Ended()
        self._handed.release(handle.name)
        self._remove(handle.curl)
        return self._discard(handle)

    def wait(self, seconds: float | None) -> Sequence[tuple[B, Ended]]:
        driver = self._driver
        if isinstance(driver, Selecting):
            if driver.is_sparse or self._is_crowded:
                self._poll()
        elif not (self._busy or self._is_crowded):  # libcurl has no sockets to take back
            driver.close()
            self._driver = Selecting(self._multi, self._pipe.fd)
        if not self._busy:
            if self._pipe.wait(seconds):
                self._pipe.clear()
            return ()
        if self._has_new or self._has_more:
            self._look()
            ended = self._collect()
            if ended:
                return ended
        asked = self._multi.timeout()
        limit = _LONGEST_SLEEP if asked < 0 else asked / 1000
        if self._perform(limit if seconds is None else min(limit, seconds)):
            self._pipe.clear()
        return self._collect()

    def wake(self) -> None:
        self._pipe.wake()

    def close(self) -> None:
        for body in list(self._busy):
            self.drop(body)
        for handle in self._idle:
            handle.curl.close()
        self._idle.clear()
        self._multi.close()  # closes pooled connections and reports that to the driver
        self._driver.close()
        self._pipe.close()

    def _poll(self) -> None:
        """Wait with epoll from now on."""
        self._driver = Polling(self._multi, self._pipe.fd)
        for handle in self._busy.values():  # makes libcurl report its existing sockets
            with suppress(pycurl.error):  # it has no connection now
                handle.curl.pause(pycurl.PAUSE_ALL)
                handle.curl.pause(pycurl.PAUSE_CONT)

    def _allow_connections(self, more: int) -> None:
        """Set how many connections libcurl may keep: those of the window, and ``more`` for exchanges beyond it."""
        most = self._kept if more <= 0 else self._kept + -(-more // _STEP) * _STEP
        if most != self._most_connections:
            self._most_connections = most
            self._multi.setopt(pycurl.M_MAXCONNECTS, most)

    def _look(self) -> None:
        """Let libcurl process new handles, and do what is possible without waiting."""
        self._has_new = False
        self._allow_connections(len(self._busy) - self._window)
        self._perform(0.0)
        self._unread.clear()

    def _perform(self, seconds: float) -> bool:
        """Wait for events for at most this long, then transfer bytes; True: ``wake`` was called."""
        is_woken = self._driver.wait(seconds)
        if self._streams.is_unsettled:
            self._streams.settle(self._busy.values())
        return is_woken

    def _collect(self) -> list[tuple[B, Ended]]:
        left, done, broken = self._multi.info_read(AT_ONCE)
        self._has_more = left > 0
        faults = [(curl, *self._fault(curl, code, message)) for curl, code, message in broken]
        ended = [self._release(curl, 0, "") for curl in done]
        return ended + [self._release(curl, code, message) for curl, code, message in faults]

    def _fault(self, curl: Any, code: int, message: str) -> tuple[int, str]:
        """Return an exchange's error; if its connection broke with other exchanges on it, they may be the cause."""
        if is_of_connection(code, message):
            connection: int = curl.getinfo(pycurl.CONN_ID)
            others = (each.curl for each in self._busy.values() if each.curl is not curl)
            if any(other.getinfo(pycurl.CONN_ID) == connection for other in others):
                self._shared = connection  # also for the last exchange that ends with it
            if connection == self._shared:
                return pycurl.E_RECV_ERROR, "its connection broke, with others on it"
        return code, message

    def _release(self, curl: Any, code: int, message: str) -> tuple[B, Ended]:
        """Return how an exchange ended, and reuse its handle."""
        handle = self._handles[curl]
        body = handle.body
        assert body is not None
        if handle.listens:
            self._streams.learn(handle)
        ended = handle.end(code, message)
        self._remove(curl)
        del self._busy[body]
        self._handed.release(handle.name)
        self._idle.append(handle)
        return body, ended

    def _new_handle(self) -> Handle[B]:
        handle: Handle[B] = Handle(self._common)
        self._handles[handle.curl] = handle
        return handle

    def _discard(self, handle: Handle[B]) -> Ended:
        """Close a handle; return how far its exchange got."""
        ended = handle.abort()
        del self._handles[handle.curl]
        handle.curl.close()
        return ended

    def _crowd(self) -> None:
        self._is_crowded = True
