"""Heads of responses: cut short, flooding, malformed, not HTTP at all, or full of promises we ignore."""

from __future__ import annotations

import itertools

from tests.support.cases import GOOD, GOOD_SIZE, expect, ok, permanent, serves, transient, with_query
from tests.support.exchange import Exchange

_STATUS_LINE = "HTTP/1.1 200 OK\r\n"
_LENGTH = f"Content-Length: {GOOD_SIZE}\r\n"

# ---- cut short


_HEADS_CUT = {
    "empty": ("", "closes without an answer"),
    "status": ("HTTP/1.", "closes inside the status line"),
    "status-line": (_STATUS_LINE, "closes after the status line"),
    "name": (_STATUS_LINE + "Content-Le", "closes inside a header's name"),
    "value": (_STATUS_LINE + "Content-Length: 4", "closes inside a header's value, after a digit that could be all"),
    "line": (_STATUS_LINE + _LENGTH, "closes after a whole header line"),
    "zero": (_STATUS_LINE + "Content-Length: 0\r\n", "closes before the blank line of an empty response"),
    "chunked": (_STATUS_LINE + "Transfer-Encoding: chunked\r\n", "closes before the blank line of a chunked response"),
    "half-blank": (_STATUS_LINE + _LENGTH + "\r", "closes inside the blank line"),
    "interim": ("HTTP/1.1 100 Continue\r\n\r\n", "closes after an interim response"),
}


@serves("/head-cut")
def _head_cut(exchange: Exchange) -> None:
    """A head that ends `at` a place before its blank line, by close or reset."""
    exchange.send(_HEADS_CUT[exchange.text("at")][0])
    if exchange.number("reset"):
        exchange.reset()


for _at, (_sent, _does) in _HEADS_CUT.items():
    # Before the first byte of a response it is the connection that broke, later the response was cut short.
    _classes = ("connect", "truncated") if _at == "empty" else ("truncated", "connect", "bad-response")
    expect(f"/head-cut?at={_at}", _does, transient(*_classes))
expect("/head-cut?at=empty&reset=1", "resets instead of answering", transient("connect", "truncated"))
expect("/head-cut?at=line&reset=1", "resets inside the head", transient("truncated", "connect"))


# ---- floods


@serves("/head-flood")
def _head_flood(exchange: Exchange) -> None:
    """Headers without end: many (`lines`) or one that never ends (`line`)."""
    exchange.send(_STATUS_LINE)
    if exchange.text("of") == "line":
        exchange.send("X-Long: ")
        while True:
            exchange.send(b"a" * 65536)
    for number in itertools.count():
        exchange.send(b"".join(b"X-%d-%d: %s\r\n" % (number, line, b"a" * 100) for line in range(500)))


expect("/head-flood?of=lines", "sends header lines for ever", permanent("bad-response"))
expect("/head-flood?of=line", "sends one header line for ever", permanent("bad-response"))


@serves("/many-headers")
def _many_headers(exchange: Exchange) -> None:
    exchange.respond(GOOD, 200, *((f"X-Filler-{number}", "a" * 80) for number in range(300)))


expect("/many-headers", "sends 300 headers, 30 KB of them", ok())


@serves("/interim")
def _interim(exchange: Exchange) -> None:
    """Interim responses, `count` of them (0: for ever), then the good body."""
    status = exchange.text("status", "100")
    line = f"HTTP/1.1 {status} Interim\r\nLink: </style.css>; rel=preload\r\n\r\n"
    count = exchange.number("count", 1)
    if not count:
        while True:
            exchange.send(line * 500)
    exchange.send(line * count)
    exchange.respond(GOOD)


expect("/interim", "sends 100 Continue unasked, then 200", ok())
expect("/interim?status=103&count=3", "sends Early Hints three times, then 200", ok())
expect("/interim?count=0", "sends interim responses for ever", permanent("bad-response"), seconds=2.0)


@serves("/switching")
def _switching(exchange: Exchange) -> None:
    """101 to an unrequested protocol, followed by bytes."""
    exchange.head(101, ("Upgrade", exchange.text("to", "websocket")), ("Connection", "Upgrade"))
    exchange.send(GOOD)


