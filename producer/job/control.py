"""Pauses, resumes and cancels a job, and waits until that is in force."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable

from contract.ledger import control
from contract.ledger.values import JobRecord
from producer.cluster.client import Services

_IN_FORCE_WITHIN = 3.0  # seconds: workers ask each second, and hand back at once what they have not begun
_LOOK_PAUSE = 0.1  # seconds


class JobControl:
    """What may be done to one job, by anybody.

    Methods raise ``redis.exceptions.RedisError`` where Redis cannot be reached, and may then be repeated.
    """

    def __init__(
        self,
        job: str,
        services: Services,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.job = job
        self._services = services
        self._clock = clock
        self._sleep = sleep
        self._holder = f"control@{platform.node()}/{os.getpid()}"

    def pause(self, *, by: str = "") -> bool:
        """Have nothing more fetched until the job is resumed; False when it was paused already.

        Raises:
            UnknownJobError, JobStateError: there is no such job, or nothing of it is left to pause.
        """
        return control.pause(self._services.ledger, self.job, by=by)

    def resume(self, *, by: str = "") -> bool:
        """End a pause, and have workers take what waits; False when there is none.

        Raises:
            UnknownJobError, JobStateError: there is no such job, or it was cancelled.
        """
        is_resumed = control.resume(self._services.ledger, self.job, by=by)
        if is_resumed:
            self._services.send(control.missing_messages(self._services.ledger))
        return is_resumed

    def cancel(self) -> bool:
        """Have nothing more fetched, and end what waits; False when the job was cancelled already.

        Raises:
            UnknownJobError, JobStateError: there is no such job, or it is finished.
        """
        is_new = control.cancel(self._services.ledger, self.job)
        self.settle()
        return is_new

    def settle(self) -> int:
        """End what waits of a cancelled job; return how many URLs did."""
        ended = 0
        while some := self.settle_some():
            ended += some
        return ended

    def settle_some(self) -> int:
        """End some of it; return how many URLs did."""
        return control.settle(self._services.ledger, self.job, holder=self._holder)

    def record(self) -> JobRecord | None:
        """Return how the job stands; None: nobody knows it."""
        return self._services.ledger.job(self.job)

    def wait_until_in_force(self) -> JobRecord | None:
        """Wait until nothing of the job is fetched any more, or for as long as it takes until nothing begins.

        What is in flight then may end: batches of the record are still held. None: the job is gone.
        """
        until = self._clock() + _IN_FORCE_WITHIN
        while True:
            record = self.record()
            if record is None:
                return None
            if record.is_cancelled:
                self.settle()
            if not record.running or self._clock() >= until:
                return record
            self._sleep(_LOOK_PAUSE)
