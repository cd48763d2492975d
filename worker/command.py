"""`trawl worker` and `trawl flower`: Celery's own command line for our app, whatever the current folder contains.

``python -P -m worker.command worker [OPTIONS]`` is ``celery -A worker worker [OPTIONS]``.
"""

from __future__ import annotations

import sys

from celery import maybe_patch_concurrency


def main() -> None:
    sys.argv = ["celery", "-A", "worker", *sys.argv[1:]]
    maybe_patch_concurrency()  # as celery.__main__ does: gevent must patch before anything else is imported
    # Celery looks for an app in the current folder first, which may have a worker.py or a redis.py of its own.
    from celery.bin.celery import main as celery

    import worker.celery  # noqa: F401

    sys.exit(celery())


if __name__ == "__main__":
    main()
