"""The report as a few lines of text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from contract.records.outcomes import ENDINGS
from producer.formatting import count, counted, one_line, seconds, size
from producer.job_report.figures import Figures

_SHOWN = 5  # hosts, and slow URLs


def text_of(figures: Figures) -> str:
    return "\n".join(one_line(line) for line in _lines(figures))


def _lines(figures: Figures) -> Iterator[str]:
    endings = ", ".join(f"{count(figures.endings[name])} {name}" for name in ENDINGS)
    yield f"{counted(figures.rows, 'URL')}: {endings}"
    if figures.unreadable:
        yield f"unreadable lines: {count(figures.unreadable)}"
    for name, error in figures.errors_by_count().items():
        example = error.examples[0]
        which = f"{example.host} ({example.name})" if example.host else example.name
        yield f"  {name:<20} {count(error.count):>9}  for example {which}: {example.detail}"
    if not figures.fetched:
        return
    yield f"{size(figures.bytes)} of {counted(figures.fetched, 'URL')} in {seconds(figures.wall)}"
    yield (
        f"the requests took {seconds(figures.requests)}, added up: an upper bound for fetching one after another,"
        " as concurrent requests slow each other down"
    )
    yield f"  {'phase':<10} {'p50':>9} {'p95':>9} {'p99':>9}"
    for name, histogram in figures.phases.items():
        quantiles = " ".join(f"{seconds(histogram.percentile(fraction)):>9}" for fraction in (0.5, 0.95, 0.99))
        yield f"  {name:<10} {quantiles}"
    yield f"hosts that cost most, of {count(figures.host_count)}:"
    for host in figures.hosts(_SHOWN):
        mean = seconds(host.seconds / host.urls)
        yield f"  {host.name}: {counted(host.urls, 'URL')}, {count(host.unstored)} without a file, {mean} on average"
    yield "slowest URLs:"
    for slow in figures.slowest()[:_SHOWN]:
        yield f"  {seconds(slow.total):>9}  {slow.host} ({slow.name}): {slow.ending}, attempts: {count(slow.attempts)}"
