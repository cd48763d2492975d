"""Remove one guard after the other and expect a test to fail.

Words choose guards by their file or line; ``2/4`` takes the second quarter, so that four can run beside one another;
``--seconds=300`` begins with no further guard after that time.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
import re
import sys
import tempfile
import time
from pathlib import Path

import tests.mutants
from tests.mutants.guard import Guard, copy_project, is_missed


def guards() -> list[Guard]:
    """Return the guards of every module of this package."""
    modules = [module.name for module in pkgutil.iter_modules(tests.mutants.__path__) if module.name != "__main__"]
    return [
        guard for name in modules for guard in getattr(importlib.import_module(f"tests.mutants.{name}"), "GUARDS", ())
    ]


def chosen_by(words: list[str]) -> list[Guard]:
    """Return the guards whose file or line holds one of the words, or the part of them a word like ``2/4`` names."""
    parts = [match for word in words if (match := re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", word))]
    plain = [word for word in words if word not in {part[0] for part in parts}]
    chosen = [guard for guard in guards() if not plain or any(word in str(guard) for word in plain)]
    for part in parts:
        # Every n-th, because the slow ones stand together.
        chosen = chosen[int(part[1]) - 1 :: int(part[2])]
    return chosen


def main(words: list[str]) -> int:
    limits = [float(word.partition("=")[2]) for word in words if word.startswith("--seconds=")]
    chosen = chosen_by([word for word in words if not word.startswith("--seconds=")])
    ends = time.monotonic() + min(limits, default=math.inf)
    survived = stale = late = 0
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        copy_project(project)
        for guard in chosen:
            started = time.monotonic()
            if started > ends:
                late += 1
                continue
            try:
                missed = is_missed(guard, project)
            except ValueError as error:  # the code has changed: report it, and continue with the others
                stale += 1
                print(f"BAD  {error}", flush=True)
                continue
            survived += not missed
            print(f"{'ok  ' if missed else 'BAD '} {time.monotonic() - started:5.1f} s  {guard}", flush=True)
    taken = len(chosen) - stale - late
    print(
        f"{taken} guards removed: a test failed for {taken - survived}, none for {survived}; {stale + late} not tried"
    )
    return 1 if survived or stale or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
