"""What the engine needs from the world, one Protocol per neighbour."""

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
    """Our own disk cannot take what we have; ``str()`` is a sentence for people. Never a URL's fault."""


class NoSpaceError(DiskTrouble):
    """Our own disk has no space for this body now, and enough for smaller ones."""


class BodyTooLargeError(Exception):
    """Our own disk can never take this body, whatever else is removed from it; ``str()`` is a sentence for people."""


class Clock(Protocol):
    """Time."""

    def now(self) -> float:
        """Seconds that only grow."""

    def wall(self) -> float:
        """Unix seconds."""


class Response(Protocol):
    """What a store may know of the response that a body came with: ``worker.engine.http.headers.Head`` has it."""

    @property
    def status(self) -> int: ...

    @property
    def fields(self) -> Mapping[str, str]:
        """Values by field name in lower case."""

    @property
    def length(self) -> int | None:
        """How many bytes are announced; None: they come as they come."""


class Draft(Protocol):
    """A body on its way into a store, from its first byte until it has a path or is gone."""

    def write(self, data: bytes, at: int) -> None:
        """Put all of ``data`` at offset ``at``; raises DiskTrouble, BodyTooLargeError."""

    def finish(self, size: int) -> None:
        """Write no more, sure that it holds exactly ``size`` bytes; raises DiskTrouble."""

    def digest(self, algorithms: Sequence[str]) -> dict[str, str]:
        """Read a finished draft and return its digests in hex by algorithm; raises DiskTrouble."""

    def keep_partial(self, known: str) -> None:
        """Have what is written survive this process, beside what is ``known`` of it. Never raises; it may not work."""

    def leave(self) -> None:
        """Write no more; leave a kept partial body for a later run, discard any other draft. Never raises."""

    def discard(self) -> None:
        """Remove it, open or finished. Never raises, and may be called again."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why one body has no path although the store is well; ``reason`` is a sentence for people."""

    reason: str


class Store(Protocol):
    """Where the bodies of one job go: a folder, archives or a bucket. Any thread may call it.

    A body has a name, which its URL gives it. The store says its **path**: where it lies, as the manifest shows it. How
    paths follow from names is the store's affair, and so is what it takes for them to be durable.
    """

    def open(self, name: str, url: str, head: Response) -> Draft:
        """Begin a body, with space for as many bytes as are announced.

        Raises NoSpaceError, DiskTrouble, BodyTooLargeError; ValueError where nothing can have this name.
        """

    def resume(self, name: str) -> tuple[Draft, int, str] | None:
        """Return a partial body's draft, its size and the record kept with it; None: there is none to trust."""

    def publish(self, group: Sequence[Draft], may: Callable[[], bool]) -> Sequence[str | Obstacle] | None:
        """Store finished drafts and return the path of each; None: ``may`` said no, and none has one.

        All data is durable before the first path leads to it, and the paths are before this returns, where the job
        wants that. Raises DiskTrouble; what has no path by then is the caller's to discard.
        """

    def holds(self, name: str, size: int, digest: str) -> str | None:
        """Return the path of a body with this name, size and digest (``<algorithm>:<hex>``); None: there is none."""

    def trouble(self) -> str | None:
        """Say in a sentence why no more should be written now; None: all is well."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What resolving a host gave: addresses as text, or why there are none.

    ``is_final``: the name does not exist, as far as DNS knows (NXDOMAIN). ``begun`` is when the question left our own
    queue (the clock's seconds); None: it was answered from memory, or never left it.
    """

    addresses: tuple[str, ...] = ()
    fault: str = ""
    is_final: bool = False
    begun: float | None = field(default=None, compare=False)


class Resolver(Protocol):
    """Host names to addresses, asked from many threads."""

    def known(self, host: str, *, after: float = -inf) -> Answer | None:
        """Return a fresh answer at once, or None; a fault found at or before ``after`` (the clock's) is none."""

    def ask(self, host: str, deliver: Callable[[str, Answer], None]) -> None:
        """Find the addresses and call ``deliver(host, answer)``, on another thread, at some time."""

    def begun(self, host: str) -> float | None:
        """Return when somebody began to look for this host (the clock's seconds); None: it still waits for its turn."""

    def give_up(self, host: str) -> Answer:
        """Nobody waits for this answer any longer: remember for a while that there was none, and return that."""


class Request(Struct, frozen=True, gc=False):
    """What is asked of a server, and the terms for it.

    ``fields`` are header lines to send beside the usual ones; ``seconds`` are left until the URL's deadline;
    ``attempt`` counts those that went before. ``is_fresh``: on no pooled connection. ``must_watch``: a reset of its
    stream may not go unnoticed.
    """

    place: Parsed
    addresses: tuple[str, ...]
    policy: JobPolicy
    seconds: float
    fields: tuple[str, ...] = ()
    attempt: int = 0
    is_fresh: bool = False
    must_watch: bool = False


class Ended(Struct, frozen=True, gc=False):
    """How an exchange ended, below HTTP: ``breakage`` and ``detail``, where it broke, and the header lines that came.

    ``stopped`` is why it was ended on this side; ``refusals`` say why sockets were not opened, of the ``sockets`` that
    were asked for; none: an open connection was used. ``is_watched``: a reset of its stream would have been noticed.
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
    """Where the bytes of a response go; each belongs to one exchange."""

    def write(self, data: bytes, is_watched: bool) -> int | None:
        """Take bytes as they come; anything but None ends the exchange. Never raises.

        ``is_watched``: would a reset of the stream be noticed from here on?
        """


B = TypeVar("B", bound=Body)


class Http(Protocol[B]):
    """Many exchanges at once, driven by one thread. Only ``wake`` may be called from others."""

    def begin(self, request: Request, body: B) -> Sequence[bytes]:
        """Start an exchange; its body comes back from ``wait`` when it ended.

        Returns the lines of the response's headers, which grow as they come: whatever precedes the body is there
        when the body's first bytes are taken. Once the exchange has ended they are in ``Ended``, and here no longer.
        """

    def drop(self, body: B) -> Ended:
        """End an exchange now; it does not come back."""

    def wait(self, seconds: float | None) -> Sequence[tuple[B, Ended]]:
        """Move bytes for at most this long (None: until woken) and return the exchanges that ended."""

    def wake(self) -> None:
        """End a ``wait`` early."""

    def close(self) -> None:
        """Drop everything."""
