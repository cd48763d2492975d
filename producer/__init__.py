"""Turns lists of URLs into jobs and follows them; scripts import ``trawlnet``, which has these names too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producer.api.futures import Submitter, UrlError, UrlFuture
    from producer.api.jobs import Client, Job, connect

__all__ = ["Client", "Job", "Submitter", "UrlError", "UrlFuture", "connect"]


def __getattr__(name: str) -> Any:
    # Celery takes a fifth of a second to import; `trawl --help` has no need of it.
    if name in ("Client", "Job", "connect"):
        from producer.api import jobs

        return getattr(jobs, name)
    if name in ("Submitter", "UrlError", "UrlFuture"):
        from producer.api import futures

        return getattr(futures, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
