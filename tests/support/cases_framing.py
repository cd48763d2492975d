"""Bodies and how their end is marked: right, cut short, too long, endless, too large (RFC 9112 sections 6 to 8)."""

from __future__ import annotations

import gzip
import itertools

from tests.support.bodies import BLOCK, body_bytes, body_part, body_pieces
from tests.support.cases import (
    GOOD,
    GOOD_SIZE,
    POLICY,
    Door,
    Endings,
    expect,
    ok,
    permanent,
    recovers,
    serves,
    transient,
    with_query,
)
from tests.support.exchange import Exchange, Header

CAP = POLICY.max_size

# ---- right bodies


@serves("/good")
def _good(exchange: Exchange) -> None:
    """`size` bytes of `seed`, at `rate` bytes per second if given."""
    size, seed, rate = exchange.number("size", GOOD_SIZE), exchange.number("seed"), exchange.number("rate")
    if not rate and size <= BLOCK:
        exchange.respond(body_bytes(size, seed), exchange.number("status", 200))
        return
    exchange.head(exchange.number("status", 200), ("Content-Length", str(size)))
    exchange.stream(0, size, seed, rate=rate)
    exchange.keeps_open = True


expect("/good", "answers 4 KiB", ok())
expect("/good?size=0", "answers 200 with Content-Length 0", ok(), body=b"")
expect("/good?size=1", "answers one byte", ok(), body=body_bytes(1))
expect("/good?size=3000000&seed=3", "answers 3 MB", ok(), body=body_bytes(3_000_000, 3), seconds=3.0)
expect(f"/good?size={CAP}", "answers exactly as much as the cap allows", ok(), body=body_bytes(CAP), seconds=3.0)
expect("/good?status=203", "answers 203: a transforming proxy's 200 (RFC 9110 15.3.4)", ok())
expect("/good", "answers 4 KiB over TLS", ok(), door=Door.TLS)


@serves("/old")
def _old(exchange: Exchange) -> None:
    exchange.respond(GOOD, version="HTTP/1.0")


expect("/old", "answers in HTTP/1.0 with a Content-Length", ok())


@serves("/chunked")
def _chunked(exchange: Exchange) -> None:
    """`size` bytes in chunks of 1,000; `extras` adds chunk extensions and trailers."""
    size, extras = exchange.number("size", GOOD_SIZE), exchange.number("extras")
    exchange.head(200, ("Transfer-Encoding", "chunked"), *([("Trailer", "Expires")] if extras else []))
    for start in range(0, size, 1000):
        piece = body_part(start, min(1000, size - start))
        if extras:
            exchange.send(f'{len(piece):X} ; name=value ; other="a;b"\r\n', piece, "\r\n")
        else:
            exchange.chunk(piece)
    exchange.send("0;last=yes\r\nExpires: never\r\nX-Sum: 1\r\n\r\n" if extras else "0\r\n\r\n")
    exchange.keeps_open = True


expect("/chunked", "answers in chunks", ok())
expect("/chunked?size=0", "answers with the last chunk only", ok(), body=b"")
expect("/chunked?extras=1", "answers in chunks with extensions and trailers", ok())
expect("/chunked", "answers in chunks over TLS", ok(), door=Door.TLS)


@serves("/chunked-and-length")
def _chunked_and_length(exchange: Exchange) -> None:
    exchange.head(200, ("Content-Length", "17"), ("Transfer-Encoding", "chunked"))
    exchange.chunk(GOOD)
    exchange.chunk(b"")


# RFC 9112 6.3 lets a recipient take the chunks or treat it as an error; the chunks prove the end by themselves.
expect("/chunked-and-length", "sends chunks and a Content-Length that disagrees", ok())


@serves("/close-framed")
def _close_framed(exchange: Exchange) -> None:
    """`size` bytes ended by closing; `cut` leaves out TLS's close_notify."""
    exchange.head(200, ("Connection", "close"))
    exchange.stream(0, exchange.number("size", GOOD_SIZE))
    if exchange.number("cut"):
        exchange.cut()


