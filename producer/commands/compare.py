"""``trawl compare``: the same list one after another, on threads, and on processes and threads through Celery."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from contract.errors import InputError
from contract.records.policy import JobPolicy
from producer.commands.demo import LOOPBACK, demo_server
from producer.commands.preparation import RunOptions, WorkerOptions
from producer.commands.run import run
from producer.display.console import Console
from producer.display.summary import Summary
from producer.formatting import count, counted, seconds, size
from producer.intake.sources import STANDARD_INPUT, Lists
from producer.job.plan import JobSpec
from producer.job_report.rows import Row, read_rows
from producer.storage.manifest import read_lines
from producer.wiring import Producer

DEMO_URLS, DEMO_LATENCY = 200, 0.05  # seconds

_BAR = 44  # characters
_ALL_IN_ONE = 100_000  # URLs per batch: one batch for each process


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to fetch the list."""

    title: str
    processes: int
    lanes: int
    transfers: int  # per process

    @property
    def in_flight(self) -> int:
        return self.processes * self.transfers


@dataclass(frozen=True, slots=True)
class Measured:
    """The result of one way; times in seconds.

    ``own`` is the sum of the URLs' own times, ``ideal`` the time if nothing took time but the servers.
    """

    way: Way
    summary: Summary
    own: float
    ideal: float

    @property
    def elapsed(self) -> float:
        return self.summary.tally.elapsed


def ways(processes: int, threads: int) -> list[Way]:
    """Return the textbook's ways, and ours: few lanes that drive many transfers each."""
    return [
        Way(title="one after another", processes=1, lanes=1, transfers=1),
        Way(title=f"{threads} threads", processes=1, lanes=threads, transfers=threads),
        Way(title=f"{processes} processes x {threads} threads", processes=processes, lanes=threads, transfers=threads),
        Way(title=f"{processes} processes x 1 lane of {threads}", processes=processes, lanes=1, transfers=threads),
    ]


def compare(
    lists: Sequence[str], policy: JobPolicy, chosen: Sequence[Way], producer: Producer, console: Console
) -> list[Measured]:
    """Fetch the lists in each way, each time into a folder that is removed afterwards.

    Raises:
        TrawlError: a list cannot be fetched at all.
    """
    _refuse_streams(lists)
    measured: list[Measured] = []
    for way in chosen:
        console.mention(f"{way.title} ...")
        with tempfile.TemporaryDirectory(prefix="trawl-compare-") as folder:
            summary, own = _fetch(lists, policy, way, Path(folder), producer, console)
        if not summary.is_finished:
            raise KeyboardInterrupt
        first, alone = (measured[0].summary, measured[0].own) if measured else (summary, own)
        measured.append(Measured(way, summary, own, ideal(first, alone, way)))
    return measured


@contextmanager
def demo_list() -> Iterator[tuple[list[str], JobPolicy]]:
    """Serve the demo's URLs; yields a list of them and a policy that allows them."""
    with ExitStack() as stack:
        address = stack.enter_context(demo_server(latency=DEMO_LATENCY, spread=0.0))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trawl-compare-")))
        urls = folder / "urls.txt"
        urls.write_text("".join(f"{address}/file/{number}\n" for number in range(1, DEMO_URLS + 1)))
        yield [str(urls)], JobPolicy(allow_nets=(LOOPBACK,))


