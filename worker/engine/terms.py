"""The terms of a run: what it gives its transfers, and all they know of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from contract.records.credentials import Credentials
from contract.records.policy import JobPolicy
from worker.engine.digests import Hasher
from worker.engine.http.retry import RetryPolicy
from worker.engine.ports import Store


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Terms:
    """One object per run, compared by identity.

    ``queued`` is when the batch was enqueued (Unix seconds), ``began`` when the run did (the clock's seconds);
    ``start_hash`` is None if the job wants no digest.
    """

    policy: JobPolicy
    retry: RetryPolicy
    credentials: Credentials
    queued: float
    began: float
    worker: str
    store: Store
    start_hash: Callable[[], Hasher] | None
