"""What rows add up to in a report: in any order, any number, any content."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from contract.records.outcomes import Ending
from producer.job_report import figures as figures_module
from producer.job_report.figures import Figures
from producer.job_report.rows import Phases, Row, Try, read_rows
from producer.job_report.text import text_of
from producer.job_report.timeline import Timeline

BEGIN = 1_790_000_000.0


def fetched(host: str = "a.test", *, at: float = 0.0, total: float = 1.0, error: str | None = None) -> Row:
    return Row(
        url=f"http://{host}/x",
        outcome=Ending.FAILED if error else Ending.OK,
        name="0" * 32,
        error=error,
        detail=None if error is None else "Why.",
        bytes=None if error else 1000,
        attempts=(Try(total),),
        started=datetime.fromtimestamp(BEGIN + at, UTC),
        timing=Phases(ttfb=total / 2, total=total),
        worker="w",
    )


def figures_of(*rows: Row | None) -> Figures:
    figures = Figures()
    figures.add(rows)
    return figures


def test_a_job_lasts_from_its_first_request_to_its_last_end_in_any_order_of_rows() -> None:
    figures = figures_of(fetched(at=7.0, total=1.5), fetched(at=2.0, total=0.5))

    assert (figures.wall, figures.fetched, figures.bytes) == (6.5, 2, 2000)
    assert figures.phases["total"].percentile(1.0) == pytest.approx(1.5, rel=0.02)


def test_kept_and_refused_urls_took_no_time() -> None:
    kept = Row(url="http://a.test/", outcome=Ending.KEPT, started=datetime.fromtimestamp(BEGIN, UTC))
    refused = Row(url="ftp://a.test/", outcome=Ending.REFUSED, error="refused-url")

    figures = figures_of(kept, refused)

    assert (figures.rows, figures.fetched, figures.wall) == (2, 0, 0.0)
    assert list(figures.errors) == ["refused-url"]


def test_unreadable_lines_are_counted_and_skipped() -> None:
    torn = b'{"url":"http://a.test/","outco'

    figures = figures_of(*read_rows([torn, b'{"url":"http://a.test/","outcome":"ok"}\n', b"\xff\n"]))

    assert (figures.rows, figures.unreadable) == (1, 2)


@pytest.mark.parametrize(
    "odd", ['"bytes":1%s' % ("0" * 400), '"bytes":-1', '"timing":{"total":1e300}', '"timing":{"dns":-1}']
)
def test_a_row_with_impossible_numbers_is_unreadable(odd: str) -> None:
    figures = figures_of(*read_rows([f'{{"url":"http://a.test/","outcome":"ok",{odd}}}'.encode()]))

    assert (figures.rows, figures.unreadable) == (0, 1)
    assert text_of(figures)


def timeline_of(*urls: tuple[float, float], size: int = 0, transfer: float = 0.0) -> dict[str, list[float]]:
    """Return the columns of URLs by their start and seconds, with 0 where there is no value."""
    timeline = Timeline()
    for start, seconds in urls:
        timeline.add(BEGIN + start, seconds, size, transfer=transfer, is_stored=True)
    return {"width": [timeline.width]} | {
        name: [value or 0.0 for value in values] for name, values in timeline.columns().items()
    }


def test_a_timeline_gets_wider_bins_instead_of_more_and_loses_nothing() -> None:
    timeline = Timeline()
    for at in (0.0, 86_400.0, 3.0, 40_000.0, -500.0):
        timeline.add(BEGIN + at, 10.0, 100, transfer=4.0, is_stored=at != 3.0)

    columns = timeline.columns()

    assert len(columns["time"]) <= 240
    for name, number in (("stored", 4), ("unstored", 1), ("bytes", 500), ("under_way", 50.0)):
        assert sum(rate or 0.0 for rate in columns[name]) * timeline.width == pytest.approx(number)


@pytest.mark.parametrize("count", [16, 16 * 1000])
def test_sequential_urls_count_as_one_under_way(count: int) -> None:
    """Guards the offsets: all that began in a bin was shown as under way at once. Doubling keeps them."""
    columns = timeline_of(*((index / 16, 1 / 16) for index in range(count)))

    assert columns["under_way"][:-1] == pytest.approx([1.0] * (len(columns["time"]) - 1))
    assert max(columns["stored"]) <= 16.0


def test_a_url_under_way_for_part_of_a_bin_counts_as_that_part() -> None:
    columns = timeline_of((0.0, 0.75), (0.0, 0.375))

    assert columns["under_way"] == pytest.approx([2.0, 1.5, 1.0, 0.0])


def test_bytes_are_spread_over_the_time_of_the_transfer() -> None:
    columns = timeline_of((0.0, 4.0), size=1000, transfer=2.0)

    assert columns["bytes"] == pytest.approx([0.0] * 8 + [500.0] * 8 + [0.0])


def test_a_few_urls_that_end_together_are_not_a_high_rate() -> None:
    """Guards the narrowest bin: in a sixteenth of a second ten URLs are 160 a second."""
    columns = timeline_of(*[(0.0, 0.1)] * 10)

    assert max(columns["stored"]) <= 4 * 10


def test_of_many_hosts_those_that_cost_most_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures_module, "_MOST_HOSTS", 10)
    costly = [fetched("bad.test", error="timeout"), fetched("slow.test", total=9.0)]

    figures = figures_of(*costly, *(fetched(f"h{index}.test") for index in range(100)))

    assert [host.name for host in figures.hosts(2)] == ["bad.test", "slow.test"]
    assert figures.host_count == 102
    assert len(figures.hosts(1000)) <= 10


def test_the_slowest_urls_are_listed_slowest_first() -> None:
    figures = figures_of(*(fetched(at=index, total=float(index)) for index in range(100)))

    assert [slow.total for slow in figures.slowest()[:3]] == [99.0, 98.0, 97.0]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://user:c4n4ry@A.test:8443/c4n4ry?c4n4ry#c4n4ry", "a.test:8443"),
        ("http://a.test?token=c4n4ry", "a.test"),
        ("http://[::1]:80/", "[::1]:80"),
        ("c4n4ry", ""),
    ],
)
def test_of_a_url_only_the_host_is_shown(url: str, host: str) -> None:
    row = Row(url=url, outcome=Ending.FAILED, name="0" * 32, error="dns", detail="No address.")

    assert row.host == host
    text = text_of(figures_of(row))
    assert "c4n4ry" not in text
    assert f"  1  {f'{host} (' if host else ''}{'0' * 32}" in text
    assert max(map(len, text_of(figures_of(row), 80).splitlines())) <= 80


def test_foreign_text_does_not_control_the_terminal() -> None:
    row = Row(url="http://a\x1b[2J.test/", outcome=Ending.FAILED, error="dns", detail="\x9b31m\u202eevil\r\n")

    assert all(line.isprintable() for line in text_of(figures_of(row)).split("\n"))
