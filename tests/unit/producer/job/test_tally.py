"""What rows add up to."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.records import wire
from contract.records.outcomes import Ending, ErrorClass, Outcome, Timing, read_row
from contract.records.sums import Sums
from producer.job.tally import Histogram, Tally


def row(
    ending: str = "ok", url: str = "http://h/x", total: float = 0.1, error: str | None = None, size: int | None = 5
) -> bytes:
    outcome = Outcome(
        url=url,
        name="0" * 32,
        ending=Ending(ending),
        error=ErrorClass(error) if error else None,
        detail='a "quoted" \\ detail with "outcome":"kept","bytes":99,',
        bytes=size,
        etag='"ttfb":7,"transfer":1,"total":9,',
        timing=Timing(ttfb=total / 2, total=total),
    )
    return wire.to_json_bytes(outcome)


@given(st.lists(st.floats(1e-6, 1000), min_size=1), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_percentiles_are_right_within_the_width_of_a_bucket(values: list[float], share: float) -> None:
    histogram = Histogram()
    histogram.add_all(values)

    found = histogram.percentile(share)

    exact = sorted(values)[max(0, -int(-share * len(values) // 1) - 1)]
    assert found == pytest.approx(exact, rel=0.012)


def test_no_values_have_no_percentile_and_zero_is_a_value() -> None:
    histogram = Histogram()
    assert histogram.percentile(0.5) is None

    histogram.add(0.0)

    assert histogram.percentile(0.5) == 0.0


def test_rows_are_counted_by_ending_error_and_host() -> None:
    tally = Tally()

    tally.add_rows(
        [
            row(),
            row("kept", size=7),
            row("failed", "http://slow/x", 2.0, "timeout"),
            row("refused", error="refused-url"),
        ]
    )

    assert tally.counts == {"ok": 1, "kept": 1, "failed": 1, "refused": 1}
    assert tally.errors == {"timeout": 1, "refused-url": 1}
    assert (tally.fetched, tally.kept, tally.rows) == (5, 7, 4)
    assert [(host.name, host.failed) for host in tally.slowest_hosts(5)] == [("slow", 1), ("h", 0)]


def test_cancelled_urls_count_as_not_fetched_for_any_host() -> None:
    tally = Tally()

    tally.add_rows(
        [row(total=0.5), row("failed", total=0.5, error="timeout"), row("failed", total=0.0, error="cancelled")]
    )

    assert (tally.tried, tally.counts["failed"]) == (2, 2)
    assert [(host.urls, host.mean, host.failed) for host in tally.slowest_hosts(1)] == [(2, 0.5, 1)]


def test_a_million_hosts_cost_no_more_than_some_hundred() -> None:
    tally = Tally()

    tally.add_rows(row(url=f"http://h{number}/x", total=0.001) for number in range(3000))
    tally.add_rows([row(url="http://slow/x", total=9.0)])
    tally.add_rows(row(url=f"http://g{number}/x", total=0.001) for number in range(3000))

    assert tally.slowest_hosts(1)[0].name == "slow"
    assert len(tally.slowest_hosts(10_000)) <= 500


def test_the_sums_of_a_report_count_like_its_rows() -> None:
    texts = [
        row(total=0.0), row(url="http://H/y", total=2.0), row("kept", size=7), row("failed", "http://s/x", 2.0, "dns"),
        row("failed", total=0.0, error="cancelled"), row("refused", "x", error="refused-url"),
    ]  # fmt: skip
    of_rows, of_sums = Tally(), Tally()

    of_rows.add_rows(texts)
    of_sums.add(Sums.of([read_row(text) for text in texts]))

    assert of_sums.times_record() == of_rows.times_record()
    assert of_sums.to_record() == {**of_rows.to_record(), "examples": {}}
    assert of_sums.lacks_example(Sums.of([read_row(texts[3])]))
    assert not of_rows.lacks_example(Sums.of([read_row(texts[3])]))


def test_a_tally_survives_the_journal() -> None:
    tally = Tally()
    tally.add_rows([row(), row("failed", error="dns")])
    tally.add_batch(started=10.0, finished=12.0, busy=3.0, worker="w", urls=2)

    again = Tally.from_record(*json.loads(json.dumps([tally.to_record(), tally.times_record()])))
    again.add_rows([row()])

    assert again.counts["ok"] == 2
    assert (again.elapsed, again.busy, again.workers) == (2.0, 3.0, {"w": 2})
    assert again.total.percentile(0.5) == tally.total.percentile(0.5)


def test_the_record_of_an_earlier_version_has_the_times_in_it() -> None:
    tally = Tally()
    tally.add_rows([row(), row("failed", error="dns")])

    again = Tally.from_record({**tally.to_record(), **tally.times_record()})

    assert (again.rows, again.times_record()) == (2, tally.times_record())


def test_a_row_written_by_another_program_counts_the_same() -> None:
    ours, theirs = Tally(), Tally()

    ours.add_rows([row(size=None), row("failed", error="dns")])
    theirs.add_rows(
        [
            json.dumps(json.loads(text), indent=None, sort_keys=True).encode()
            for text in (row(size=None), row("failed", error="dns"))
        ]
    )

    assert ours.to_record() == theirs.to_record()
    assert ours.times_record() == theirs.times_record()


def test_time_between_two_runs_of_a_job_does_not_count() -> None:
    tally = Tally()
    tally.add_batch(started=10.0, finished=12.0, busy=3.0, worker="w", urls=2)

    tally = Tally.from_record(tally.to_record(), tally.times_record())
    tally.begin_span()
    tally.add_batch(started=100.0, finished=101.0, busy=1.0, worker="w", urls=1)

    assert tally.elapsed == 3.0
