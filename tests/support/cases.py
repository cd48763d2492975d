"""What a misbehaving server does under each path, and how a fetch of it must end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import parse_qsl, quote, urlsplit

from contract.records.policy import JobPolicy
from tests.support.bodies import body_bytes
from tests.support.exchange import Exchange

#: The policy the expectations are written for; `POLICY.attempts` is replaced by 1 or 3.
#: The waits are short so that no case takes long, the sizes small so that no cap costs much.
POLICY = JobPolicy(
    timeout=8.0, connect_timeout=1.5, first_byte_timeout=1.0, slowest=2000, slow_window=1.0, max_size=4 * 1024 * 1024,
    first_wait=0.01, longest_wait=0.05, host_patience=3.0, redirects=10, allow_nets=("127.0.0.0/8",),
)  # fmt: skip

#: What a path serves unless its case says otherwise.
GOOD_SIZE = 4096
GOOD = body_bytes(GOOD_SIZE)


class Door(StrEnum):
    """The servers of a site: what happens before a request can be read."""

    PLAIN = "plain"  #: HTTP
    TLS = "tls"  #: HTTPS with a certificate the site's authority signed
    TLS_WRONG_NAME = "tls-wrong-name"  #: HTTPS with a certificate for another host
    TLS_SELF_SIGNED = "tls-self-signed"  #: HTTPS with a certificate that no authority signed
    TLS_EXPIRED = "tls-expired"  #: HTTPS with a certificate that ran out yesterday
    TLS_HANDSHAKE_CUT = "tls-handshake-cut"  #: reads the ClientHello and closes
    TLS_HANDSHAKE_RESET = "tls-handshake-reset"  #: reads the ClientHello and resets
    TLS_HANDSHAKE_SILENT = "tls-handshake-silent"  #: reads the ClientHello and says nothing
    TLS_SPOKEN_TO_IN_PLAIN = "tls-plain-answer"  #: answers the ClientHello with an HTTP response
    TLS_OF_ANOTHER_VERSION = "tls-version"  #: answers the ClientHello with the alert protocol_version
    HANGS_UP = "hangs-up"  #: accepts and closes at once
    RESETS = "resets"  #: accepts and resets at once
    SILENT = "silent"  #: accepts and never reads
    REFUSES = "refuses"  #: a port without a listener

    @property
    def is_tls(self) -> bool:
        """Whether its URLs begin with https."""
        return self.value.startswith("tls")


class Kind(StrEnum):
    """The three outcomes a fetch may have."""

    OK = "ok"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Ending:
    """How one fetch must end."""

    errors: tuple[str, ...]  # the error classes that are right, the best one first; empty for ok
    requests: int  # how many HTTP requests the server must have seen
    spare: int = 0  # how many more would be right too; the case's comment says why

    @property
    def kind(self) -> Kind:
        """The outcome that goes with the best error class."""
        return _kind_of(self.errors[0]) if self.errors else Kind.OK

    @property
    def error(self) -> str | None:
        """The best error class; None for ok."""
        return self.errors[0] if self.errors else None

    def allows_requests(self, seen: int) -> bool:
        """Whether that many requests are right."""
        return self.requests <= seen <= self.requests + self.spare

    def allows(self, kind: str, error: str | None) -> bool:
        """Whether that outcome and error class are right; an error class says whether it is a refusal."""
        if not self.errors:
            return kind == Kind.OK and error is None
        return error in self.errors and kind == _kind_of(error or "")


@dataclass(frozen=True, slots=True)
class Endings:
    """How a fetch must end with one attempt and with three."""

    once: Ending
    thrice: Ending


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One behaviour and what must come of it.

    `path` is the request target on the server behind `door`; build its URL with `MisbehavingSite.url(case)`.
    `body` is what must be stored when the outcome is ok (None: the outcome is never ok).
    """

    name: str
    path: str
    does: str  # a sentence about the server
    once: Ending
    thrice: Ending
    body: bytes | None
    door: Door = Door.PLAIN
    never_sends: tuple[str, ...] = ()  # headers (lower case) no request of the case may carry
    notes: tuple[str, ...] = ()  # what the outcome must record
    seconds: float = 1.0  # one attempt under POLICY should be over by then, on an idle machine
    warm_up: str | None = None  # a target to fetch first on the same connections

    def ending(self, attempts: int) -> Ending:
        """Return the ending for 1 or 3 attempts."""
        return {1: self.once, 3: self.thrice}[attempts]


