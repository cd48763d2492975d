"""Connections that fail before a request is read, or between two of them."""

from __future__ import annotations

from tests.support.cases import GOOD, POLICY, Door, Ending, Endings, expect, ok, permanent, serves, transient
from tests.support.exchange import Exchange

# ---- certificates: final, nothing is sent

for _door, _does in {
    Door.TLS_WRONG_NAME: "shows a certificate for another host",
    Door.TLS_SELF_SIGNED: "shows a certificate nobody signed",
    Door.TLS_EXPIRED: "shows a certificate that ran out yesterday",
}.items():
    expect("/good", _does, permanent("tls", requests=0), door=_door)

# ---- handshakes and connections that come to nothing: worth another try

_NO_REQUEST = transient("tls", "connect", requests=0)
expect("/good", "closes in the TLS handshake", _NO_REQUEST, door=Door.TLS_HANDSHAKE_CUT)
expect("/good", "resets in the TLS handshake", _NO_REQUEST, door=Door.TLS_HANDSHAKE_RESET)
# ---- handshakes that would come to nothing again

_NO_TLS = permanent("tls", requests=0)
expect("/good", "answers the TLS handshake in HTTP", _NO_TLS, door=Door.TLS_SPOKEN_TO_IN_PLAIN)
expect("/good", "speaks other versions of TLS", _NO_TLS, door=Door.TLS_OF_ANOTHER_VERSION)
expect(
    "/good", "says nothing in the TLS handshake", transient("timeout", "too-slow", "tls", requests=0),
    door=Door.TLS_HANDSHAKE_SILENT, seconds=POLICY.connect_timeout + 1.0,
)  # fmt: skip
_BROKEN = transient("connect", "truncated", requests=0)
expect("/good", "closes every connection at once", _BROKEN, door=Door.HANGS_UP)
expect("/good", "resets every connection at once", _BROKEN, door=Door.RESETS)
expect("/good", "refuses connections", transient("connect", requests=0), door=Door.REFUSES)
expect(
    "/good", "accepts and never reads", transient("too-slow", "timeout", requests=0), door=Door.SILENT,
    seconds=POLICY.slow_window + 1.0,
)  # fmt: skip

# ---- between two requests


@serves("/close-after")
def _close_after(exchange: Exchange) -> None:
    """A right response that announces nothing, and then closes or resets."""
    exchange.respond(GOOD)
    exchange.keeps_open = False
    if exchange.number("reset"):
        exchange.reset()


expect("/close-after", "closes after a right response without having said so", ok())
expect("/good?seed=0", "has closed the connection since the last response", ok(), name="reuse-closed",
       warm_up="/close-after")  # fmt: skip


@serves("/only-once")
def _only_once(exchange: Exchange) -> None:
    """Right on a fresh connection; on one used before, `then` (close or reset) instead of an answer."""
    if exchange.seen.turn == 1:
        exchange.respond(GOOD)
    elif exchange.text("then") == "reset":
        exchange.reset()


# The race of RFC 9112 9.3.1: the request crosses the server's close. Nothing of an answer has come, so it is sent again
# on a new connection and costs no attempt. A client that did not reuse the connection needs one request.
_RACE = Endings(Ending((), 1, spare=1), Ending((), 1, spare=1))
expect("/only-once?then=close", "closes instead of answering a second request on a connection", _RACE, warm_up="/good")
expect("/only-once?then=reset", "resets instead of answering a second request on a connection", _RACE, warm_up="/good")
expect(
    "/only-once?then=close", "closes instead of answering a second request, over TLS", _RACE,
    door=Door.TLS, warm_up="/good",
)  # fmt: skip
