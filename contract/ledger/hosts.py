"""The pauses of throttling hosts, shared by all processes of a cluster.

One call exchanges all hosts; times are sent as seconds from now, so clocks need not agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import structs

from contract.errors import MessageError
from contract.ledger.ledger import RedisLedger
from contract.records.hosts import HostState

KEPT = 900  # seconds a state is kept after its pause, which is longer than a process remembers a host
_PROBE_LASTS = 30_000  # milliseconds
_MOST = 500  # changes per exchange; the next one brings more


@dataclass(frozen=True, slots=True)
class News:
    """``states`` come from other processes; ``granted`` are the hosts this one may probe; pass ``change`` next time."""

    change: int
    states: Sequence[HostState]
    granted: Sequence[str]


def exchange(ledger: RedisLedger, change: int, states: Sequence[HostState], probes: Sequence[str]) -> News:
    """Publish ``states``, ask for the right to probe hosts, and return what changed since ``change``.

    Raises:
        redis.exceptions.RedisError: as the ledger's methods.
    """
    arguments: list[str | int | bytes] = [change, KEPT, _MOST, len(states)]
    for state in states:
        arguments += [state.host, max(0, int(state.left * 1000)), state.to_wire()]
    for host in probes:
        arguments += [host, _PROBE_LASTS]
    keys = ledger.keys
    last, news, granted = ledger.call("hosts", [keys.hosts, keys.host_changes, keys.host_probes], arguments)
    ours = {state.host for state in states}
    theirs = [
        found
        for host, left, text in zip(news[::3], news[1::3], news[2::3], strict=True)
        if host.decode() not in ours and (found := _read(text, left / 1000)) is not None
    ]
    return News(last, theirs, [host.decode() for host in granted])


def _read(text: bytes, left: float) -> HostState | None:
    """Read a state with the seconds left of its pause; None: it is of another version."""
    try:
        return structs.replace(HostState.from_wire(text), left=left)
    except MessageError:
        return None
