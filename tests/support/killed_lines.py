"""Commands killed between any two lines of code: what they left on disk is copied, and the next one goes on there."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any


class KilledError(BaseException):
    """What an interrupted run of the test ends with; what it left on disk was copied before."""


class Killer:
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
            raise KilledError
        return self._on_line


def stop_killing() -> None:
    sys.settrace(None)
