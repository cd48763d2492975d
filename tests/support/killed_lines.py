"""Commands killed between any two lines of code: what they left on disk is copied, and the next one resumes there."""

from __future__ import annotations

import itertools
import random
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from producer.storage.journal import Journal


class _KilledError(BaseException):
    """What an interrupted run of the test ends with; what it left on disk was copied before."""


class _Killer:
    """Copies the folder as it is before the n-th line of code is run, and ends the command there."""

    def __init__(self, storage: Sequence[ModuleType], folder: Path, left: Path, lines: int) -> None:
        """``left`` becomes the copy of ``folder`` before the n-th line of these modules."""
        self._files = {module.__file__ for module in storage}
        self._folder, self._left, self._lines = folder, left, lines

    def start(self) -> None:
        sys.settrace(self._called)

    def _called(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        return self._on_line if frame.f_code.co_filename in self._files else None

    def _on_line(self, _frame: FrameType, event: str, _argument: Any) -> Any:
        self._lines -= event == "line"
        if self._lines < 0:
            sys.settrace(None)
            shutil.copytree(self._folder, self._left)
            raise _KilledError
        return self._on_line


def kill_until_done(
    parent: Path,
    storage: Sequence[ModuleType],
    chance: random.Random,
    mean: float,
    opened: Callable[[Path], Journal],
    work: Callable[[Journal], None],
) -> tuple[Path, int]:
    """Have a command, which begins in ``parent/0``, killed after about ``mean`` lines until it ends.

    It works with the journal that is ``opened`` in its folder. The 60th command is spared. Returns the folder it ended
    in and how many commands there were.
    """
    folder = parent / "0"
    for life in itertools.count(1):
        left = parent / str(life)
        journal = None
        try:
            if life < 60:
                _Killer(storage, folder, left, int(chance.expovariate(1 / mean))).start()
            journal = opened(folder)
            work(journal)
            return folder, life
        except _KilledError:
            folder = left
        finally:
            sys.settrace(None)
            if journal is not None:
                journal.close()
    raise AssertionError("unreachable")
