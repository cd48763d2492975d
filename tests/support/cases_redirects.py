"""Redirects: right ones in every spelling, loops, dead ends, and ways to where we must not go (RFC 9110 15.4)."""

from __future__ import annotations

from tests.support.bodies import body_pieces
from tests.support.cases import GOOD, Door, Endings, expect, ok, permanent, serves, transient, with_query
from tests.support.exchange import Exchange, Header

_NEVER = ("referer", "cookie", "authorization")


def _location(exchange: Exchange, template: str) -> str:
    """Fill in {case}, {here} (host:port), {17-kib} and origins of servers by their names: {plain}, {tls}."""
    filled = template.replace("{case}", f"case={exchange.seen.case}").replace("{17-kib}", "a" * 17 * 1024)
    filled = filled.replace("{here}", exchange.origin("").partition("://")[2])
    for door in (Door.PLAIN, Door.TLS, Door.TLS_WRONG_NAME, Door.REFUSES):
        if f"{{{door}}}" in filled:
            filled = filled.replace(f"{{{door}}}", exchange.origin(door))
    return filled.replace("{port}", exchange.origin("").rpartition(":")[2])


@serves("/redirect")
def _redirect(exchange: Exchange) -> None:
    """`code` with Location `to` (none if absent) and `also` (a second one); `body` is endless or silent.

    `cookie` is a Set-Cookie.
    """
    headers: list[Header] = [("Set-Cookie", exchange.text("cookie"))] if exchange.text("cookie") else []
    # UTF-8 in a Location is what servers send; Latin-1 is asked for with `latin`.
    headers += [
        ("Location", _location(exchange, exchange.text(name)).encode("utf-8").decode("latin-1"))
        for name in ("to", "also")
        if name in exchange.seen.query
    ]
    code, body = exchange.number("code", 302), exchange.text("body")
    if not body:
        exchange.respond(b"moved", code, *headers)
        return
    exchange.head(code, *headers, ("Content-Length", str(10**15)))
    if body == "silent":
        exchange.hold()
    for piece in body_pieces(0, 2**62):
        exchange.send(piece)


def _expect(
    name: str, does: str, endings: Endings, to: str | None, *, door: Door = Door.PLAIN, notes: tuple[str, ...] = (),
    **more: str | int
) -> None:  # fmt: skip
    target = with_query("/redirect", **({} if to is None else {"to": to}), **more)
    expect(target, does, endings, name=f"redirect-{name}", door=door, never_sends=_NEVER, notes=notes)


# ---- right ones

_FOLLOWED = ok(requests=2)

for _code in (301, 302, 303, 307, 308):
    _expect(str(_code), f"answers {_code} with a path", _FOLLOWED, "/good?{case}", code=_code)
for _name, _to in {
    "relative": "good?{case}",
    "dots": "a/../../.././good?{case}",
    "query-only": "?to=/good%3F{case}&{case}",
    "no-scheme": "//{here}/good?{case}",
    "absolute": "{plain}/good?{case}",
    "capitals": "HTTP://{here}/good?{case}",
    "fragment": "/good?{case}#part",
    "no-path": "{plain}?{case}",
    "blank": "/two words?{case}",
    "blanks-around": "   /good?{case}  ",
    "utf-8": "/café?{case}",
    "escapes": "/esc%2Faped%zz?{case}",
    # As browsers read them: authors of such a Location have tried it in one.
    "three-slashes": "http:///{here}/good?{case}",
    "one-slash": "http:/{here}/good?{case}",
    "one-slash-and-a-path": "http:/good?{case}",
    "backslashes": "\\\\{here}\\good?{case}",
    "slash-and-backslash": "/\\{here}/good?{case}",
    "backslash-path": "\\good?{case}",
    "tab": "/go\tod?{case}",
}.items():
    _hops = 3 if _name == "query-only" else 2
    _expect(_name, f"redirects to {_to}", ok(requests=_hops), _to)


@serves("/")
@serves("/two%20words")
@serves("/caf%C3%A9")
@serves("/caf%E9")
@serves("/esc%2Faped%zz")
def _good_elsewhere(exchange: Exchange) -> None:
    exchange.respond(GOOD)


@serves("/latin")
def _latin(exchange: Exchange) -> None:
    exchange.respond(b"", 302, ("Location", exchange.onward("/caf\xe9")))


