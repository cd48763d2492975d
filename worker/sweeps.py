"""Sweeps the ledger from a worker: the workers of a cluster take turns."""

from __future__ import annotations

from collections.abc import Callable

from kombu.exceptions import OperationalError

from contract.cluster.broker import UNREACHABLE
from contract.ledger.sweep import Sweeper
from contract.outage import Outage
from worker.events import LedgerSwept, Listener, SweepsFailed, SweepsResumed

SWEEP_LOOK = 0.2  # seconds between two checks whether it is our turn; until the next known turn they cost nothing


class Sweeps:
    """Sweeps when it is our turn; notifies once when sweeping fails, and once when it works again."""

    def __init__(self, sweeper: Sweeper, listener: Listener, *, is_stopping: Callable[[], bool]) -> None:
        self._sweeper = sweeper
        self._listener = listener
        self._is_stopping = is_stopping
        self._outage = Outage()

    def __call__(self) -> None:
        if self._is_stopping():
            return
        try:
            findings = self._sweeper.sweep()
        except (*UNREACHABLE, OperationalError) as error:
            if self._outage.begin():
                self._listener.notify(SweepsFailed(type(error).__name__))
            return
        if self._outage.end() is not None:
            self._listener.notify(SweepsResumed())
        self._listener.notify(LedgerSwept(findings))