expect("/close-framed", "ends the body by closing", ok(), notes=("framing=close",))
expect("/close-framed?size=0", "ends its head and closes: an empty body", ok(), body=b"", notes=("framing=close",))
expect("/close-framed?size=0&cut=1", "ends its head and breaks off", transient("truncated"), door=Door.TLS)
expect("/close-framed", "ends the body by closing, with close_notify", ok(), door=Door.TLS, notes=("framing=close",))
expect("/close-framed?cut=1", "closes without close_notify (RFC 9112 9.8)", transient("truncated"), door=Door.TLS)


@serves("/length-without-close-notify")
def _length_without_close_notify(exchange: Exchange) -> None:
    exchange.respond(GOOD)
    exchange.cut()


# Content-Length proves the end here, so the missing close_notify takes nothing away (RFC 9112 9.8).
expect("/length-without-close-notify", "sends the whole body and closes without close_notify", ok(), door=Door.TLS)


# ---- bodies cut short


@serves("/short-body")
def _short_body(exchange: Exchange) -> None:
    """Promises the good body; sends `sent` bytes and leaves by `end` (close, cut or reset), the first `fails` times."""
    if exchange.number("fails") and exchange.visit > exchange.number("fails"):
        exchange.respond(GOOD)
        return
    exchange.head(200, ("Content-Length", str(GOOD_SIZE)))
    exchange.stream(0, exchange.number("sent", 1000))
    if exchange.text("end") == "reset":
        exchange.reset()
    elif exchange.text("end") == "cut":
        exchange.cut()


expect("/short-body", "closes after 1,000 of 4,096 bytes", transient("truncated"))
expect("/short-body?sent=0", "closes after the head although it promised 4,096 bytes", transient("truncated"))
expect(f"/short-body?sent={GOOD_SIZE - 1}", "closes one byte too early", transient("truncated"))
expect("/short-body?end=reset", "resets after 1,000 of 4,096 bytes", transient("truncated", "connect"))
expect("/short-body?sent=0&end=reset", "resets after the head", transient("truncated", "connect"))
expect("/short-body", "closes too early, with close_notify", transient("truncated"), door=Door.TLS)
expect("/short-body?end=cut", "closes too early, without close_notify", transient("truncated"), door=Door.TLS)
expect("/short-body?fails=2", "cuts the body twice, then sends all of it", recovers("truncated", requests=3))


@serves("/chunked-cut")
def _chunked_cut(exchange: Exchange) -> None:
    """Chunks that stop `at`: inside a chunk, between two, after the size line, before the last blank line."""
    exchange.head(200, ("Transfer-Encoding", "chunked"))
    exchange.chunk(body_part(0, 1000))
    exchange.send(
        {
            "inside": b"3e8\r\n" + body_part(1000, 500), "between": b"", "size": b"3e", "sized": b"3e8\r\n",
            "nearly": b"3e8\r\n" + body_part(1000, 1000), "last": b"0\r\n",
        }[exchange.text("at")]
    )  # fmt: skip
    if exchange.number("reset"):
        exchange.reset()


for _place, _words in {
    "inside": "inside a chunk",
    "between": "between two chunks",
    "size": "inside a chunk's size",
    "sized": "after a chunk's size line",
    "nearly": "before a chunk's closing CRLF",
}.items():
    expect(f"/chunked-cut?at={_place}", f"closes {_words}", transient("truncated"))
# The chunked body ends with the blank line after the trailers (RFC 9112 7.1): without it trailers are missing.
expect("/chunked-cut?at=last", "closes after the zero chunk but before the blank line", transient("truncated"))
expect("/chunked-cut?at=inside&reset=1", "resets inside a chunk", transient("truncated", "connect"))
expect("/chunked-cut?at=between", "closes between two chunks over TLS", transient("truncated"), door=Door.TLS)


