"""Translates libcurl's error codes and messages into ``Breakage``."""

from __future__ import annotations

import re

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
    98: Breakage.DISAGREEMENT,  # CURLE_SSL_CLIENTCERT: the server wants one
    pycurl.E_FILESIZE_EXCEEDED: Breakage.TOO_LARGE,
    pycurl.E_WRITE_ERROR: Breakage.STOPPED,
    pycurl.E_ABORTED_BY_CALLBACK: Breakage.STOPPED,
    **dict.fromkeys(_CERTIFICATE_CODES, Breakage.CERTIFICATE),
    **dict.fromkeys(_NONSENSE_CODES, Breakage.NONSENSE),
}
# libcurl uses one code for several errors; its messages distinguish them. Those that may quote a server come last.
_WORDS = (
    ("received invalid frame: FRAME[DATA", Breakage.CUT),  # a body of another length
    ("received invalid frame", Breakage.PROTOCOL),
    ("Invalid HTTP header field was received", Breakage.PROTOCOL),
    ("nghttp2 shuts down connection with error", Breakage.PROTOCOL),
    ("Remote peer returned unexpected data while we expected SETTINGS", Breakage.PROTOCOL),
    ("chunk", Breakage.NONSENSE),  # an invalid chunk header, not a broken connection
    ("Too large response headers", Breakage.NONSENSE),
    ("Connection died, tried", Breakage.STALE),
    ("Multiple Location headers", Breakage.REDIRECT),
)
# OpenSSL's error of a handshake: a lasting disagreement, unless the connection or the server failed.
_TLS = re.compile(r"SSL routines::(?P<reason>.+)")
_MAY_PASS = re.compile(
    r"unexpected eof|internal error|user cancelled|reason\(1000\)|bad record mac|decrypt error|record overflow"
)
# Errors by which a server blames our side in RST_STREAM or GOAWAY: RFC 9113 section 7, RFC 9114 section 8.1.
_COMPLAINT = re.compile(
    r"stream \d+ reset by (?:server|curl) \(error 0x[0-9a-f]+ (?:(?:GENERAL_)?PROTOCOL_ERROR|FLOW_CONTROL_ERROR"
    r"|STREAM_CLOSED|FRAME_SIZE_ERROR|COMPRESSION_ERROR|INADEQUATE_SECURITY|HTTP_1_1_REQUIRED|FRAME_UNEXPECTED|FRAME_ERROR"
    r"|MESSAGE_ERROR|ID_ERROR|SETTINGS_ERROR|MISSING_SETTINGS|VERSION_FALLBACK)\)"
)


def breakage(code: int, message: str) -> Breakage:
    """Translate a CURLcode other than 0 and its message."""
    for words, meaning in _WORDS:
        if words in message:
            return meaning
    if _COMPLAINT.search(message):
        return Breakage.COMPLAINT
    tls = _TLS.search(message)
    if (
        tls
        and not _MAY_PASS.search(tls["reason"])
        and (code == pycurl.E_SSL_CONNECT_ERROR or " alert " in tls["reason"])
    ):
        return Breakage.DISAGREEMENT
    return _CODES.get(code, Breakage.OTHER)


def is_of_connection(code: int, message: str) -> bool:
    """Did the whole connection break, possibly because of another stream?"""
    return code == pycurl.E_HTTP2 or "reset by curl" in message


def sentence(message: str) -> str:
    """Shorten libcurl's message; it may name the URL's host, but never its path or a field's value."""
    return message.partition(", name: [")[0].strip().rstrip(".")[:160]
