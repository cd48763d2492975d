"""A large body fetched in several ranges at once, all of one version.

The first exchange (the *main* one) asked for the whole body and stops where the first helper began. Helpers ask for
ranges with If-Range and count only if their answers are exact. As soon as one of them is not, the split is off: the
main exchange goes on to the end and writes over whatever helpers wrote, or the body is continued from where it is
whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from worker.engine.ranges import Part, Version, offers_ranges, version_of

if TYPE_CHECKING:
    from worker.engine.exchange import Exchange

SMALLEST_SHARE = 512 * 1024  # bytes; a range worth a request of its own


@dataclass(slots=True, eq=False)
class Split:
    """Who fetches which share: ``bounds`` are offsets, share i reaches from bounds[i] up to bounds[i + 1]."""

    main: Exchange
    version: Version
    bounds: list[int]
    helpers: list[Exchange] = field(default_factory=list)  # in flight
    done: set[int] = field(default_factory=set)  # where finished shares begin

    @property
    def total(self) -> int:
        return self.bounds[-1]

    @property
    def is_whole(self) -> bool:
        return len(self.done) == len(self.bounds) - 1

    def shares(self) -> Iterator[tuple[int, int]]:
        """Return the helpers' shares."""
        return zip(self.bounds[1:], self.bounds[2:], strict=False)

    def whole_until(self) -> int:
        """Return the offset up to which the body has no gap."""
        for start, end in zip(self.bounds, self.bounds[1:], strict=False):
            if start not in self.done:
                return self.main.size if start == 0 else start
            last = end
        return last

    def prefix(self) -> Part | None:
        """Return what can be continued when the split is off."""
        draft = self.main.draft
        return None if draft is None else Part(draft, self.whole_until(), self.version, self.main.head)


def plan(main: Exchange, most: int) -> Split | None:
    """Divide a body among ``most`` exchanges at most; None: it stays with one.

    Only a body with a strong validator and announced ranges is divided.
    """
    head = main.head
    version = version_of(head) if head is not None and offers_ranges(head) else None
    if version is None or version.total is None:
        return None
    shares = min(most, version.total // SMALLEST_SHARE)
    if shares < 2:
        return None
    return Split(main, version, [version.total * share // shares for share in range(shares + 1)])