# ---- chunks that are none


@serves("/bad-chunk")
def _bad_chunk(exchange: Exchange) -> None:
    """One good chunk, then `raw`."""
    exchange.head(200, ("Transfer-Encoding", "chunked"))
    exchange.chunk(body_part(0, 1000))
    exchange.send(exchange.text("raw"))


def _expect_bad_chunk(name: str, raw: str, does: str, endings: Endings) -> None:
    expect(with_query("/bad-chunk", raw=raw), does, endings, name=f"bad-chunk-{name}")


_expect_bad_chunk(
    "word", "xyz\r\nabc\r\n0\r\n\r\n", "writes a word where a chunk size belongs", permanent("bad-response")
)
_expect_bad_chunk("negative", "-5\r\nabcde\r\n0\r\n\r\n", "writes a negative chunk size", permanent("bad-response"))
_expect_bad_chunk("none", "\r\nabc\r\n0\r\n\r\n", "leaves a chunk size out", permanent("bad-response"))
_expect_bad_chunk("huge", "F" * 17 + "\r\nabc", "writes a chunk size above 64 bits", permanent("bad-response"))
_expect_bad_chunk(
    "long", "0" * 5000 + "5\r\nabcde\r\n0\r\n\r\n", "pads a chunk size for ever", permanent("bad-response")
)
_expect_bad_chunk("crlf", "5\r\nabcdeXX0\r\n\r\n", "writes XX where a chunk's CRLF belongs", permanent("bad-response"))
_expect_bad_chunk(
    "too-much", "5\r\nabcdefgh\r\n0\r\n\r\n", "sends more than the chunk size says", permanent("bad-response")
)


@serves("/trailer-flood")
def _trailer_flood(exchange: Exchange) -> None:
    exchange.head(200, ("Transfer-Encoding", "chunked"))
    exchange.chunk(GOOD)
    exchange.send("0\r\n")
    for number in itertools.count():
        exchange.send(b"".join(b"X-%d-%d: %s\r\n" % (number, line, b"a" * 100) for line in range(500)))


expect("/trailer-flood", "sends trailers for ever", permanent("bad-response"))


# ---- Content-Length


