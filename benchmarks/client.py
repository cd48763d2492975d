"""What it takes to be in the race: a command line, a way to read its result, and perhaps services beside it."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.corpora import MB, Row, Unit
from benchmarks.meter import Cost, Process, cpu_seconds, look, tree_below
from benchmarks.server import Server

REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One client's turn at one row."""

    row: Row
    server: Server
    urls: list[str]
    folder: Path  # lists, configurations and logs of this turn
    output: Path  # where the bodies go
    in_flight: int
    log: Path  # the client's standard output

    def write(self, name: str, text: str) -> str:
        path = self.folder / name
        path.write_text(text, "utf-8")
        return str(path)

    @property
    def work(self) -> float:
        """URLs, or megabytes, this row moves."""
        return self.row.files if self.row.unit is Unit.URLS else self.row.files * self.row.size / MB


@dataclass(frozen=True, slots=True)
class Command:
    """What to start, and what to add to the environment."""

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Beside:
    """Services that run beside a client and count as part of it: the variables that lead to them, and their pids."""

    env: Mapping[str, str] = field(default_factory=dict)
    roots: tuple[int, ...] = ()

    def cpu(self) -> float:
        """Return the CPU seconds they have used so far."""
        return cpu_seconds(self._all())

    def processes(self) -> list[Process]:
        return [process for pid in self._all() if (process := look(pid)) is not None]

    def _all(self) -> list[int]:
        return [pid for root in self.roots for pid in (root, *tree_below(root))]


@contextlib.contextmanager
def nothing_beside(run: Run) -> Iterator[Beside]:
    """Most clients need no services."""
    yield Beside()


@dataclass(frozen=True, slots=True)
class Reading:
    """What a turn showed: the rate in the row's unit, CPU seconds, and what else is worth keeping."""

    rate: float
    cpu: float
    details: dict[str, float] = field(default_factory=dict)


def _whole_run(run: Run, cost: Cost) -> Reading:
    return Reading(run.work / cost.wall, cost.cpu)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A downloader, or a tool that shows a physical limit."""

    name: str
    command: Callable[[Run], Command]
    version: list[str]  # the command that prints it
    read: Callable[[Run, Cost], Reading] = _whole_run
    beside: Callable[[Run], AbstractContextManager[Beside]] = nothing_beside  # what runs before, during and after it
    skips: Callable[[Row], str | None] = lambda row: None  # why it cannot run a row
    in_flight: Mapping[str, int] = field(default_factory=dict)  # by row, where the row's own number is not its best
    slow_on: frozenset[str] = frozenset()  # rows where it takes its turn in the first round only
    is_limit: bool = False

    def open_at_once(self, row: Row) -> int:
        return self.in_flight.get(row.key, row.in_flight)


def version_of(client: Client) -> str | None:
    """Return the first line a client says of itself; None when it is not installed."""
    try:
        done = subprocess.run(client.version, cwd=REPOSITORY, capture_output=True, check=False, timeout=30)
    except OSError:
        return None
    told = (done.stdout or done.stderr).decode("utf-8", "replace").strip()
    return told.splitlines()[0] if told else None
