"""Which streams of HTTP/2 and HTTP/3 were reset although libcurl says that they ended.

A stream reset with NO_ERROR before its end (RFC 9113 section 8.1, RFC 9114 section 4.1) looks whole to libcurl; only
its debug text tells. Listening to that costs half of a small transfer, so a handle listens only where a body may come
that nothing but its stream ends: at an origin that has sent one, or has not answered yet; and there not to TLS
handshakes, whose certificates libcurl would write down.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable
from enum import Enum
from functools import cache

import pycurl

from worker.engine.http.headers import read_head
from worker.engine.ports import Request

_TRACED = b"http/2,http/3"
_RESET = re.compile(rb"\[HTTP/(?:2\] (\[\d+\]) <- FRAME\[RST_STREAM,|3\] (\[\d+\]) reset -> )")
_CLOSED = re.compile(rb"\[HTTP/[23]\] (\[\d+\]) CLOSED\n")
_STREAMS = ("h2", "h3")
_ORIGINS_KEPT = 10_000


class Ear:
    """What of a handle listens: the exchange it carries, and whether libcurl's debug text is heard meanwhile."""

    __slots__ = ("is_early", "is_watched", "lines", "listens", "request", "sockets", "was_reset")

    def __init__(self) -> None:
        self.request: Request | None = None  # of its exchange; None: it carries none
        self.lines: list[bytes] = []  # of the answer's headers
        self.sockets = 0  # asked for by its exchange
        self.is_early = False  # what its origin sends is not known yet
        self.is_watched = True  # a reset of its stream would be noticed
        self.listens = False  # libcurl tells it what becomes of its streams
        self.was_reset = False  # its stream was, which libcurl will call a good end

    def listen(self, listens: bool) -> None:
        """Be told what becomes of streams, or no longer; not from a callback."""
        if listens is not self.listens:
            self.listens = listens
            self.set_verbose(listens)

    def set_verbose(self, is_verbose: bool) -> None:
        """Have libcurl write its debug text for this handle."""
        raise NotImplementedError


class _Origin(Enum):
    CONNECTED = "connected"  #: there is a connection, and no answer yet
    STREAMS = "streams"  #: has sent a body that only its stream ends
    FRAMED = "framed"  #: has sent others only


class StreamWatch:
    """Which handles of one multi handle listen, and what they hear."""

    def __init__(self) -> None:
        self._is_able = _trace()
        self._origins: dict[tuple[str, int], _Origin] = {}
        self._connecting: list[Ear] = []
        self._connected: list[Ear] = []
        self._before = b""  # the line before, whichever handle it was told

    def begin(self, handle: Ear, request: Request, busy: Iterable[Ear]) -> None:
        """A handle is about to begin an exchange, beside the ``busy`` ones."""
        is_tls = self._is_able and request.place.scheme == "https"
        origin = _origin(request)
        known = self._origins.get(origin) if is_tls else _Origin.FRAMED
        if request.must_watch and is_tls and known is not _Origin.STREAMS:
            known = self._origins[origin] = _Origin.STREAMS
            _have_listen(origin, busy)
        handle.is_early = known in (None, _Origin.CONNECTED)
        handle.listen(known in (_Origin.CONNECTED, _Origin.STREAMS))
        handle.is_watched = known is _Origin.STREAMS or not is_tls

    def connecting(self, handle: Ear) -> None:
        """An early handle opens a connection of its own."""
        self._connecting.append(handle)

    def connected(self, handle: Ear) -> None:
        """An early handle is about to send its request."""
        handle.is_watched = handle.listens
        self._connected.append(handle)

    @property
    def is_unsettled(self) -> bool:
        """Has an early handle opened a connection, or sent its request, in this turn of libcurl?"""
        return bool(self._connecting or self._connected)

    def settle(self, busy: Iterable[Ear]) -> None:
        """Between two turns of libcurl: have early handles listen from the request on, and all that may read for them.

        libcurl tells of a frame whichever handle happens to read from the connection.
        """
        for handle in self._connecting:
            handle.listen(False)
        for handle in self._connected:
            if handle.request is None:
                continue
            origin = _origin(handle.request)
            # What came within the turn that sent the request has not been heard.
            handle.is_watched = handle.is_watched or not handle.lines
            handle.listen(True)
            if self._origins.setdefault(origin, _Origin.CONNECTED) is _Origin.CONNECTED:
                # Not those that connect by themselves: they will come here.
                _have_listen(origin, (each for each in busy if not each.sockets))
        self._connecting.clear()
        self._connected.clear()

    def learn(self, handle: Ear) -> None:
        """Take how the answer to one that was listened to is framed."""
        if handle.request is None:
            return
        if len(self._origins) >= _ORIGINS_KEPT:
            self._origins.clear()
        head, origin = read_head(handle.lines), _origin(handle.request)
        if head is not None and head.framing in _STREAMS:
            self._origins[origin] = _Origin.STREAMS
        elif head is not None and head.status < 300 and self._origins.get(origin) is not _Origin.STREAMS:
            self._origins[origin] = _Origin.FRAMED

    def hear(self, text: bytes) -> bool:
        """Take a line of libcurl's debug text; was the stream of the handle that was told it closed by a reset?"""
        before, self._before = self._before, text
        closed = _CLOSED.fullmatch(text) if text.endswith(b" CLOSED\n") else None
        reset = _RESET.match(before) if closed else None
        return closed is not None and reset is not None and closed[1] in reset.groups()


def _have_listen(origin: tuple[str, int], handles: Iterable[Ear]) -> None:
    for handle in handles:
        if handle.request is not None and not handle.listens and _origin(handle.request) == origin:
            handle.is_watched = not handle.lines
            handle.listen(True)


def _origin(request: Request) -> tuple[str, int]:
    return request.place.host, request.place.port


@cache
def _trace() -> bool:
    """Have libcurl tell verbose handles of their streams; False: this libcurl cannot be asked.

    The function belongs to libcurl's API (since 8.3); pycurl does not pass it on.
    """
    try:
        trace = ctypes.CDLL(getattr(pycurl, "_pycurl", pycurl).__file__).curl_global_trace
    except (AttributeError, OSError):  # an older one, or linked into pycurl without its names
        return False
    trace.argtypes, trace.restype = [ctypes.c_char_p], ctypes.c_int
    return bool(trace(_TRACED) == 0)
