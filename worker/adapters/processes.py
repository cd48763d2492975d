"""The resources a worker's processes use, under the names that Prometheus clients use for one process.

Read from Linux's /proc (proc_pid_stat(5)); other systems only get the build info.
"""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import celery

from contract import __version__
from contract import metrics as known

if TYPE_CHECKING:
    from prometheus_client import Metric

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class _Seen:
    """One process: CPU time of its own and of its ended children, start time and memory."""

    ticks: int
    ticks_of_ended: int
    started: int  # ticks after boot
    pages: int


class Processes:
    """Collects the sums over the main process and its children."""

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        build = GaugeMetricFamily(known.BUILD_INFO.name, known.BUILD_INFO.help, labels=known.BUILD_INFO.labels)
        build.add_metric([__version__, platform.python_version(), celery.__version__], 1)
        yield build
        main = _look(os.getpid())
        if main is not None:
            yield from _families(main)


def _families(main: _Seen) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    children = {pid: found for pid in _children() if (found := _look(pid)) is not None}
    seen = [main, *children.values()]
    tick = os.sysconf("SC_CLK_TCK")
    processor = (sum(each.ticks for each in seen) + main.ticks_of_ended) / tick
    yield CounterMetricFamily(known.CPU_SECONDS.name.removesuffix("_total"), known.CPU_SECONDS.help, processor)
    for metric, value in (
        (known.MEMORY, sum(each.pages for each in seen) * os.sysconf("SC_PAGE_SIZE")),
        (known.OPEN_FILES, sum(map(_open_files, [os.getpid(), *children]))),
        (known.MOST_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        (known.STARTED, _booted() + main.started / tick),
        (known.PROCESSES, len(seen)),
    ):
        yield GaugeMetricFamily(metric.name, metric.help, value)


def _children() -> Iterator[int]:
    with suppress(OSError):
        for task in os.listdir("/proc/self/task"):
            yield from map(int, (_PROC / "self/task" / task / "children").read_text("ascii").split())


def _look(pid: int) -> _Seen | None:
    try:
        # The name before it may hold blanks and parentheses.
        fields = (_PROC / str(pid) / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except OSError:  # it has ended, or this is not Linux
        return None
    user, system, ended_user, ended_system = map(int, fields[11:15])
    return _Seen(user + system, ended_user + ended_system, int(fields[19]), int(fields[21]))


def _open_files(pid: int) -> int:
    try:
        return len(os.listdir(_PROC / str(pid) / "fd"))
    except OSError:
        return 0


def _booted() -> int:
    lines = (_PROC / "stat").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("btime "))
