"""Pauses, resumes and cancels a job, and waits until workers comply."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

from contract.ledger import control
from contract.ledger.values import JobRecord
from producer.cluster.client import Services
from producer.formatting import command, path

_OBEYED_WITHIN = 3.0  # seconds: workers ask each second, and hand off at once what they have not started
_LOOK_PAUSE = 0.1  # seconds


def resume_command(job: str, output: Path | None = None) -> str:
    """Return the command that ends a pause; ``output`` is the folder of a run whose server ends with it."""
    return command(f"resume {job}" if output is None else f"resume -o {path(output)}")


class JobControl:
    """Changes one job, from any machine.

    Methods raise ``redis.exceptions.RedisError`` if Redis is unreachable, and may then be repeated.
    """

    def __init__(self, job: str, services: Services) -> None:
        self.job = job
        self._services = services
        self._holder = f"control@{platform.node()}/{os.getpid()}"

    def pause(self, *, by: str = "") -> bool:
        """Stop fetching until the job is resumed; False if it was paused already.

        Raises:
            UnknownJobError, JobStateError: there is no such job, or nothing is left to pause.
        """
        return control.pause(self._services.ledger, self.job, by=by)

    def resume(self, *, by: str = "") -> bool:
        """End a pause, and notify workers of the waiting batches; False if the job is not paused.

        Raises:
            UnknownJobError, JobStateError: there is no such job, or it was cancelled.
        """
        is_resumed = control.resume(self._services.ledger, self.job, by=by)
        if is_resumed:
            self._services.send(control.missing_messages(self._services.ledger))
        return is_resumed

    def cancel(self) -> bool:
        """Stop fetching for good, and end what waits; False if the job was cancelled already.

        Raises:
            UnknownJobError, JobStateError: there is no such job, or it is finished.
        """
        is_new = control.cancel(self._services.ledger, self.job)
        self.settle()
        return is_new

    def settle(self) -> int:
        """End all waiting URLs of a cancelled job; return their number."""
        ended = 0
        while some := self.settle_some():
            ended += some
        return ended

    def settle_some(self) -> int:
        """End some of them; return their number."""
        return control.settle(self._services.ledger, self.job, holder=self._holder)

    def record(self) -> JobRecord | None:
        """Return the job's record; None if the job is unknown."""
        return self._services.ledger.job(self.job)

    def wait_until_obeyed(self) -> JobRecord | None:
        """Wait until no worker holds a batch of the job, or until no worker can start another request of it.

        In the latter case transfers may be in flight: batches in the record are still held. None: the job is gone.
        """
        until = time.monotonic() + _OBEYED_WITHIN
        while True:
            record = self.record()
            if record is None:
                return None
            if record.is_cancelled:
                self.settle()
            if not record.running or time.monotonic() >= until:
                return record
            time.sleep(_LOOK_PAUSE)
