"""A guard: a piece of code that must not be missing, and the tests that must notice."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.processes import descendants, send

ROOT = Path(__file__).resolve().parents[2]
_COPIED = ("contract", "producer", "trawlnet", "worker", "tests", "benchmarks", "pyproject.toml")
_TESTS_FAILED = 1  # pytest's exit code; 2 to 5 mean that it could not run them


@dataclass(frozen=True, slots=True)
class Guard:
    """``text`` occurs once in ``file`` and is replaced by ``instead``; ``tests`` are arguments for pytest."""

    file: str
    text: str
    tests: tuple[str, ...]
    instead: str = ""

    def __str__(self) -> str:
        return f"{self.file}: {' '.join(self.text.split())[:90]}"


def tested_in(module: str) -> Callable[..., Guard]:
    """Return a shorter way to write guards that one test of this module of tests/ notices."""

    def guard(file: str, text: str, test: str, instead: str = "pass") -> Guard:
        return Guard(file, text, (f"tests/{module}::{test}",), instead)

    return guard


def copy_project(to: Path) -> None:
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        elif source.exists():
            shutil.copy(source, to / name)


def is_missed(guard: Guard, project: Path) -> bool:
    """Remove the guard from a copy of the project, and return whether a test fails.

    Raises:
        ValueError: the guard's text is not there exactly once, or its tests did not run.
    """
    path = project / guard.file
    before = path.read_text("utf-8")
    if before.count(guard.text) != 1:
        raise ValueError(f"{guard}: the text occurs {before.count(guard.text)} times; correct tests/mutants.")
    path.write_text(before.replace(guard.text, guard.instead), "utf-8")
    options = ("-q", "-x", "-n0", "-p", "no:cacheprovider", "--hypothesis-profile=unshrunk")
    command = [sys.executable, "-B", "-m", "pytest", *options, *guard.tests]
    run = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        said, _ = run.communicate(timeout=300.0)
    except subprocess.TimeoutExpired:
        _end_with_all_it_started(run)
        return True  # without the guard something hangs, and pytest-timeout was not even needed
    finally:
        path.write_text(before, "utf-8")
    if run.returncode not in (0, _TESTS_FAILED):
        raise ValueError(f"{guard}: its tests could not run:\n{said.decode(errors='replace')[-2000:]}")
    return run.returncode == _TESTS_FAILED


def _end_with_all_it_started(run: subprocess.Popen[bytes]) -> None:
    """What a killed test leaves behind would be adopted by init, and run for ever."""
    started = descendants(run.pid)
    run.kill()
    run.communicate()
    for pid in started:
        send(pid, signal.SIGKILL)