# The byte stays what it was: an octet that is not ASCII is percent-encoded as it is (RFC 3986 2.1).
expect("/latin", "redirects with a Latin-1 byte in Location", _FOLLOWED, name="redirect-latin-1")
_expect("endless-body", "redirects with a body that never ends", _FOLLOWED, "/good?{case}", body="endless")
_expect("silent-body", "redirects and never sends the promised body", _FOLLOWED, "/good?{case}", body="silent")
_expect("upgrade", "redirects from http to https", _FOLLOWED, "{tls}/good?{case}")
_expect(
    "downgrade", "redirects from https to http", _FOLLOWED, "{plain}/good?{case}", door=Door.TLS, notes=("downgraded",)
)


@serves("/hops")
def _hops_left(exchange: Exchange) -> None:
    """`left` redirects, then the good body."""
    left = exchange.number("left")
    if left:
        exchange.respond(b"", 302, ("Location", exchange.onward(f"/hops?left={left - 1}")))
    else:
        exchange.respond(GOOD)


expect("/hops?left=3", "redirects three times", ok(requests=4))
expect("/hops?left=10", "redirects ten times: all that are allowed", ok(requests=11))
expect("/hops?left=11", "redirects eleven times", permanent("too-many-redirects", requests=11))
expect("/hops?left=1000000", "redirects a million times", permanent("too-many-redirects", requests=11))


@serves("/loop")
def _loop(exchange: Exchange) -> None:
    """A circle of `size` redirects."""
    size, at = exchange.number("size", 1), exchange.number("at")
    exchange.respond(b"", 302, ("Location", exchange.onward(f"/loop?size={size}&at={(at + 1) % size}")))


# A loop is known when a Location names a place this fetch has been to with the same cookies: nothing there would be
# different. So it ends at the length of the loop, not at the tenth hop.
expect("/loop?size=1&at=0", "redirects to itself", permanent("too-many-redirects"))
expect("/loop?size=2&at=0", "redirects in a circle of two", permanent("too-many-redirects", requests=2))
expect("/loop?size=5&at=0", "redirects in a circle of five", permanent("too-many-redirects", requests=5))


# ---- cookies: with the later hops of the same URL, where they belong


@serves("/wall")
def _wall(exchange: Exchange) -> None:
    """The good body to who brings the cookie `wants`; others are sent to `to` (default: here) and given `cookie`."""
    if exchange.text("wants") in (exchange.seen.header("cookie") or "").split("; "):
        exchange.respond(GOOD)
        return
    given = exchange.text("cookie").replace("{visit}", str(exchange.visit))
    headers = [("Set-Cookie", given)] if given else []
    exchange.respond(b"", 302, ("Location", _location(exchange, exchange.text("to", exchange.seen.target))), *headers)


@serves("/enter")
def _enter(exchange: Exchange) -> None:
    """A redirect with a cookie, to a server error; 404 to who brings the cookie of an attempt before."""
    if exchange.seen.header("cookie"):
        exchange.respond(b"", 404)
    else:
        exchange.respond(b"", 302, ("Location", exchange.onward("/status?code=503")), ("Set-Cookie", "seen=1; Path=/"))


def _expect_wall(name: str, does: str, endings: Endings, cookie: str, **query: str) -> None:
    expect(with_query("/wall", wants="seen=1", cookie=cookie, **query), does, endings, name=f"cookie-{name}")


_expect_wall("itself", "sets a cookie and redirects to itself", ok(requests=2), "seen=1; path=/")
_expect_wall("two-hops", "sets a cookie, redirects to a check and from there to the body", ok(requests=3), "seen=1",
             to="/redirect?{case}&to=%2Fwall%3Fwants%3Dseen%3D1%26{case}")  # fmt: skip
_expect_wall("in-vain", "redirects to itself whatever cookie it set",
             permanent("too-many-redirects", requests=2), "other=1")  # fmt: skip
_expect_wall("ever-new", "redirects to itself with a new cookie each time",
             permanent("too-many-redirects", requests=11), "other={visit}")  # fmt: skip
# Nothing of these comes back, so the second request would be the first again.
for _name, _cookie in {
    "secure": "seen=1; Secure",
    "path": "seen=1; Path=/elsewhere",
    "domain": "seen=1; Domain=example.org",
    "suffix": "seen=1; Domain=test",
    "expired": "seen=1; Expires=Thu, 01 Jan 1970 00:00:01 GMT",
    "deleted": "seen=1; Max-Age=0",
}.items():
    _expect_wall(f"unsent-{_name}", f"redirects to itself with {_cookie}", permanent("too-many-redirects"), _cookie)
