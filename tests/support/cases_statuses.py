"""Status codes: which are final, which are worth a retry, and when (RFC 9110 section 15, RFC 6585)."""

from __future__ import annotations

import time
from email.utils import formatdate

from tests.support.bodies import body_pieces
from tests.support.cases import GOOD, Ending, Endings, expect, ok, permanent, recovers, serves, transient, with_query
from tests.support.exchange import Exchange, Header

#: Statuses that carry no body under a framing of their own (RFC 9112 6.3).
BODILESS = frozenset({204, 304})


@serves("/status")
def _status(exchange: Exchange) -> None:
    """`code`, the first `fails` times or always, with `retry` as Retry-After ("date+N" is N seconds from now)."""
    fails = exchange.number("fails")
    if fails and exchange.visit > fails:
        exchange.respond(GOOD)
        return
    code, retry = exchange.number("code"), exchange.text("retry")
    if retry.startswith("date"):
        retry = formatdate(time.time() + int(retry.removeprefix("date")), usegmt=True)
    headers: list[Header] = [("Retry-After", retry)] if retry else []
    if code in BODILESS:
        exchange.head(code, *headers)
        exchange.keeps_open = True
    else:
        exchange.respond(b"a page that says what went wrong", code, *headers)


for _code in (*range(400, 408), 409, 410, *range(412, 419), 421, 426, 431, 451, 499):
    # Beyond the codes the table names, a 4xx says that this very request will not do: permanent too.
    expect(f"/status?code={_code}", f"answers {_code}", permanent("http-4xx"))
for _code in (408, 425, 429):
    expect(f"/status?code={_code}", f"answers {_code} for ever", transient("http-4xx"))
    expect(f"/status?code={_code}&fails=2", f"answers {_code} twice, then 200", recovers("http-4xx", requests=3))
for _code in (500, 502, 503, 504, *range(520, 525)):
    expect(f"/status?code={_code}", f"answers {_code} for ever", transient("http-5xx"))
    expect(f"/status?code={_code}&fails=1", f"answers {_code} once, then 200", recovers("http-5xx"))
for _code in (501, 505, 507, 508, 510, 511, 530):
    # The table's list of transient 5xx is closed, and these name a lasting cause.
    expect(f"/status?code={_code}", f"answers {_code}", permanent("http-5xx"))
for _code in (201, 202, 204, 205, 206, 207, 226, 300, 304, 305, 306):
    # Neither 200 nor 203, so nothing is published; no redirect either, so nothing is followed.
    expect(f"/status?code={_code}", f"answers {_code} unasked", permanent("bad-response", "bad-redirect"))
# RFC 9110 15 reads codes outside 100 to 599 as 5xx; none of them is in the list of transient ones.
expect("/status?code=999", "answers 999", permanent("http-5xx", "bad-response"))
expect("/status?code=600", "answers 600", permanent("http-5xx", "bad-response"))


@serves("/nothing-with-a-body")
def _nothing_with_a_body(exchange: Exchange) -> None:
    """204, 205 or 304 with a body all the same."""
    exchange.respond(GOOD, exchange.number("code"))
    exchange.keeps_open = False


for _code in (204, 205, 304):
    expect(f"/nothing-with-a-body?code={_code}", f"answers {_code} with a body", permanent("bad-response"))


@serves("/elsewhere")
def _elsewhere(exchange: Exchange) -> None:
    """A Location under a status that is no redirect."""
    exchange.respond(b"", exchange.number("code"), ("Location", exchange.onward("/good")))


for _code in (300, 304, 305, 201, 202):
    # libcurl follows 300 and 304; we follow 301, 302, 303, 307 and 308 only.
    expect(f"/elsewhere?code={_code}", f"answers {_code} with a Location", permanent("bad-response", "bad-redirect"))


# ---- Retry-After


def _expect_retry(name: str, retry: str, does: str, endings: Endings, *, code: int = 503) -> None:
    expect(with_query("/status", code=code, fails=1, retry=retry), does, endings, name=f"retry-after-{name}")


# A host that says when to come again is waited for; that is no attempt of the URL.
_WAITED_FOR = Endings(Ending((), 2), Ending((), 2))
for _code in (403, 429, 503):
    _does = f"answers {_code} and asks to wait a second, then answers 200"
    _expect_retry(f"second-{_code}", "1", _does, _WAITED_FOR, code=_code)
_expect_retry("second-202", "1", "is still making it, then answers 200", recovers("not-ready"), code=202)
# An HTTP-date has whole seconds: two seconds from now are more than one second away.
_expect_retry("date", "date+2", "asks to wait until a date, then answers 200", _WAITED_FOR)
_expect_retry("past", "date-100", "asks to wait until a date in the past", recovers("http-5xx"))
_expect_retry("zero", "0", "asks to wait no time", recovers("http-5xx"))
for _label, _value in {
    "word": "soon",
    "negative": "-5",
    "fraction": "0.5",
    "exponent": "1e3",
    "list": "1, 2",
    "iso-date": "2030-01-01T00:00:00Z",
    "control": "\x01",
}.items():
    _expect_retry(_label, _value, "sends nonsense as Retry-After: the usual backoff counts", recovers("http-5xx"))

# What can hardly be meant is asked once more before the patience is over.
for _label, _value, _requests in (("day", "86400", 1), ("giant", "9" * 40, 2), ("far-date", "date+86400", 1)):
    expect(
        with_query("/status", code=503, retry=_value),
        "asks to wait longer than POLICY.host_patience, and answers 503 for ever",
        permanent("host-blocked", requests=_requests),
        name=f"retry-after-{_label}",
    )


# ---- errors with bodies that do not end


@serves("/endless-error")
def _endless_error(exchange: Exchange) -> None:
    """A status whose body never ends and need not be read."""
    exchange.head(exchange.number("code"), ("Connection", "close"))
    for piece in body_pieces(0, 2**62):
        exchange.send(piece)


expect("/endless-error?code=404", "answers 404 with an endless page", permanent("http-4xx"))
expect("/endless-error?code=503", "answers 503 with an endless page", transient("http-5xx"))


@serves("/silent-error")
def _silent_error(exchange: Exchange) -> None:
    exchange.head(exchange.number("code"), ("Content-Length", "1000000"))
    exchange.hold()


# The status alone decides: the page is waited for no longer than its connection is worth.
expect("/silent-error?code=404", "answers 404 and never sends the page", permanent("http-4xx"), seconds=2.5)


@serves("/silent-redirect")
def _silent_redirect(exchange: Exchange) -> None:
    """A redirect whose body nothing ends."""
    exchange.head(302, ("Location", exchange.onward("/good")))
    exchange.hold()


expect("/silent-redirect", "redirects and never ends that answer", ok(requests=2), seconds=2.5)


@serves("/challenge")
def _challenge(exchange: Exchange) -> None:
    code = exchange.number("code")
    name = "Proxy-Authenticate" if code == 407 else "WWW-Authenticate"
    exchange.respond(b"", code, (name, 'Digest realm="x", nonce="y"'), (name, 'Basic realm="x"'), (name, "Negotiate"))


for _code in (401, 407):
    expect(
        f"/challenge?code={_code}",
        f"answers {_code} and asks for credentials",
        permanent("http-4xx"),
        never_sends=("authorization", "proxy-authorization"),
    )
