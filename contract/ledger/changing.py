"""The ledger's changes to many batches at once: a job's state, and the steps of the sweep."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from contract.errors import JobStateError, UnknownJobError
from contract.ledger.keys import read_waiting_name, result_key
from contract.ledger.reading import Reading, pieces_of, text_of
from contract.ledger.values import EDITION, FINISHED, Changes, Claim, JobState, Swept
from contract.records import wire
from contract.records.policy import JobPolicy

MOST_ATTEMPTS = 5  # times a batch may lose its worker before it is split

_MOVED_AT_ONCE = 500  # batches
_KEPT_AT_ONCE = 1_000  # reports
_SWEPT_AT_ONCE = 200  # batches of a job


class Changing(Reading):
    """``contract/ledger/ports.py`` says what each method promises."""

    lease: float
    keep: int
    changes: Changes

    # ------------------------------------------------------------------ a job's state

    def control(self, job: str, wanted: JobState, *, by: str = "") -> tuple[str, str]:
        if self.keys_of(job) is self.earlier:
            raise JobStateError(f"Job {job} was started by an earlier version and cannot be changed; it continues.")
        was, pauser, moved = self._control(job, wanted, by)
        if moved >= _MOVED_AT_ONCE:
            self.move(job)
        is_resumed = was == JobState.PAUSED and by in ("", pauser)
        if wanted is JobState.PAUSED and was not in (FINISHED, JobState.CANCELLED):
            self._keep_reports(job, 0)
        elif (wanted is JobState.RUNNING and is_resumed) or (wanted is JobState.CANCELLED and was != FINISHED):
            self._keep_reports(job, self.keep)
        return was, pauser

    def move(self, job: str) -> None:
        while self._control(job)[2] >= _MOVED_AT_ONCE:
            pass

    def _control(self, job: str, wanted: str = "", by: str = "") -> tuple[str, str, int]:
        keys = self.keys_of(job)
        shared = [keys.sent, keys.overdue, keys.turns, keys.taken, keys.priorities, keys.active]
        arguments = [job, wanted, by, _MOVED_AT_ONCE, self.keep]
        answer = self.call("control", [*keys.parts(job, "", "batches", "line", "aside"), *shared], arguments)
        if answer is None:
            raise UnknownJobError.of(job)
        return answer[0].decode(), answer[1].decode(), int(answer[2])

    def _keep_reports(self, job: str, seconds: int) -> None:
        seen, closed = 0, self.keys_of(job).job(job, "closed")
        arguments: list[Any] = [result_key(job, ""), seen, _KEPT_AT_ONCE, seconds]
        while (more := self.call("keep_reports", [closed], arguments)) == _KEPT_AT_ONCE:
            seen += more
            arguments[1] = seen

    def withdraw(self, job: str, *, holder: str, most: int) -> list[Claim]:
        keys = self.keys_of(job)
        parts = keys.parts(job, "", "batches", "payloads", "leases", "due", "aside", "parcels", "parked", "waits")
        answer = self.call("withdraw", parts, [f"{holder}/{secrets.token_hex(8)}-", self.lease, most])
        if answer is None:
            return []
        policy = JobPolicy.from_wire(wire.from_json(answer[0]))
        return [
            Claim(
                job,
                batch.decode(),
                token.decode(),
                payload,
                policy,
                float(queued),
                attempt,
                urls,
                edition=self.edition_of(keys),
                pieces=pieces_of(pieces),
            )
            for batch, token, queued, attempt, urls, payload, pieces in zip(
                *(answer[1][at::7] for at in range(7)), strict=True
            )
        ]

    def prioritize(self, job: str, priority: int) -> bool:
        keys = self.keys_of(job)
        shared = [keys.turns, keys.taken, keys.priorities]
        return bool(self.call("prioritize", [keys.job(job), *shared], [job, priority, self.keep]))

    def weigh(self, job: str, weight: float) -> bool:
        return bool(self.call("weigh", [self.keys_of(job).job(job)], [repr(weight)]))

    def states(self, jobs: Sequence[str]) -> dict[str, JobState]:
        states: dict[str, JobState] = {}
        for keys in (self.earlier, self.keys):
            some = [job for job in jobs if self.keys_of(job) is keys]
            if some or keys is self.keys:
                changes, *found = self.call("states", [self.keys.taken], [keys.of_jobs, *some])
                self.changes.hear(changes)
                named = zip(some, found, strict=True)
                states |= {job: JobState((state or b"running").decode()) for job, state in named}
        return states

    # ------------------------------------------------------------------ the sweep

    def sweep(
        self, *, pause: float, longest: float, silence: float, lost_after: float, edition: int = EDITION
    ) -> Swept:
        keys = self.keys_at(edition)
        others = self.others(keys)
        shared = [keys.active, keys.sweeping, keys.watched, keys.sent, keys.overdue, keys.ahead, keys.turns]
        pauses = [max(1, int(seconds * 1000)) for seconds in (pause, longest, silence)]
        limits = [MOST_ATTEMPTS, _SWEPT_AT_ONCE, self.keep, lost_after]
        touched = [*shared, keys.priorities, others.active, others.sent]
        milliseconds, *found = self.call("sweep", touched, [keys.of_jobs, *pauses, *limits])
        rest = max(0, milliseconds) / 1000
        if not found:
            return Swept(rest)
        back, worn, waiting, have_waited, has_others, unsettled, ready = found
        again, killing = ([read_waiting_name(name) for name in names] for names in (back, worn))
        jobs = [text_of(job) for job in unsettled], [text_of(job) for job in ready]
        return Swept(rest, True, again, killing, waiting, have_waited, *jobs, bool(has_others))
