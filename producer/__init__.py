"""Turns lists of URLs into jobs and follows them.

Scripts use ``connect`` (see examples/): ``with producer.connect() as client: client.enqueue(urls).outcomes()``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producer.api.futures import Submitter, UrlError, UrlFuture
    from producer.api.jobs import Client, SentJob, connect

__all__ = ["Client", "SentJob", "Submitter", "UrlError", "UrlFuture", "connect"]


def __getattr__(name: str) -> Any:
    # Celery takes a fifth of a second to import; `trawl --help` has no need of it.
    if name in ("Client", "SentJob", "connect"):
        from producer.api import jobs

        return getattr(jobs, name)
    if name in ("Submitter", "UrlError", "UrlFuture"):
        from producer.api import futures

        return getattr(futures, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
