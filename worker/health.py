"""What keeps this worker from working is seen: in Redis, in Flower, by its metrics and by its heartbeat."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from contract.cluster.broker import UNREACHABLE
from contract.ledger.health import BELIEVED_FOR, Trouble
from worker.batch.disk_backoff import DiskBackoff
from worker.downloader import output_trouble
from worker.events import Listener, TroubleSeen
from worker.log_context import logger_of
from worker.settings import WorkerSettings

logger = logger_of(__name__)

BEAT = 2.0  # seconds between two touches of the heartbeat file
_LOOK_PAUSE = 2.0  # seconds between two looks
_RENEWED_EVERY = BELIEVED_FOR / 3  # seconds
_BEATEN_EVERY = 0.4 * BELIEVED_FOR  # likewise, of the word that this worker is there
_ENDED_AFTER = 2 * _LOOK_PAUSE  # seconds without trouble after which it is over


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
        except (*UNREACHABLE, OSError):
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


class Heartbeat:
    """A file that shows this worker to work: it is touched; while no work is taken it is old, and says why.

    That the main process's loop turns, `celery inspect ping` would say for two CPU seconds a time.
    """

    def __init__(self, path: Path, watch: HealthWatch) -> None:
        self._path = path
        self._watch = watch

    def begin(self) -> None:
        """Beat for the first time; that the file cannot be touched is an error now."""
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
    """Return what a worker suffers from now."""
    reason = output_trouble(settings) or backoff.reason
    if reason is not None:
        return Trouble(reason)
    waiting = backoff.waiting
    return None if waiting is None else Trouble(waiting, takes_work=True)
