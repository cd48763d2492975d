"""Hosts that throttle, as all processes of a cluster know them: whoever learns of a pause lets the others know.

The place a governor of hosts will take: it is asked once for all hosts, and answers in seconds from now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import structs

from contract.errors import MessageError
from contract.ledger.ledger import RedisLedger
from contract.records.hosts import HostState

KEPT = 900  # seconds a state is kept after its pause: longer than a process remembers a host
_PROBE_LASTS = 30_000  # milliseconds
_MOST = 500  # changes taken over at once; the next exchange brings more


@dataclass(frozen=True, slots=True)
class News:
    """``states`` are what others learned, ``granted`` the hosts this process may probe; ``change`` is for the next."""

    change: int
    states: Sequence[HostState]
    granted: Sequence[str]


def exchange(ledger: RedisLedger, change: int, states: Sequence[HostState], probes: Sequence[str]) -> News:
    """Let the others know ``states``, ask for ``probes`` and learn what changed since ``change``.

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
    """Read a state with the seconds it has left; None: somebody else's."""
    try:
        return structs.replace(HostState.from_wire(text), left=left)
    except MessageError:
        return None
