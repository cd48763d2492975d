"""The report as a few lines of text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from contract.records.outcomes import ENDINGS
from producer.formatting import count, counted, hanging, one_line, seconds, size
from producer.job_report.figures import Figures

_SHOWN = 5  # hosts, and slow URLs


def text_of(figures: Figures, width: int | None = None) -> str:
    """Return the report; sentences are broken between words at ``width`` columns."""
    return "\n".join([*_outcomes(figures, width), *map(one_line, _times(figures) if figures.fetched else ())])


def _outcomes(figures: Figures, width: int | None) -> Iterator[str]:
    endings = ", ".join(f"{count(figures.endings[name])} {name}" for name in ENDINGS)
    yield f"{counted(figures.rows, 'URL')}: {endings}"
    if figures.unreadable:
        yield f"unreadable lines: {count(figures.unreadable)}"
    for name, error in figures.errors_by_count().items():
        example = error.examples[0]
        which = f"{example.host} ({example.name})" if example.host else example.name
        yield hanging(one_line(f"  {name:<20} {count(error.count):>9}  "), f"{which}: {example.detail}", width)


def _times(figures: Figures) -> Iterator[str]:
    yield f"{size(figures.bytes)} of {counted(figures.fetched, 'URL')} in {seconds(figures.wall)}"
    yield f"one after another, the requests would take at most {seconds(figures.requests)}"
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