expect("/switching", "switches protocols unasked", permanent("bad-response"))
expect("/switching?to=h2c", "switches to HTTP/2 unasked", permanent("bad-response"))


# ---- malformed


@serves("/head")
def _head(exchange: Exchange) -> None:
    """The good body below a head with one strange line in it."""
    exchange.send(_STATUS_LINE, exchange.text("line"), "\r\n", _LENGTH, "\r\n", GOOD)


def _expect_line(name: str, line: str, does: str, *, good: bool = False) -> None:
    expect(with_query("/head", line=line), does, ok() if good else permanent("bad-response"), name=f"head-{name}")


_expect_line("nul", "X-Odd: a\0b", "writes NUL into a header")
_expect_line("bare-cr", "X-Odd: a\rContent-Length: 5", "hides a header behind a bare CR")
_expect_line("no-colon", "This is no header", "sends a line without a colon")
_expect_line("folded", "X-Odd: a\r\n  b", "folds a header (obsolete, RFC 9112 5.2)", good=True)
_expect_line("latin", "X-Odd: caf\xe9", "writes Latin-1 into a header", good=True)
_expect_line("empty-value", "X-Odd:", "sends a header without a value", good=True)
_expect_line("odd-name", "X(Odd): a", "sends a header whose name is no token", good=True)


# ---- not HTTP


_NOT_HTTP = {
    "ssh": ("SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "greets like an SSH server"),
    "smtp": ("220 mail.test ESMTP ready\r\n", "greets like a mail server"),
    "redis": ("-ERR unknown command 'GET'\r\n", "answers like Redis"),
    "http-0.9": ("<html>an answer without a head</html>\n", "answers in HTTP/0.9"),
    "binary": ("\x15\x03\x01\x00\x02\x02\x50" * 20, "answers with a TLS alert"),
    "wrong-version": ("HTTP/9.7 200 OK\r\nContent-Length: 2\r\n\r\nok", "answers in HTTP/9.7"),
    "no-status": ("HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nok", "leaves the status out"),
    "long-status": ("HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok", "sends a four-digit status"),
    "short-status": ("HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok", "sends a two-digit status"),
    "icy": ("ICY 200 OK\r\nContent-Length: 2\r\n\r\nok", "answers like a radio station"),
    "rtsp": ("RTSP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "answers in RTSP"),
}


@serves("/not-http")
def _not_http(exchange: Exchange) -> None:
    exchange.send(_NOT_HTTP[exchange.text("like")][0])


for _like, (_sent, _does) in _NOT_HTTP.items():
    expect(f"/not-http?like={_like}", _does, permanent("bad-response"))


# ---- headers we do not act on


_IGNORED = {
    "cookie": ("Set-Cookie", "id=1; Path=/; Max-Age=1000000"),
    "refresh": ("Refresh", "0; url=/good?seed=99"),
    "alt-svc": ("Alt-Svc", 'h3=":1"; ma=86400, h2="127.0.0.1:1"; ma=86400'),
    "hsts": ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    "location": ("Location", "/good?seed=99"),
    "authenticate": ("WWW-Authenticate", "Basic realm=x"),
    "link": ("Link", "</good?seed=99>; rel=canonical"),
    "keep-alive": ("Keep-Alive", "timeout=99999999999999999999, max=-1"),
    "disposition-up": ("Content-Disposition", 'attachment; filename="../../../../etc/cron.d/owned"'),
    "disposition-root": ("Content-Disposition", "attachment; filename=/etc/passwd"),
    "disposition-star": ("Content-Disposition", "attachment; filename*=UTF-8''..%2f..%2fowned%00.txt"),
    "disposition-dot": ("Content-Disposition", 'attachment; filename="."'),
    "type-junk": ("Content-Type", '../../etc/passwd; charset="\x1b[2J'),
    "etag-junk": ("ETag", '"' + "../" * 200 + '"'),
    "modified-junk": ("Last-Modified", "yesterday, or so"),
}


@serves("/ignored")
def _ignored(exchange: Exchange) -> None:
    exchange.respond(GOOD, 200, _IGNORED[exchange.text("header")])


for _key, (_name, _value) in _IGNORED.items():
    expect(f"/ignored?header={_key}", f"sends {_name}: {_value[:40]}", ok(), never_sends=("cookie", "authorization"))