_expect("cookie-elsewhere", "sets a cookie and redirects to another host", _FOLLOWED, "{plain}/good?{case}",
        cookie="seen=1; Path=/")  # fmt: skip
expect("/enter", "sets a cookie in an attempt that fails",
       transient("http-5xx", requests=2, thrice=6), name="cookie-forgotten")  # fmt: skip


# ---- dead ends

for _code in (301, 302, 303, 307, 308):
    _expect(f"{_code}-nowhere", f"answers {_code} without a Location", permanent("bad-redirect"), None, code=_code)
_expect("empty", "redirects to an empty Location", permanent("bad-redirect", "too-many-redirects"), "")
# Two different Locations: either may be the intended one.
_expect("two", "sends two different Locations", permanent("bad-redirect"), "/good?{case}", also="/good?seed=5&{case}")
_expect("gone", "redirects to a page that is not there", permanent("http-4xx", requests=2), "/status?code=404&{case}")
# A new attempt may begin at the first hop or at the last one.
_expect(
    "unavailable", "redirects to a server error", transient("http-5xx", requests=2, thrice=4, spare=2),
    "/status?code=503&{case}",
)  # fmt: skip
_expect("closed", "redirects to a closed port", transient("connect", thrice=1, spare=2), "{refuses}/good?{case}")
_expect("wrong-name", "redirects to a wrong certificate", permanent("tls"), "{tls-wrong-name}/good?{case}")

# ---- where we must not go

# The table leaves open whether credentials in a Location are a bad redirect or a refusal. Every hop is judged like a
# first URL, and as a first URL it would be refused.
_expect("credentials", "redirects to a URL with credentials", permanent("refused-url", "bad-redirect"),
        "http://user:secret@{here}/good?{case}")  # fmt: skip
_expect("user", "redirects to a URL with a user", permanent("refused-url", "bad-redirect"), "http://user@{here}/good")
_expect("empty-user", "redirects to a URL with an empty user", permanent("refused-url", "bad-redirect"),
        "http://@{here}/good?{case}")  # fmt: skip

for _scheme, _to in {
    "ftp": "ftp://{here}/good",
    "file": "file:///etc/passwd",
    "file-host": "file://{here}/etc/passwd",
    "gopher": "gopher://{here}/_GET%20/good",
    "dict": "dict://{here}/info",
    "ldap": "ldap://{here}/dc=test",
    "ws": "ws://{here}/good",
    "javascript": "javascript:alert(1)",
    "data": "data:text/plain,owned",
    "unknown": "x-trawl://{here}/good",
}.items():
    _expect(f"scheme-{_scheme}", f"redirects to {_to}", permanent("refused-url", "bad-redirect"), _to)

for _name, _to in {
    "no-host": "http:///",
    "open-bracket": "http://[::1/good",
    "port-0": "http://127.0.0.1:0/good",
    "port-70000": "http://127.0.0.1:70000/good",
    "port-word": "http://127.0.0.1:http/good",
    "escape": "/go\x1bod?{case}",
    "17-kib": "/good?filler={17-kib}",
}.items():
    _expect(f"unusable-{_name}", f"redirects to a URL that is none: {_to[:30]!r}",
            permanent("refused-url", "bad-redirect"), _to)  # fmt: skip

for _port in (22, 25, 6379, 11211):
    _expect(f"port-{_port}", f"redirects to port {_port}", permanent("refused-url", "refused-address"),
            f"http://127.0.0.1:{_port}/")  # fmt: skip

# POLICY opens 127.0.0.0/8 and nothing else. `{port}` is ours, so a fetch that goes there after all reaches us.
for _name, _host in {
    "metadata": "169.254.169.254",
    "private": "10.0.0.1",
    "zero": "0.0.0.0:{port}",
    "loopback-6": "[::1]:{port}",
    "metadata-mapped": "[::ffff:169.254.169.254]",
    "metadata-decimal": "2852039166",
    "metadata-octal": "0251.0376.0251.0376",
    "metadata-hex": "0xa9fea9fe",
    "multicast": "224.0.0.1",
    "broadcast": "255.255.255.255",
    "nat64": "[64:ff9b::a9fe:a9fe]",
    "6to4": "[2002:a9fe:a9fe::1]",
    "unique-local": "[fd00::1]",
    "shared": "100.64.0.1",
    "azure": "168.63.129.16",
}.items():
    # An odd spelling may be refused for its spelling already.
    _expect(f"address-{_name}", f"redirects to {_host}", permanent("refused-address", "refused-url"),
            f"http://{_host}/good?{{case}}")  # fmt: skip