Behaviour = Callable[[Exchange], None]
_behaviours: dict[str, Behaviour] = {}
_cases: list[Case] = []
_split_cases: list[Case] = []


def serves(path: str) -> Callable[[Behaviour], Behaviour]:
    """Register what a server does under a path."""

    def register(behaviour: Behaviour) -> Behaviour:
        if path in _behaviours:
            raise ValueError(f"{path} has a behaviour already")
        _behaviours[path] = behaviour
        return behaviour

    return register


def behaviour_of(path: str) -> Behaviour | None:
    """Return what a server does under a path (without query), or None."""
    return _behaviours.get(path)


def expect(
    path: str,
    does: str,
    endings: Endings,
    *,
    name: str = "",
    body: bytes | None = GOOD,
    door: Door = Door.PLAIN,
    never_sends: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    seconds: float = 1.0,
    warm_up: str | None = None,
    splits: bool = False,
) -> None:
    """Add a case; its name comes from the path and its query unless given. `splits` adds it to the split cases."""
    case = Case(
        name=name or _name(path, door),
        path=path,
        does=does,
        once=endings.once,
        thrice=endings.thrice,
        body=body if Kind.OK in (endings.once.kind, endings.thrice.kind) else None,
        door=door,
        never_sends=never_sends,
        notes=notes,
        seconds=seconds,
        warm_up=warm_up,
    )
    if any(known.name == case.name for known in [*_cases, *_split_cases]):
        raise ValueError(f"two cases are called {case.name}")
    (_split_cases if splits else _cases).append(case)


def registered(*, splits: bool = False) -> tuple[Case, ...]:
    """Return every case added so far: those for plain fetches, or those for fetches in several ranges at once."""
    return tuple(_split_cases if splits else _cases)


def ok(requests: int = 1) -> Endings:
    """The body is stored at the first attempt."""
    ending = Ending((), requests)
    return Endings(ending, ending)


def permanent(*errors: str, requests: int = 1) -> Endings:
    """It fails or is refused, and is not tried again."""
    ending = Ending(errors, requests)
    return Endings(ending, ending)


def transient(*errors: str, requests: int = 1, thrice: int | None = None, spare: int = 0) -> Endings:
    """It fails, and every attempt allowed is spent on it (`requests` each)."""
    once = Ending(errors, requests)
    return Endings(once, replace(once, requests=3 * requests if thrice is None else thrice, spare=spare))


def recovers(*errors: str, requests: int = 2, spare: int = 0) -> Endings:
    """It fails with one attempt and ends ok with three, after `requests` requests."""
    return Endings(Ending(errors, 1), Ending((), requests, spare))


def _kind_of(error: str) -> Kind:
    return Kind.REFUSED if error.startswith("refused-") else Kind.FAILED


def with_query(path: str, **parameters: str | int) -> str:
    """Return a target with its parameters spelled as a query."""
    spelled = "&".join(f"{key}={quote(str(value), safe='')}" for key, value in parameters.items())
    return f"{path}?{spelled}" if spelled else path


def _name(target: str, door: Door) -> str:
    parts = urlsplit(target)
    words = [parts.path.strip("/").replace("/", "-"), *(value for _, value in parse_qsl(parts.query))]
    if door is not Door.PLAIN:
        words.insert(0, door.value)
    name = "-".join(word for word in words if word)
    return "".join(letter if letter.isalnum() or letter in "-._" else "_" for letter in name)
