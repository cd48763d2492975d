"""Shows what keeps this worker from working: in Redis, Flower, metrics and the heartbeat file."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from contract.cluster.broker import UNREACHABLE
from contract.ledger.health import BELIEVED_FOR, Trouble
from contract.ledger.reasons import Reason
from worker.adapters.disk import label_of
from worker.batch.disk_backoff import DiskBackoff
from worker.downloader import output_trouble
from worker.events import Listener, TroubleSeen
from worker.log_context import logger_of
from worker.settings import WorkerSettings

logger = logger_of(__name__)

BEAT = 2.0  # seconds between two touches of the heartbeat file
_CHECK_INTERVAL = 2.0  # seconds
_RENEWED_EVERY = BELIEVED_FOR / 3  # seconds, of the trouble record
_BEATEN_EVERY = 0.4 * BELIEVED_FOR  # seconds, of the record that this worker is alive
_ENDED_AFTER = 2 * _CHECK_INTERVAL  # seconds without trouble until it counts as over


class HealthWatch:
    """Checks periodically whether this worker can work, and keeps its records in Redis up to date."""

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
        """``report`` and ``clear`` write and delete the trouble record; ``beat`` records that this worker is alive."""
        self.trouble: Trouble | None = None
        self._look = look
        self._report = report
        self._clear = clear
        self._beat = beat
        self._listener = listener
        self._clock = clock
        # When trouble was last seen, last reported, and when this worker last beat.
        self._seen = self._reported = self._beaten = float("-inf")
        self._recorded: Trouble | None = None

    def run(self) -> None:
        """Check until the process ends."""
        while True:
            self.step()
            time.sleep(_CHECK_INTERVAL)

    def step(self) -> None:
        """Check once. Never raises: what could not be recorded is recorded by the next check."""
        try:
            found, now = self._look(), self._clock()
        except Exception:
            logger.exception("The worker's health check failed.")
            return
        if found is not None:
            self._seen = now
        elif now - self._seen < _ENDED_AFTER:
            found = self.trouble  # trouble may pause for a moment while a batch tries the disk again
        self.trouble = found
        try:
            self._record(found, now)
        except (*UNREACHABLE, OSError):
            pass  # the next check records it
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


class Heartbeat:
    """A file touched while this worker takes work; otherwise it is dated 1970 and holds the reason.

    It also shows that the main process's event loop runs. `celery inspect ping` would cost two CPU seconds per check.
    """

    def __init__(self, path: Path, watch: HealthWatch) -> None:
        self._path = path
        self._watch = watch

    def begin(self) -> None:
        """Touch the file for the first time; a failure is logged as an error."""
        self._beat(logging.ERROR)

    def beat(self) -> None:
        self._beat(logging.DEBUG)

    def _beat(self, level: int) -> None:
        try:
            self._show(self._watch.trouble)
        except OSError as error:
            logger.log(level, "The heartbeat file %s cannot be touched: %s.", self._path, error.strerror)

    def _show(self, trouble: Trouble | None) -> None:
        if trouble is None or trouble.takes_work:
            self._path.touch(mode=0o600)
            if self._path.stat().st_size:
                os.truncate(self._path, 0)
            return
        self._path.write_text(f"{trouble.reason}\n", "utf-8")
        os.utime(self._path, (0, 0))


def trouble_of(settings: WorkerSettings, backoff: DiskBackoff) -> Trouble | None:
    """Return the worker's current trouble; None: there is none."""
    reason = output_trouble(settings) or backoff.reason
    if reason is not None:
        return Trouble(reason, label=label_of(reason))
    waiting = backoff.waiting
    return None if waiting is None else Trouble(waiting, takes_work=True, label=Reason.SPACE)
