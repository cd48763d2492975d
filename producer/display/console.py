"""The display while a job runs: a live screen on a terminal, occasional lines elsewhere, or nothing.

Programs get one event per line. Text from URLs, hosts, headers and workers passes through ``one_line``, here or where
a screen is built, so that it cannot control the terminal.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from producer.display.screen import Line, screen
from producer.formatting import broken, count, duration, one_line, size
from producer.job.status import JobStatus

_LINE_EVERY = 5.0  # seconds
_DRAWN_EVERY = 0.5
_ASKED_EVERY = 2.0  # seconds between two queries of the cluster, for a screen


class Console:
    """Writes to standard error. ``show`` may be called whenever it ``is_due``."""

    def __init__(
        self,
        *,
        stream: TextIO | None = None,
        is_quiet: bool = False,
        is_json: bool = False,
        clock: Callable[[], float] = time.monotonic,
        environment: Mapping[str, str] = os.environ,
    ):
        """``is_json``: write events for a program, unless there is a terminal."""
        self._stream = stream or sys.stderr
        self._is_quiet = is_quiet
        self._clock = clock
        # Terminals that cannot move the cursor get lines.
        self.is_live = self._stream.isatty() and environment.get("TERM", "") not in ("dumb", "unknown")
        self._is_json = is_json and not self._stream.isatty()
        self._failing_since = math.inf  # when there was the first example
        self._live: Any = None
        self._drawn: Sequence[int] = ()  # columns that each line drawn last takes
        self._shown = float("-inf") if self.is_live else clock()
        self._exemplified: set[str] = set()  # error classes whose example was printed

    @property
    def every(self) -> float | None:
        """Seconds between two queries of what a job waits for; None: it would not be shown."""
        if self._is_quiet:
            return None
        return _ASKED_EVERY if self.is_live else _LINE_EVERY

    def echo(self, line: str) -> None:
        """Print one line, even when quiet: a warning or an error."""
        shown = one_line(line)
        if self._live is not None:
            self._erase_wrapped()
            for each in self._broken(shown):
                self._live.console.print(each, highlight=False, markup=False, emoji=False, soft_wrap=True)
        elif self._is_json:
            self._write({"event": "message", "text": shown})
        else:
            print("\n".join(self._broken(shown)) if self.is_live else shown, file=self._stream, flush=True)

    def mention(self, line: str) -> None:
        """Print one line that a quiet run leaves out."""
        if not self._is_quiet:
            self.echo(line)

    def exemplify(self, examples: Mapping[str, str]) -> None:
        """Print the first URL or line of each error class, and what to do, once.

        Not for five seconds after the first of them: if the run ends before, its summary says the same.
        """
        if self._is_quiet or not examples:
            return
        self._failing_since = min(self._failing_since, self._clock())
        if self._clock() - self._failing_since < _LINE_EVERY:
            return
        for error, example in examples.items():
            if error not in self._exemplified:
                self._exemplified.add(error)
                self.echo(f"{error}, for example {example}")

    def is_due(self) -> bool:
        """Is it time to show the status?"""
        return not self._is_quiet and self._clock() - self._shown >= (_DRAWN_EVERY if self.is_live else _LINE_EVERY)

    def show(self, status: JobStatus) -> None:
        """Show the status."""
        self._shown = self._clock()
        if self._is_json:
            self._write({"event": "progress", **status.to_record()})
        elif self.is_live:
            self.draw(lambda width, height: screen(status, width, height, is_unicode=self._is_unicode))
        else:
            self.echo(line_of(status))

    def show_last(self, status: JobStatus) -> None:
        """Show the status once more, and leave it on the screen."""
        if self._is_json:
            self._write({"event": "progress", **status.to_record()})
        else:
            self.echo(line_of(status))

    def draw(self, lines: Callable[[int, int], Sequence[Line]]) -> None:
        """Replace the lines drawn before; ``lines`` is called with the terminal's columns and lines."""
        from rich.console import Group
        from rich.text import Text

        if self._live is None:
            from rich.console import Console as Terminal
            from rich.live import Live

            terminal = Terminal(file=self._stream, highlight=False, markup=False, emoji=False)
            self._live = Live(console=terminal, auto_refresh=False, transient=True, vertical_overflow="crop")
            self._live.start()
        width, height = self._live.console.size
        texts = [Text.assemble(*line, no_wrap=True, overflow="crop") for line in lines(width, height)]
        self._erase_wrapped()
        self._live.update(Group(*texts), refresh=True)
        self._drawn = [min(text.cell_len, width) for text in texts]

    def close(self) -> None:
        """Remove the live display."""
        if self._live is not None:
            self._erase_wrapped()
            self._live.stop()
            self._live = None

    def _erase_wrapped(self) -> None:
        """Erase the lines that a terminal wrapped when it became narrower: rich does not know of the second halves."""
        width = self._live.console.width
        halves = sum(max(0, columns - 1) // width for columns in self._drawn)
        if halves:
            self._stream.write("\x1b[2K" + halves * "\x1b[A\x1b[2K")
        self._drawn = ()

    @property
    def _is_unicode(self) -> bool:
        return (getattr(self._stream, "encoding", None) or "utf-8").lower().replace("-", "").startswith("utf")

    def _broken(self, line: str) -> Sequence[str]:
        """Break a line between words, before the terminal breaks it anywhere."""
        return broken(line, shutil.get_terminal_size().columns, indent=2)

    def _write(self, event: Mapping[str, Any]) -> None:
        print(json.dumps(event), file=self._stream, flush=True)


def line_of(status: JobStatus) -> str:
    """Return a job's status in one line."""
    known = "" if status.known is None else f" of {count(status.known)}{'' if status.is_complete else ' read so far'}"
    endings = ", ".join(f"{ending} {count(number)}" for ending, number in status.counts.items() if number)
    parts = [f"{count(status.done)}{known}", endings]
    if status.rate is not None and status.bytes_rate is not None:
        parts += [f"{count(status.rate)} URLs/s", f"{size(status.fetched)} at {size(status.bytes_rate)}/s"]
    if status.left is not None:
        parts.append(f"about {duration(status.left)} left")
    parts.append(status.hold_up.sentence)
    return f"[{duration(status.elapsed)}] " + " | ".join(part for part in parts if part)
