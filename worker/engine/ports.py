"""What the engine needs from the world, one Protocol per neighbour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Protocol

from contract.records.policy import Sync
from contract.urls.naming import Layout

if TYPE_CHECKING:
    from worker.engine.exchange import Exchange


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


class Draft(Protocol):
    """A temporary file that becomes a body or nothing.

    ``obstacle`` says, after ``publish``, why this one got no name although the disk is well; None: it got it.
    """

    obstacle: str | None

    def write(self, data: bytes, at: int) -> None:
        """Put all of ``data`` at offset ``at``; raises DiskTrouble, BodyTooLargeError."""

    def finish(self, size: int) -> None:
        """Close it, sure that it holds exactly ``size`` bytes; raises DiskTrouble."""

    def leave(self) -> None:
        """Close it and keep it for a later run if it was shelved; otherwise discard it. Never raises."""

    def discard(self) -> None:
        """Remove it, open or finished. Never raises, and may be called again."""


class Disk(Protocol):
    """The output folder of this worker."""

    def draft(self, size: int | None = None) -> Draft:
        """Open a new temporary file with space for so many bytes (None: as they come).

        Raises NoSpaceError, DiskTrouble, BodyTooLargeError.
        """

    def publish(self, group: Sequence[tuple[Draft, str]], layout: Layout, sync: Sync, may: Callable[[], bool]) -> bool:
        """Give finished drafts their names, durably as ``sync`` says; False: ``may`` said no and nothing was named.

        All data is on the disk before the first name changes, and the names are before this returns.
        Raises DiskTrouble; drafts not named by then are the caller's to discard.
        """

    def digest(self, draft: Draft, algorithms: Sequence[str]) -> dict[str, str]:
        """Read a finished draft and return its digests in hex by algorithm; raises DiskTrouble."""

    def holds(self, name: str, layout: Layout, size: int, digest: str) -> bool:
        """Is there a regular file of this name with this size and digest (``<algorithm>:<hex>``)?"""

    def shelve(self, draft: Draft, name: str, known: str) -> None:
        """Have an open draft survive this process, beside what is ``known`` of it. Never raises; it may not work."""

    def take_back(self, name: str) -> tuple[Draft, int, str] | None:
        """Return a shelved draft, how many bytes it holds and what is known of it; None: there is none to trust."""

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

    def ask(self, host: str, tell: Callable[[str, Answer], None]) -> None:
        """Find the addresses and call ``tell(host, answer)``, on another thread, at some time."""

    def begun(self, host: str) -> float | None:
        """Return when somebody began to look for this host (the clock's seconds); None: it still waits for its turn."""

    def give_up(self, host: str) -> Answer:
        """Nobody waits for this answer any longer: remember for a while that there was none, and return that."""


class Http(Protocol):
    """Many exchanges at once, driven by one thread. Only ``wake`` may be called from others."""

    def begin(self, exchange: Exchange) -> None:
        """Start an exchange; it comes back from ``wait`` when it ended."""

    def drop(self, exchange: Exchange) -> None:
        """End an exchange now; it does not come back."""

    def wait(self, seconds: float | None) -> Sequence[Exchange]:
        """Move bytes for at most this long (None: until woken) and return the exchanges that ended."""

    def wake(self) -> None:
        """End a ``wait`` early."""

    def close(self) -> None:
        """Drop everything."""
