"""Checks which of Celery's pools can run batches, and how they must be started."""

from __future__ import annotations

import select
import sys
from typing import Any

from contract.errors import SettingError

# celery 5.7 concurrency/thread.py and solo.py have no grow(); the autoscaler calls it, and that crashes the worker.
_FIXED = ("thread", "threads", "solo")


_EVENTLET = (
    "The pool eventlet cannot run Trawlnet, because it removes select.poll: use prefork (the default), threads, solo"
    " or gevent."
)


def patch_trouble() -> str | None:
    """Return a sentence saying why Trawlnet cannot run in this process; None: it can."""
    return None if hasattr(select, "poll") else _EVENTLET


def pool_trouble(pool: str, *, is_autoscaled: bool) -> str | None:
    """Return a sentence saying why a worker with this pool cannot run batches; None: it can.

    ``pool`` is its name on the command line, or of its module in ``celery.concurrency``.
    """
    if pool == "eventlet":
        return _EVENTLET
    if pool == "gevent" and not _is_patched_by_gevent():
        return "Write the pool as `-P gevent`: from `-Pgevent` Celery loads gevent too late, and batches would hang."
    if pool in _FIXED and is_autoscaled:
        return "The pools threads and solo do not grow: leave --autoscale out, or use prefork (the default)."
    return None


def check_pool(worker: Any) -> None:
    """Refuse a Celery worker whose pool cannot run batches.

    Raises:
        SettingError: the reason.
    """
    pool = worker.pool_cls  # a class from Celery's command line, else a name
    name = pool if isinstance(pool, str) else pool.__module__.rpartition(".")[2]
    if trouble := patch_trouble() or pool_trouble(name, is_autoscaled=bool(worker.options.get("autoscale"))):
        raise SettingError(trouble)


def processes_of(worker: Any) -> int:
    """Return how many processes run the tasks of a Celery worker."""
    pool = worker.pool_cls if isinstance(worker.pool_cls, str) else worker.pool_cls.__module__
    return worker.concurrency if pool.endswith(("prefork", "processes")) else 1


def _is_patched_by_gevent() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))
