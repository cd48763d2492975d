"""Take out one guard after the other and expect a test to fail."""

from __future__ import annotations

import importlib
import pkgutil
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


def main(words: list[str]) -> int:
    chosen = [guard for guard in guards() if not words or any(word in str(guard) for word in words)]
    survived = 0
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        copy_project(project)
        for guard in chosen:
            started = time.monotonic()
            missed = is_missed(guard, project)
            survived += not missed
            print(f"{'ok  ' if missed else 'BAD '} {time.monotonic() - started:5.1f} s  {guard}", flush=True)
    print(f"{len(chosen)} guards taken out, {len(chosen) - survived} missed by a test, {survived} by none")
    return 1 if survived or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