@serves("/long-body")
def _long_body(exchange: Exchange) -> None:
    """Sends more than it promised; the surplus looks like a response, to be taken for the next one's."""
    exchange.head(200, ("Content-Length", str(GOOD_SIZE)))
    exchange.send(GOOD, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
    exchange.keeps_open = True


expect("/long-body", "sends more than Content-Length; the connection must not be used again", ok())


@serves("/length")
def _length(exchange: Exchange) -> None:
    """The good body under one or two Content-Length headers as given."""
    values = [exchange.text(name) for name in ("value", "second") if name in exchange.seen.query]
    exchange.head(200, *(("Content-Length", value) for value in values))
    exchange.send(GOOD)


def _expect_length(name: str, does: str, endings: Endings, value: str | int, **second: str | int) -> None:
    expect(with_query("/length", value=value, **second), does, endings, name=f"length-{name}")


_expect_length("two", "sends two different Content-Length", permanent("bad-response"), GOOD_SIZE, second=1000)
_expect_length("two-small-first", "sends two different Content-Length", permanent("bad-response"), 10, second=GOOD_SIZE)
_expect_length("list", "sends a list of different lengths", permanent("bad-response"), f"{GOOD_SIZE}, 1000")
_expect_length("twice", "sends the same Content-Length twice (RFC 9110 8.6)", ok(), GOOD_SIZE, second=GOOD_SIZE)
_expect_length("negative", "sends a negative Content-Length", permanent("bad-response"), "-5")
_expect_length("word", "sends a word as Content-Length", permanent("bad-response"), "many")
_expect_length("plus", "sends a Content-Length with a sign", permanent("bad-response"), f"+{GOOD_SIZE}")
_expect_length("hex", "sends a hexadecimal Content-Length", permanent("bad-response"), "0x1000")
_expect_length("fraction", "sends a Content-Length with a fraction", permanent("bad-response"), f"{GOOD_SIZE}.0")
_expect_length("tail", "sends words after the Content-Length", permanent("bad-response"), f"{GOOD_SIZE} bytes")
# Above 63 bits it is as much no number as it is above the cap.
_expect_length("giant", "sends a 30-digit Content-Length", permanent("too-large", "bad-response"), "9" * 30)
_expect_length("over-cap", "promises one byte above the cap", permanent("too-large"), CAP + 1)
_expect_length("terabyte", "promises a terabyte", permanent("too-large"), 10**12)


# ---- endless bodies


@serves("/endless")
def _endless(exchange: Exchange) -> None:
    """A body without end, chunked or close-framed."""
    chunked = exchange.text("framing") == "chunked"
    exchange.head(200, *([("Transfer-Encoding", "chunked")] if chunked else []))
    for piece in body_pieces(0, 2**62):
        if chunked:
            exchange.chunk(piece)
        else:
            exchange.send(piece)


expect("/endless?framing=chunked", "sends chunks for ever", permanent("too-large"), seconds=3.0)
expect("/endless?framing=close", "sends bytes for ever", permanent("too-large"), seconds=3.0)
expect("/endless?framing=close", "sends bytes for ever over TLS", permanent("too-large"), door=Door.TLS, seconds=3.0)


@serves("/over-cap")
def _over_cap(exchange: Exchange) -> None:
    """One byte above the cap, without saying so first."""
    exchange.head(200, ("Transfer-Encoding", "chunked"))
    for piece in body_pieces(0, CAP + 1):
        exchange.chunk(piece)
    exchange.chunk(b"")
    exchange.keeps_open = True


expect("/over-cap", "sends one byte above the cap in chunks", permanent("too-large"), seconds=3.0)


# ---- codings


@serves("/transfer-coding")
def _transfer_coding(exchange: Exchange) -> None:
    exchange.head(200, ("Transfer-Encoding", exchange.text("coding")))
    exchange.send(GOOD)


expect("/transfer-coding?coding=rot13", "uses a transfer coding nobody knows", permanent("bad-response"))
expect(
    with_query("/transfer-coding", coding="chunked, rot13"), "applies chunked, but not last", permanent("bad-response")
)


GZIPPED = gzip.compress(GOOD * 4, mtime=0)
GZIP_BOMB = gzip.compress(bytes(8 * 1024 * 1024), mtime=0)
_ENCODED = {
    "gzip": ("gzip", GZIPPED),
    "gzip-cut": ("gzip", GZIPPED[: len(GZIPPED) // 2]),
    "gzip-bomb": ("gzip", GZIP_BOMB),
    # What is stored is what came, so the bytes need not be brotli: a client that decodes them gives itself away.
    "br": ("br", body_bytes(1000, 11)),
    "zstd": ("zstd", body_bytes(1000, 12)),
    "two": ("gzip, br", body_bytes(1000, 13)),
    "unknown": ("x-rot13", body_bytes(1000, 14)),
}


@serves("/encoded")
def _encoded(exchange: Exchange) -> None:
    coding, body = _ENCODED[exchange.text("as")]
    headers: list[Header] = [("Content-Encoding", coding), ("Content-Type", "text/html")]
    exchange.respond(body, 200, *headers)


for _label, (_coding, _body) in _ENCODED.items():
    # A cut gzip stream is stored as it came too: the framing was whole, and we do not decode.
    expect(
        f"/encoded?as={_label}",
        f"sends Content-Encoding {_coding} although nobody accepts it ({_label})",
        ok(),
        body=_body,
        never_sends=("accept-encoding",),
        notes=(f"encoding={_coding}",),
    )
