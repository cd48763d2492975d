"""What is fuzzed, and what must hold for every input."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import md5
from ipaddress import IPv6Address, ip_address
from types import ModuleType

import contract.urls.hosts
import contract.urls.lines
import contract.urls.networks
import worker.engine.http.headers
import worker.engine.http.redirects
import worker.engine.http.retry
import worker.engine.safety
from contract.errors import SettingError
from contract.urls.lines import LONGEST_URL, Entry, Parsed, Refusal, intake, parse
from contract.urls.networks import parse_networks
from worker.engine.http.headers import Head, read_head
from worker.engine.http.redirects import Asked, DeadEnd, Hop, next_hop
from worker.engine.http.retry import retry_after
from worker.engine.safety import AddressPolicy, Tier, tier_of


@dataclass(frozen=True, slots=True)
class Target:
    """``check`` raises if an input breaks a rule; the lines it reaches in ``modules`` say which inputs are new."""

    check: Callable[[bytes], None]
    modules: tuple[ModuleType, ...]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()
    forget: Callable[[], None] = lambda: None  # empties the caches that would hide lines


def check_intake(raw: bytes) -> None:
    for line in (1, 2):
        read = intake(raw, line=line)
        if isinstance(read, Entry):
            exact = read.url.encode()
            assert exact in raw
            assert read.name == md5(exact).hexdigest()
            parsed = parse(read.url)
            assert parsed == Parsed(read.target, read.scheme, read.host, read.port, f"{read.host}:{read.port}")
            _check_parsed(parsed)
        elif isinstance(read, Refusal):
            assert re.fullmatch(r"[A-Za-z][ -~]{10,120}\.", read.reason)
            assert re.fullmatch("[0-9a-f]{32}", read.name)
            assert len(read.raw) < 400
            assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", read.raw)
            read.raw.encode()


def _check_parsed(parsed: Parsed) -> None:
    assert re.fullmatch(r"https?://[a-z0-9._:\[\]-]+/[!-~]*", parsed.target)
    assert not set("#\\ ") & set(parsed.target)
    assert len(parsed.target) <= LONGEST_URL
    assert parse(parsed.target) == parsed
    authority = parsed.target.split("/")[2]
    assert authority.startswith(f"[{parsed.host}]" if ":" in parsed.host else parsed.host)
    if re.fullmatch(r"[0-9.]+|.*:.*", parsed.host):
        ip_address(parsed.host)  # what looks like an address is one


def check_redirect(location: bytes) -> None:
    for current in ("https://example.org/a/b?c", "http://[2001:db8::1]:8080/"):
        led = next_hop([Asked(current)], 302, location)
        if isinstance(led, Hop):
            _check_parsed(led.to)
            assert led.downgraded == (current.startswith("https:") and led.to.scheme == "http")
        else:
            assert isinstance(led, DeadEnd)
            assert re.fullmatch(r"[ -~]+\.", led.detail)


def check_headers(block: bytes) -> None:
    head = read_head(re.findall(rb"[^\n]*\n|[^\n]+", block))  # libcurl ends lines at LF only
    if not isinstance(head, Head):
        return
    assert head.status in (101, *range(200, 1000))
    assert 0 <= (head.length or 0) < 10**18
    assert not (head.is_chunked and head.length is not None)
    for name, value in head.fields.items():
        assert name == name.strip().lower()
        assert "\n" not in value
    wait = retry_after(head.get("retry-after"), wall=1_700_000_000.0)
    assert 0 <= (wait or 0) < float("inf")
    location = head.get("location")
    if location is not None:
        check_redirect(location.encode("latin-1"))


def check_addresses(text: bytes) -> None:
    written = text.decode("latin-1")
    try:
        networks = parse_networks(written, setting="TRAWL_ALLOW_NETS")
    except SettingError:
        networks = ()
    for address in (text, written):
        tier, verdict = tier_of(address), AddressPolicy(allow=networks).verdict(address, 80)
        assert verdict.allowed <= (tier is not Tier.NEVER)
        assert verdict.allowed >= (tier is Tier.PUBLIC)
        if verdict.allowed and isinstance(address, str):
            ip = ip_address(address.partition("%")[0])
            assert not ip.is_multicast
            assert not ip.is_link_local
            assert not (isinstance(ip, IPv6Address) and any((ip.sixtofour, ip.teredo)))


_URL_WORDS = (
    *rb"http:// https:// :// / // \ @ # ? % %2e %00 %40 %C2%AD . .. /../ /./ : :80 :6379 :0 :65536 [ ]".split(),
    *rb"[::1] :: 0x7f 0 017700000001 127.1 256 xn-- xn--n3h".split(),
    # Soft hyphen, fullwidth solidus and at sign, ideographic full stop, joiner, foreign digits.
    *"\u00ad \uff0f \uff20 \u3002 \u200d \u0660 \u2460".encode().split(),
    # Sharp s, long s, Kelvin sign, dotted I, right-to-left letter, accent, snowman, one that becomes eighteen.
    *"\u00df \u017f \u212a \u0130 \u05d0 \u0300 \u2603 \ufdfa".encode().split(),
    *(b" ", b"\t", b"\r", b"\n", b"\0", b"\x7f", b"\xff"),
)
_LINE_WORDS = (b" size=1", b" md5=", b" sha256=", b"size=", b"0" * 32, b"a" * 64, b"\xef\xbb\xbf", b"# ")

TARGETS = {
    "intake": Target(
        check_intake,
        (contract.urls.lines, contract.urls.hosts),
        (
            b"https://example.org/a/../b?c=d#e\r\n",
            b"\xef\xbb\xbfhttp://[::ffff:1.2.3.4]:8080/x y sha256=00 size=1\n",
            "http://b\u00fccher.example./\u00e4\n".encode(),
            b"HTTP://0x7f.1:080\\@h/",
        ),
        (*_URL_WORDS, *_LINE_WORDS),
        contract.urls.lines._origin.cache_clear,
    ),
    "redirect": Target(
        check_redirect,
        (worker.engine.http.redirects, contract.urls.lines, contract.urls.hosts),
        (b"/a/./b/../c?d#e", b"//example.net/x", b"../../g;x=1", b"https://example.net:8443/", b"?y", b"caf\xe9"),
        (*_URL_WORDS, b"http:", b"https:", b"\r\n"),
        contract.urls.lines._origin.cache_clear,
    ),
    "headers": Target(
        check_headers,
        (worker.engine.http.headers, worker.engine.http.retry, worker.engine.http.redirects),
        (
            b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "a"\r\n\r\n',
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 206 Partial\r\nContent-Range: bytes 0-1/2\r\n\r\nX-Trailer: 1\r\n",
            b"HTTP/2 302 \r\nlocation: /a\r\nLocation: /b\r\n\r\n",
            b"HTTP/1.0 503\r\nRetry-After: Wed, 21 Oct 2065 07:28:00 GMT\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        ),
        (
            *(b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b",", b"\0", b"\xff", b"-1", b"+1", b"1e9", b"nan", b"9" * 30),
            *b"HTTP/1.1 HTTP/2 101 103 200 204 206 416 503 Content-Length: Transfer-Encoding: chunked".split(),
            *b"Location: Retry-After: 120 Content-Range: bytes GMT 1-2/3".split(),
        ),
        contract.urls.lines._origin.cache_clear,
    ),
    "addresses": Target(
        check_addresses,
        (worker.engine.safety, contract.urls.networks),
        (b"10.0.0.0/8", b"fe80::1%eth0", b"::ffff:10.0.0.1", b"64:ff9b::7f00:1", b"\x7f\0\0\1", b"fd00::/8, 1.2.3.4"),
        tuple(b"/ /0 /96 /128 :: : . % , ffff 2002: 2001:: 127 0 5efe".split()),
        worker.engine.safety._judge.cache_clear,
    ),
}
