"""What libcurl's codes and words say of an exchange that broke."""

from __future__ import annotations

import pycurl

from worker.engine.failures import Breakage

_CERTIFICATE_CODES = {51, 58, 60, 83, 91}
_NONSENSE_CODES = {1, 3, 8, 61, 100}
_CODES = {
    pycurl.E_COULDNT_RESOLVE_HOST: Breakage.UNRESOLVED,
    pycurl.E_COULDNT_CONNECT: Breakage.CONNECT,
    pycurl.E_OPERATION_TIMEDOUT: Breakage.TIMEOUT,
    pycurl.E_SSL_CONNECT_ERROR: Breakage.HANDSHAKE,
    pycurl.E_PARTIAL_FILE: Breakage.CUT,
    pycurl.E_GOT_NOTHING: Breakage.CUT,
    pycurl.E_SEND_ERROR: Breakage.CUT,
    pycurl.E_RECV_ERROR: Breakage.CUT,
    pycurl.E_HTTP2: Breakage.CUT,
    92: Breakage.CUT,  # CURLE_HTTP2_STREAM
    95: Breakage.CUT,  # CURLE_HTTP3
    96: Breakage.CONNECT,  # CURLE_QUIC_CONNECT_ERROR
    pycurl.E_FILESIZE_EXCEEDED: Breakage.TOO_LARGE,
    pycurl.E_WRITE_ERROR: Breakage.STOPPED,
    pycurl.E_ABORTED_BY_CALLBACK: Breakage.STOPPED,
    **dict.fromkeys(_CERTIFICATE_CODES, Breakage.CERTIFICATE),
    **dict.fromkeys(_NONSENSE_CODES, Breakage.NONSENSE),
}
# Where libcurl has one code for several things, its words tell them apart.
_WORDS = (
    ("chunk", Breakage.NONSENSE),  # a chunk header that is none, not a connection that broke
    ("Too large response headers", Breakage.NONSENSE),
    ("Connection died, tried", Breakage.STALE),
    ("Multiple Location headers", Breakage.REDIRECT),
)


def breakage(code: int, message: str) -> Breakage:
    """Return what a CURLcode other than 0, with its message, means."""
    for words, meaning in _WORDS:
        if words in message:
            return meaning
    return _CODES.get(code, Breakage.OTHER)


def sentence(message: str) -> str:
    """Shorten libcurl's words; they may name the URL's host, never its path."""
    return message.strip().rstrip(".")[:160]