def to_text(measured: Sequence[Measured], *, latency: float | None = None) -> str:
    """Return table and chart."""
    tally = measured[0].summary.tally
    head = f"{counted(tally.rows, 'URL')}, {size(tally.fetched)}"
    head += f", {seconds(latency)} latency each" if latency else ""
    titles = ("", "elapsed", "URLs' own time", "speed-up", "URLs/s", "MB/s", "ideal")
    rows = [titles, *(_row(each, measured[0]) for each in measured)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    lines = [head, ""]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("   ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    lines += ["", *_chart(measured, widths[0])]
    lines += [
        "",
        "elapsed: first batch's start to last batch's end, by the reports; URLs' own time: without the waits between",
        "attempts, when others are fetched; ideal: nothing but the servers' own time.",
    ]
    return "\n".join(lines)


def to_records(measured: Sequence[Measured]) -> list[dict[str, object]]:
    return [
        {
            "way": each.way.title,
            "processes": each.way.processes,
            "lanes": each.way.lanes,
            "transfers": each.way.transfers,
            "own": round(each.own, 6),
            "ideal": round(each.ideal, 6),
            "speed_up_over_first": round(measured[0].elapsed / each.elapsed, 3) if each.elapsed else None,
            **each.summary.to_record(),
        }
        for each in measured
    ]


# ---------------------------------------------------------------------- how


def _refuse_streams(lists: Sequence[str]) -> None:
    Lists(lists)
    for name in lists:
        if name == STANDARD_INPUT or not Path(name).is_file():
            shown = "Standard input" if name == STANDARD_INPUT else name
            raise InputError(f"{shown} can be read only once, and compare reads it once for each way: name a file.")


def _fetch(
    lists: Sequence[str], policy: JobPolicy, way: Way, folder: Path, producer: Producer, console: Console
) -> tuple[Summary, float]:
    """Fetch the lists in one way; return the summary, and the sum of the URLs' own times in seconds."""
    manifest = folder / "manifest.jsonl"
    settings = {"TRAWL_LANES": str(way.lanes), "TRAWL_TRANSFERS": str(way.transfers)}
    options = RunOptions(
        spec=JobSpec(lists=lists, policy=policy, manifest=manifest),
        output=folder,
        manifest=manifest,
        worker=WorkerOptions(processes=way.processes, settings=settings),
        batch_size=_ALL_IN_ONE,
    )
    summary = run(options, producer.without_cluster(), console)
    return summary, own_time(read_rows(read_lines(manifest)))


def own_time(rows: Iterable[Row | None]) -> float:
    """Return the seconds that URLs took, without the waits between their attempts, in which others are fetched."""
    return sum(min(row.timing.total, sum(each.seconds for each in row.attempts)) for row in rows if row is not None)


def ideal(first: Summary, own: float, way: Way) -> float:
    """Return the number of rounds of transfers, times the seconds that one URL took alone.

    ``first`` fetched the list one after another, in ``own`` seconds of the URLs' time. Names are looked up while others
    are fetched, but no more of it can have been the servers' than all of it took.
    """
    fetched = first.tally.tried
    if not fetched:
        return 0.0
    return math.ceil(fetched / way.in_flight) * min(own, first.tally.elapsed) / fetched


def _row(each: Measured, first: Measured) -> tuple[str, ...]:
    tally, elapsed = each.summary.tally, each.elapsed or math.nan
    fetched = tally.tried
    return (
        each.way.title,
        seconds(each.elapsed),
        seconds(each.own),
        f"{first.elapsed / elapsed:.1f} x",
        count(fetched / elapsed),
        f"{tally.fetched / elapsed / 1e6:.1f}",
        seconds(each.ideal),
    )


def _chart(measured: Sequence[Measured], width: int) -> list[str]:
    is_plain = "utf" not in (sys.stdout.encoding or "").lower()
    full, mark = ("#", "|") if is_plain else ("\N{FULL BLOCK}", "\N{BOX DRAWINGS LIGHT VERTICAL}")
    longest = max(each.elapsed for each in measured) or 1.0
    lines = []
    for each in measured:
        bar = list((full * max(1, round(_BAR * each.elapsed / longest))).ljust(_BAR))
        bar[min(_BAR - 1, round(_BAR * each.ideal / longest))] = mark
        lines.append(f"{each.way.title.ljust(width)}   {''.join(bar)} {seconds(each.elapsed)}")
    return [*lines, f"{' ' * width}   {mark} ideal"]
