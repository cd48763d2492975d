"""What libcurl's codes and messages mean, as libcurl 8.23 with OpenSSL 3.6 words them."""

from __future__ import annotations

import pytest

from worker.adapters.http.breakages import breakage, is_of_connection, sentence
from worker.engine.failures import Breakage

_TLS = "TLS connect error: error:0A00042E:SSL routines::"
_READ = "OpenSSL SSL_read: OpenSSL/3.6.5: error:0A00045C:SSL routines::"
_GARBLED = "Invalid HTTP header field was received: frame type: 1, stream: 1, name: [set-cookie], value: [id=chunk]"


@pytest.mark.parametrize(
    ("code", "message", "meaning"),
    [
        (35, f"{_TLS}tlsv1 alert protocol version", Breakage.DISAGREEMENT),
        (35, f"{_TLS}unsupported protocol", Breakage.DISAGREEMENT),
        (35, f"{_TLS}ssl/tls alert handshake failure", Breakage.DISAGREEMENT),
        (35, f"{_TLS}tlsv1 alert no application protocol", Breakage.DISAGREEMENT),
        (35, f"{_TLS}tlsv1 unrecognized name", Breakage.DISAGREEMENT),
        (35, f"{_TLS}wrong version number", Breakage.DISAGREEMENT),  # plain HTTP, SSH
        (56, f"{_READ}tlsv13 alert certificate required, errno 0", Breakage.DISAGREEMENT),
        (98, "TLS cert problem: error:0A00045C:SSL routines::tlsv13 alert certificate required", Breakage.DISAGREEMENT),
        (98, "", Breakage.DISAGREEMENT),
        (35, f"{_TLS}unexpected eof while reading", Breakage.HANDSHAKE),
        (35, f"{_TLS}tlsv1 alert internal error", Breakage.HANDSHAKE),
        (35, f"{_TLS}tlsv1 alert user cancelled", Breakage.HANDSHAKE),
        (35, f"{_TLS}reason(1000)", Breakage.HANDSHAKE),
        (35, f"{_TLS}ssl/tls alert bad record mac", Breakage.HANDSHAKE),
        (35, "Recv failure: Connection reset by peer", Breakage.HANDSHAKE),
        (35, "", Breakage.HANDSHAKE),
        (56, f"{_READ}unexpected eof while reading, errno 0", Breakage.CUT),
        (56, f"{_READ}decryption failed or bad record mac, errno 0", Breakage.CUT),
        (56, f"{_READ}wrong version number, errno 0", Breakage.CUT),  # the handshake went well, so the bytes went wrong
        (60, "SSL certificate problem: self-signed certificate", Breakage.CERTIFICATE),
    ],
)
def test_only_temporary_handshake_errors_are_retried(code: int, message: str, meaning: Breakage) -> None:
    assert breakage(code, message) is meaning


@pytest.mark.parametrize(
    ("code", "message", "meaning"),
    [
        (16, "Remote peer returned unexpected data while we expected SETTINGS frame.  Perhaps ...", Breakage.PROTOCOL),
        (16, "nghttp2 shuts down connection with error 9: COMPRESSION_ERROR", Breakage.PROTOCOL),
        (
            8,
            "[HTTP2] [1] received invalid frame: FRAME[HEADERS, len=5], error -532: Violation in ...",
            Breakage.PROTOCOL,
        ),
        (92, _GARBLED, Breakage.PROTOCOL),
        (92, "[HTTP2] [1] received invalid frame: FRAME[DATA, len=3, eos=1], error -532: Violation", Breakage.CUT),
        (92, "HTTP/2 stream 1 reset by server (error 0x1 PROTOCOL_ERROR)", Breakage.COMPLAINT),
        (92, "HTTP/2 stream 1 reset by curl (error 0x1 PROTOCOL_ERROR)", Breakage.COMPLAINT),
        (95, "HTTP/3 stream 0 reset by server (error 0x101 GENERAL_PROTOCOL_ERROR)", Breakage.COMPLAINT),
        (92, "HTTP/2 stream 1 reset by server (error 0x2 INTERNAL_ERROR)", Breakage.CUT),
        (92, "HTTP/2 stream 1 reset by server (error 0x8 CANCEL)", Breakage.CUT),
        (92, "HTTP/2 stream 1 reset by server (error 0xb ENHANCE_YOUR_CALM)", Breakage.CUT),
        (95, "HTTP/3 stream 0 reset by server (error 0x102 INTERNAL_ERROR)", Breakage.CUT),
        (16, "Error in the HTTP2 framing layer", Breakage.CUT),  # it hung up
    ],
)
def test_protocol_violations_differ_from_broken_streams(code: int, message: str, meaning: Breakage) -> None:
    assert breakage(code, message) is meaning


def test_a_connection_error_may_be_any_streams_fault() -> None:
    assert is_of_connection(16, "nghttp2 shuts down connection with error 1: PROTOCOL_ERROR")
    assert is_of_connection(16, "")  # as others on it are told
    assert is_of_connection(92, "HTTP/2 stream 1 reset by curl (error 0x1 PROTOCOL_ERROR)")  # by GOAWAY
    assert not is_of_connection(92, "HTTP/2 stream 1 reset by server (error 0x1 PROTOCOL_ERROR)")


def test_the_value_of_a_field_is_not_repeated() -> None:
    assert sentence(_GARBLED) == "Invalid HTTP header field was received: frame type: 1, stream: 1"
