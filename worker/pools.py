"""Which of Celery's pools can run batches, and how they have to be started."""

from __future__ import annotations

import select
import sys
from typing import Any

from contract.errors import SettingError

# celery 5.7 concurrency/thread.py and solo.py have no grow(), and the autoscaler that calls it ends the worker.
_FIXED = ("thread", "threads", "solo")


_EVENTLET = (
    "The pool eventlet cannot run Trawlnet, since it takes select.poll away: use prefork (the default), threads, solo"
    " or gevent."
)


def patch_trouble() -> str | None:
    """Return why nothing of ours could run in this process, in a sentence; None: it can."""
    return None if hasattr(select, "poll") else _EVENTLET


def pool_trouble(pool: str, *, is_autoscaled: bool) -> str | None:
    """Return why a worker with this pool could not run batches, in a sentence; None: it can.

    ``pool`` is its name on the command line, or that of its module in ``celery.concurrency``.
    """
    if pool == "eventlet":
        return _EVENTLET
    if pool == "gevent" and not _is_patched_by_gevent():
        return "Write the pool as `-P gevent`: from `-Pgevent` Celery loads gevent too late, and batches would hang."
    if pool in _FIXED and is_autoscaled:
        return "The pools threads and solo do not grow: leave --autoscale out, or use prefork (the default)."
    return None


def check_pool(worker: Any) -> None:
    """Refuse a Celery worker whose pool could not run batches.

    Raises:
        SettingError: why not.
    """
    pool = worker.pool_cls  # a class from Celery's command line, a name from others
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
