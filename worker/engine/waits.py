"""What the URLs of a run wait for, for those who watch the job."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Waits:
    """Counts of URLs: in flight, quiet among these, waiting for name servers that do not answer, and retrying.

    Of each unresolved host only one URL counts; the others wait behind it. ``hosts`` counts quiet and unresolved URLs
    by host. ``throttled`` ones wait for throttling hosts; ``throttling`` has the seconds until each is asked again.
    """

    flying: int = 0
    quiet: int = 0
    unresolved: int = 0
    retrying: int = 0
    hosts: Counter[str] = field(default_factory=Counter)
    throttled: int = 0
    throttling: dict[str, float] = field(default_factory=dict)

    def fly(self, host: str, *, is_quiet: bool) -> None:
        self.flying += 1
        if is_quiet:
            self.quiet += 1
            self.hosts[host] += 1

    def await_address(self, host: str) -> None:
        self.unresolved += 1
        self.hosts[host] += 1

    def await_host(self, host: str, left: float) -> None:
        self.throttled += 1
        self.throttling[host] = left

    def add(self, other: Waits) -> None:
        self.flying += other.flying
        self.quiet += other.quiet
        self.unresolved += other.unresolved
        self.retrying += other.retrying
        self.hosts.update(other.hosts)
        self.throttled += other.throttled
        self.throttling |= other.throttling
