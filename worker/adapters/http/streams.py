"""Detects HTTP/2 and HTTP/3 streams that were reset although libcurl reports a normal end.

libcurl takes a stream reset with NO_ERROR (RFC 9113 section 8.1, RFC 9114 section 4.1) for a complete body; only its
debug text shows the reset. Reading that costs half as much as a small transfer. So a handle listens only if a body may
end with nothing but its stream: at origins that have sent such a body or have not answered yet. It does not listen to
TLS handshakes, because libcurl would print their certificates.
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


class StreamListener:
    """The part of a handle that listens: its exchange, and whether libcurl's debug text is read meanwhile."""

    __slots__ = ("is_early", "is_watched", "lines", "listens", "request", "sockets", "was_reset")

    def __init__(self) -> None:
        self.request: Request | None = None  # of its exchange; None: it has none
        self.lines: list[bytes] = []  # header lines of the response
        self.sockets = 0  # requested by its exchange
        self.is_early = False  # how its origin frames bodies is not known yet
        self.is_watched = True  # a reset of its stream would be noticed
        self.listens = False  # libcurl's debug text is on
        self.was_reset = False  # its stream was reset, which libcurl will report as a normal end

    def listen(self, listens: bool) -> None:
        """Turn libcurl's debug text on or off; not from a callback."""
        if listens is not self.listens:
            self.listens = listens
            self.set_verbose(listens)

    def set_verbose(self, is_verbose: bool) -> None:
        """Set libcurl's option VERBOSE for this handle."""
        raise NotImplementedError


class _Origin(Enum):
    CONNECTED = "connected"  #: connected, no answer yet
    STREAMS = "streams"  #: has sent a body that ends only with its stream
    FRAMED = "framed"  #: has sent only other bodies


class StreamWatch:
    """Decides which handles of a multi handle listen, and reads what they hear."""

    def __init__(self) -> None:
        self._is_able = _trace()
        self._origins: dict[tuple[str, int], _Origin] = {}
        self._connecting: list[StreamListener] = []
        self._connected: list[StreamListener] = []
        self._before = b""  # the line before, of whatever handle

    def begin(self, handle: StreamListener, request: Request, busy: Iterable[StreamListener]) -> None:
        """Prepare a handle that starts an exchange, beside the ``busy`` ones."""
        is_tls = self._is_able and request.url.scheme == "https"
        origin = _origin(request)
        known = self._origins.get(origin) if is_tls else _Origin.FRAMED
        if request.must_watch and is_tls and known is not _Origin.STREAMS:
            known = self._origins[origin] = _Origin.STREAMS
            _have_listen(origin, busy)
        handle.is_early = known in (None, _Origin.CONNECTED)
        handle.listen(known in (_Origin.CONNECTED, _Origin.STREAMS))
        handle.is_watched = known is _Origin.STREAMS or not is_tls

    def connecting(self, handle: StreamListener) -> None:
        """Note that an early handle opens a connection."""
        self._connecting.append(handle)

    def connected(self, handle: StreamListener) -> None:
        """Note that an early handle is about to send its request."""
        handle.is_watched = handle.listens
        self._connected.append(handle)

    @property
    def is_unsettled(self) -> bool:
        """Has an early handle opened a connection or sent its request in this call of libcurl?"""
        return bool(self._connecting or self._connected)

    def settle(self, busy: Iterable[StreamListener]) -> None:
        """Between two calls of libcurl, let early handles listen from their request on, and all that may read for them.

        libcurl reports a frame to whichever handle happens to read from the connection.
        """
        for handle in self._connecting:
            handle.listen(False)
        for handle in self._connected:
            if handle.request is None:
                continue
            origin = _origin(handle.request)
            # Text of the call that sent the request was not read.
            handle.is_watched = handle.is_watched or not handle.lines
            handle.listen(True)
            if self._origins.setdefault(origin, _Origin.CONNECTED) is _Origin.CONNECTED:
                # Not those that open a connection: they get here themselves.
                _have_listen(origin, (each for each in busy if not each.sockets))
        self._connecting.clear()
        self._connected.clear()

    def learn(self, handle: StreamListener) -> None:
        """Note how the response of a listening handle is framed."""
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
        """Read a line of libcurl's debug text; does it say that the handle's stream was closed by a reset?"""
        before, self._before = self._before, text
        closed = _CLOSED.fullmatch(text) if text.endswith(b" CLOSED\n") else None
        reset = _RESET.match(before) if closed else None
        return closed is not None and reset is not None and closed[1] in reset.groups()


def _have_listen(origin: tuple[str, int], handles: Iterable[StreamListener]) -> None:
    for handle in handles:
        if handle.request is not None and not handle.listens and _origin(handle.request) == origin:
            handle.is_watched = not handle.lines
            handle.listen(True)


def _origin(request: Request) -> tuple[str, int]:
    return request.url.host, request.url.port


@cache
def _trace() -> bool:
    """Include streams in libcurl's debug text; False: this libcurl cannot.

    The function is part of libcurl's API since 8.3; pycurl does not expose it.
    """
    try:
        trace = ctypes.CDLL(getattr(pycurl, "_pycurl", pycurl).__file__).curl_global_trace
    except (AttributeError, OSError):  # an older version, or linked into pycurl without symbols
        return False
    trace.argtypes, trace.restype = [ctypes.c_char_p], ctypes.c_int
    return bool(trace(_TRACED) == 0)
