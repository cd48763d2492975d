"""What keeps this worker from working is seen: in Redis, in Flower, by its metrics and by its heartbeat."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery import signals

from contract.cluster.broker import AWAY
from contract.errors import FolderError
from contract.ledger.health import BELIEVED_FOR, Trouble
from worker import wiring
from worker.batch.disk_backoff import DiskBackoff
from worker.events import Listener, TroubleSeen
from worker.log_context import logger_of
from worker.station import hearing, station

logger = logger_of(__name__)

_LOOK_PAUSE = 2.0  # seconds between two looks
_RENEWED_EVERY = BELIEVED_FOR / 3  # seconds
_BEATEN_EVERY = 0.4 * BELIEVED_FOR  # likewise, of the word that this worker is there
_ENDED_AFTER = 2 * _LOOK_PAUSE  # seconds without trouble after which it is over

_watch: HealthWatch | None = None


def attach(backoff: DiskBackoff) -> None:
    """Watch the worker that starts in this process; one whose output folder cannot be used ends at once."""
    # Celery keeps only weak references to receivers unless told otherwise.
    signals.worker_init.connect(_check_output, weak=False)

    def start(sender: Any, **_: Any) -> None:
        global _watch
        worker = str(sender.hostname)
        _watch = HealthWatch(
            lambda: _trouble(backoff),
            report=lambda trouble: station().health.report(worker, trouble),
            clear=lambda: station().health.clear(worker),
            beat=lambda: station().health.beat(worker),
            listener=hearing(os.getpid(), sender.app, worker).listeners,
        )
        threading.Thread(target=_watch.run, name="health", daemon=True).start()

    signals.worker_ready.connect(start, weak=False)


def trouble() -> Trouble | None:
    """Return what this worker suffers from now."""
    return _watch.trouble if _watch is not None else None


def beat(heartbeat: Path) -> None:
    """Touch the file that shows this worker to work; while it takes no work the file is old, and says why.

    Raises:
        OSError: it cannot be touched.
    """
    found = trouble()
    if found is None or found.takes_work:
        heartbeat.touch(mode=0o600)
        if heartbeat.stat().st_size:
            os.truncate(heartbeat, 0)
        return
    heartbeat.write_text(f"{found.reason}\n", "utf-8")
    os.utime(heartbeat, (0, 0))


class HealthWatch:
    """Looks every so often whether this worker can work, and says when that changes, and on and on while it cannot."""

    def __init__(
        self,
        look: Callable[[], Trouble | None],
        *,
        report: Callable[[Trouble], None],
        clear: Callable[[], None],
        beat: Callable[[], None],
        listener: Listener,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``report`` and ``clear`` keep the record that others see, ``beat`` says that this worker is there."""
        self.trouble: Trouble | None = None
        self._look = look
        self._report = report
        self._clear = clear
        self._beat = beat
        self._listener = listener
        self._clock = clock
        # When there was trouble, when others were told of it, and of this worker at all.
        self._seen = self._reported = self._beaten = float("-inf")
        self._recorded: Trouble | None = None

    def run(self) -> None:
        """Look until the process ends."""
        while True:
            self.step()
            time.sleep(_LOOK_PAUSE)

    def step(self) -> None:
        """Look once. Never raises: what is away now is told with the next look."""
        try:
            found, now = self._look(), self._clock()
        except Exception:
            logger.exception("This worker's health cannot be checked.")
            return
        if found is not None:
            self._seen = now
        elif now - self._seen < _ENDED_AFTER:
            found = self.trouble  # a batch that is tried after a pause proves nothing
        self.trouble = found
        try:
            self._record(found, now)
        except (*AWAY, OSError):
            pass  # what was not recorded is with the next look
        self._listener.notify(TroubleSeen(found))

    def _record(self, found: Trouble | None, now: float) -> None:
        if now - self._beaten >= _BEATEN_EVERY:
            self._beat()
            self._beaten = now
        is_new = (found is None) != (self._recorded is None)
        if found is not None and (is_new or now - self._reported >= _RENEWED_EVERY):
            self._report(found)
            self._reported, self._recorded = now, found
        elif is_new:
            self._clear()
            self._recorded = None


def _trouble(backoff: DiskBackoff) -> Trouble | None:
    reason = wiring.output_trouble() or backoff.reason
    if reason is not None:
        return Trouble(reason)
    waiting = backoff.waiting
    return None if waiting is None else Trouble(waiting, takes_work=True)


def _check_output(**_: Any) -> None:
    try:
        wiring.check_output()
    except FolderError as error:
        sys.stderr.write(f"TRAWL_OUTPUT: {error}\n")
        sys.exit(2)  # not an exception, which Celery would log and forget
