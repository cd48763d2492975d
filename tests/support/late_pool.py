"""Run Celery with pool processes that start only after their parent has gone.

``python tests/support/late_pool.py celery -A worker worker``: a main process that is killed while it starts.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from pathlib import Path
from typing import Any

from celery import platforms

_platforms: Any = platforms  # half typed

WAITING = "Waiting for the parent's end."

_set_pdeathsig = _platforms.set_pdeathsig


def set_pdeathsig(name: str) -> None:
    parent = os.getppid()
    print(WAITING, flush=True)
    while os.getppid() == parent:
        time.sleep(0.01)
    _set_pdeathsig(name)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    _platforms.set_pdeathsig = set_pdeathsig
    module, sys.argv = sys.argv[1], sys.argv[1:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
