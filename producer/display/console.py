"""What a person sees while a job runs: a live display on a terminal, a line now and then elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from producer.formatting import count, duration, one_line, size
from producer.job.live_progress import Progress

_LINE_EVERY = 5.0  # seconds
_RATE_OVER = 10.0  # seconds a shown rate looks back


class Console:
    """Writes to standard error. ``show`` may be called often; it draws when it is time to."""

    def __init__(
        self, *, stream: TextIO | None = None, is_quiet: bool = False, clock: Callable[[], float] = time.monotonic
    ):
        self._stream = stream or sys.stderr
        self._is_quiet = is_quiet
        self._clock = clock
        self._live: Any = None
        self._started = clock()
        self._shown = clock()
        self._history: list[tuple[float, int, int]] = []
        self._exemplified: set[str] = set()  # error classes of which one was shown
        self.state = ""

    @property
    def is_terminal(self) -> bool:
        return self._stream.isatty()

    def tell(self, line: str) -> None:
        """Print one line; warnings and errors are told even when quiet."""
        if self._live is not None:
            self._live.console.print(line, highlight=False, markup=False, soft_wrap=True)
        else:
            print(line, file=self._stream, flush=True)

    def mention(self, line: str) -> None:
        """Print one line that a quiet run leaves out."""
        if not self._is_quiet:
            self.tell(line)

    def show(self, progress: Progress, totals: Mapping[str, int], *, is_complete: bool) -> None:
        """Show how far the job is; ``is_complete`` says that the whole list has been read."""
        if self._is_quiet:
            return
        for error, example in progress.examples.items():
            if error not in self._exemplified:
                self._exemplified.add(error)
                self.tell(f"{error}, for example {one_line(example)}")
        now = self._clock()
        if not self._history:
            self._history.append((now, progress.rows, progress.fetched))
        if self.is_terminal:
            if now - self._shown >= 0.1 or self._live is None:
                self._shown = now
                self._draw(now, progress, totals, is_complete)
        elif now - self._shown >= _LINE_EVERY:
            self._shown = now
            self.tell(self._line(now, progress, totals, is_complete))

    def close(self) -> None:
        """Take the live display away."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    # ------------------------------------------------------------------ how

    def _rates(self, now: float, progress: Progress) -> tuple[float, float]:
        self._history.append((now, progress.rows, progress.fetched))
        while len(self._history) > 2 and now - self._history[1][0] > _RATE_OVER:
            del self._history[0]
        then, rows, fetched = self._history[0]
        since = max(now - then, 1e-9)
        # What a worker had that died is no longer counted.
        return max(0, progress.rows - rows) / since, max(0, progress.fetched - fetched) / since

    def _line(self, now: float, progress: Progress, totals: Mapping[str, int], is_complete: bool) -> str:
        urls, rate = self._rates(now, progress)
        known = totals["urls"] + totals["refused"]
        of = f"of {count(known)}" if is_complete else f"of {count(known)} read so far"
        endings = ", ".join(f"{ending} {count(number)}" for ending, number in progress.counts.items() if number)
        parts = [f"{count(progress.rows)} {of}", endings, f"{count(urls)} URLs/s", _volume(progress, rate), self.state]
        return f"[{duration(now - self._started)}] " + " | ".join(part for part in parts if part)

    def _draw(self, now: float, progress: Progress, totals: Mapping[str, int], is_complete: bool) -> None:
        from rich.live import Live
        from rich.table import Table

        if self._live is None:
            from rich.console import Console as Terminal

            self._live = Live(console=Terminal(file=self._stream), auto_refresh=False, transient=True)
            self._live.start()
        known = totals["urls"] + totals["refused"]
        urls, rate = self._rates(now, progress)
        table = Table.grid(padding=(0, 1))
        table.add_row(*self._bar(now, progress, known, urls, is_complete))
        display = Table.grid()
        display.add_row(table)
        display.add_row(self._counts(progress, urls, rate))
        self._live.update(display, refresh=True)

    def _bar(self, now: float, progress: Progress, known: int, urls: float, is_complete: bool) -> list[Any]:
        from rich.progress_bar import ProgressBar

        bar = ProgressBar(total=max(known, 1), completed=progress.rows, width=36, pulse=known == 0)
        share = f"{progress.rows / known:4.0%}" if known and is_complete else ""
        left = ""
        if is_complete and urls > 0 and progress.rows < known:
            left = f"about {duration((known - progress.rows) / urls)} left"
        return [
            bar,
            f"{count(progress.rows)} of {count(known)}{'' if is_complete else '+'}",
            share,
            duration(now - self._started),
            left,
        ]

    def _counts(self, progress: Progress, urls: float, rate: float) -> Any:
        from rich.text import Text

        text = Text()
        for ending, style in (("ok", "green"), ("kept", "cyan"), ("failed", "red"), ("refused", "yellow")):
            number = progress.counts.get(ending, 0)
            text.append(f"{ending} {count(number)}   ", style if number else "dim")
        text.append(f"{count(urls)} URLs/s   {_volume(progress, rate)}", "bold" if urls or rate else "dim")
        if self.state:
            text.append(f"   {self.state}", "dim")
        return text


def _volume(progress: Progress, rate: float) -> str:
    return f"{size(progress.fetched)} at {size(rate)}/s"
