"""The engine's interfaces to the outside: one protocol per neighbour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Protocol, TypeVar

from msgspec import Struct

from contract.records.policy import JobPolicy
from contract.urls.lines import Parsed
from worker.engine.failures import Breakage, Failure


class DiskTrouble(Exception):
    """The worker's disk cannot store data, which is never the URL's fault; ``str()`` is a sentence for people."""


class NoSpaceError(DiskTrouble):
    """The disk has no space for this body now, but enough for smaller ones."""


class BodyTooLargeError(Exception):
    """The disk can never hold this body, even if empty; ``str()`` is a sentence for people."""


class Clock(Protocol):
    """The current time."""

    def now(self) -> float:
        """Return monotonic seconds."""

    def wall(self) -> float:
        """Return Unix seconds."""


class Response(Protocol):
    """What a store may know of a body's response; ``worker.engine.http.headers.Head`` implements it."""

    @property
    def status(self) -> int: ...

    @property
    def fields(self) -> Mapping[str, str]:
        """Values by lower-case field name."""

    @property
    def length(self) -> int | None:
        """The announced length in bytes; None: unknown."""


class Draft(Protocol):
    """A body being written to a store, until it is published or discarded."""

    def write(self, data: bytes, at: int) -> None:
        """Write all of ``data`` at offset ``at``; raises DiskTrouble, BodyTooLargeError."""

    def finish(self, size: int) -> None:
        """Close the draft, checking that it holds exactly ``size`` bytes; raises DiskTrouble."""

    def digest(self, algorithms: Sequence[str]) -> dict[str, str]:
        """Read a finished draft and return its digests in hex by algorithm; raises DiskTrouble."""

    def keep_partial(self, known: str) -> None:
        """Keep what is written for a later run, with the record ``known``, if possible. Never raises."""

    def leave(self) -> None:
        """Close the draft: leave a kept partial body for a later run, discard any other. Never raises."""

    def discard(self) -> None:
        """Delete the draft, open or finished. Never raises, and may be called again."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a body has no path although the store works; ``reason`` is a sentence for people."""

    reason: str


class Store(Protocol):
    """Where the bodies of one job go: a folder, archives or a bucket. Thread-safe.

    A body's name follows from its URL. Its **path**, as shown in the manifest, is determined by the store, and so is
    what makes it durable.
    """

    def open(self, name: str, head: Response) -> Draft:
        """Open a draft, with space reserved for the announced length.

        Raises NoSpaceError, DiskTrouble, BodyTooLargeError; ValueError if no body can have this name.
        """

    def resume(self, name: str) -> tuple[Draft, int, str] | None:
        """Return a partial body's draft, its size and the record kept with it; None: there is none to trust."""

    def publish(self, group: Sequence[Draft], may: Callable[[], bool]) -> Sequence[str | Obstacle] | None:
        """Publish finished drafts and return the path of each; None: ``may`` returned False, and none was published.

        If the job wants it, all data is durable before the first path exists, and the paths are durable on return.
        Raises DiskTrouble; the caller then discards the drafts.
        """

    def holds(self, name: str, size: int, digest: str) -> str | None:
        """Return the path of a body with this name, size and digest (``<algorithm>:<hex>``); None: there is none."""

    def trouble(self) -> str | None:
        """Return a sentence saying why no more should be written now; None: all is well."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of resolving a host: addresses as text, or why there are none.

    ``is_final``: the name does not exist (NXDOMAIN). ``begun`` is when the question was first sent (the clock's
    seconds); None: it was answered from the cache, or never sent.
    """

    addresses: tuple[str, ...] = ()
    fault: str = ""
    is_final: bool = False
    begun: float | None = field(default=None, compare=False)


class Resolver(Protocol):
    """Resolves host names to addresses. Thread-safe."""

    def known(self, host: str, after: float = -inf) -> Answer | None:
        """Return a cached answer that is still valid, or None; failures up to ``after`` (the clock's) count as none."""

    def ask(self, host: str, deliver: Callable[[str, Answer], None]) -> None:
        """Find the addresses, then call ``deliver(host, answer)`` on another thread."""

    def begun(self, host: str) -> float | None:
        """Return when the lookup of this host started (the clock's seconds); None: it is still queued."""

    def give_up(self, host: str) -> Answer:
        """Cache a failure for this host, because its answer is late, and return it."""


class Request(Struct, frozen=True, gc=False):
    """An HTTP request and its limits.

    ``fields`` are header lines to send beside the usual ones; ``seconds`` are left until the URL's deadline;
    ``attempt`` counts earlier attempts. ``is_fresh``: use no pooled connection. ``must_watch``: a reset of the stream
    must be noticed.
    """

    url: Parsed
    addresses: tuple[str, ...]
    policy: JobPolicy
    seconds: float
    fields: tuple[str, ...] = ()
    attempt: int = 0
    is_fresh: bool = False
    must_watch: bool = False


class Ended(Struct, frozen=True, gc=False):
    """How an exchange ended below HTTP: the error (``breakage``, ``detail``), if any, and the received header lines.

    ``stopped`` is why this side ended it. ``sockets`` counts the sockets that libcurl asked for (0: it reused a
    connection), ``refusals`` says why some were refused. ``is_watched``: a reset of the stream would have been noticed.
    Times are in microseconds; ``at_*`` count from the exchange's start.
    """

    lines: Sequence[bytes] = ()
    breakage: Breakage | None = None
    detail: str = ""
    stopped: Failure | None = None
    refusals: Sequence[str] = ()
    sockets: int = 0
    remote_ip: str | None = None
    is_watched: bool = True
    at_resolved: int = 0
    at_connected: int = 0
    at_secured: int = 0
    at_first_byte: int = 0
    took: int = 0


class Body(Protocol):
    """Receives the bytes of one exchange's response body."""

    def write(self, data: bytes, is_watched: bool) -> int | None:
        """Accept bytes; a result other than None ends the exchange. Never raises.

        ``is_watched``: a reset of the stream would be noticed from now on.
        """


B = TypeVar("B", bound=Body)


class Http(Protocol[B]):
    """Drives many exchanges concurrently on one thread. Only ``wake`` is thread-safe."""

    def begin(self, request: Request, body: B) -> Sequence[bytes]:
        """Start an exchange; ``wait`` returns its body when it has ended.

        Returns the list of header lines, which grows as they arrive: all lines before the body are in it when the
        body's first bytes are written. When the exchange ends, the lines move to ``Ended``.
        """

    def drop(self, body: B) -> Ended:
        """End an exchange now; ``wait`` does not return it."""

    def wait(self, seconds: float | None) -> Sequence[tuple[B, Ended]]:
        """Transfer bytes for at most this long (None: until woken) and return the exchanges that ended."""

    def wake(self) -> None:
        """End a ``wait`` early."""

    def close(self) -> None:
        """Drop everything."""
