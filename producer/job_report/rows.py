"""The fields that a report reads from a manifest's rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from contract.records.outcomes import Ending

PHASES = ("dns", "connect", "tls", "ttfb", "transfer")


#: A row edited by hand must not end the report: it counts as unreadable.
Seconds = Annotated[float, Meta(ge=0.0, le=1e9)]
Bytes = Annotated[int, Meta(ge=0, le=1 << 62)]


class Phases(Struct, frozen=True, gc=False):
    """Seconds, as in ``contract.records.outcomes.Timing``."""

    dns: Seconds = 0.0
    connect: Seconds = 0.0
    tls: Seconds = 0.0
    ttfb: Seconds = 0.0
    transfer: Seconds = 0.0
    total: Seconds = 0.0
    queued: Seconds = 0.0


class Try(Struct, frozen=True, gc=False):
    """One attempt; its seconds."""

    seconds: Seconds = 0.0


NO_PHASES = Phases()


class Row(Struct, frozen=True, gc=False):
    """The fields of a row that are reported; the others are skipped undecoded."""

    url: str
    outcome: Ending
    name: str | None = None
    error: str | None = None
    detail: str | None = None
    http_status: int | None = None
    bytes: Bytes | None = None
    attempts: tuple[Try, ...] = ()
    started: datetime | None = None
    timing: Phases = NO_PHASES
    worker: str | None = None

    @property
    def is_stored(self) -> bool:
        return self.outcome in (Ending.OK, Ending.KEPT)

    @property
    def host(self) -> str:
        """Host and port, without user and path, which may be secrets; empty if there is none."""
        parts = self.url.split("/", 3)
        return parts[2].rpartition("@")[2].partition("?")[0].lower() if len(parts) > 2 else ""


_DECODER = msgspec.json.Decoder(Row)


def read_rows(lines: Iterable[bytes]) -> Iterator[Row | None]:
    """Read a manifest's lines; None for each that is not a row, like the torn end of a running job's."""
    for line in lines:
        try:
            yield _DECODER.decode(line)
        except (msgspec.DecodeError, ValueError):
            yield None
