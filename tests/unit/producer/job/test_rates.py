"""Rates and the time left are shown only if there is a basis for them."""

from __future__ import annotations

from producer.job.rates import Rates, Sample


def paced(seconds: int, rows_each: int, *, start: int = 0) -> tuple[Rates, Sample]:
    rates = Rates()
    for second in range(seconds + 1):
        rates.note(Sample(float(second), start + second * rows_each, second * 1000, {"dns": second}, {"w": second}))
    return rates, Sample(float(seconds), start + seconds * rows_each, seconds * 1000, {"dns": seconds}, {"w": seconds})


def test_rates_cover_the_last_ten_seconds() -> None:
    rates, _ = paced(40, 10)
    now = Sample(50.0, 400, 40_000, {}, {"w": 40})

    assert rates.now(now) == (0.0, 0.0)
    assert rates.now(Sample(45.0, 400, 40_000)) == (5.0, 500.0)
    assert rates.worker_rate("w", Sample(45.0, workers={"w": 60})) == 2.5


def test_without_an_earlier_sample_there_is_no_rate() -> None:
    rates = Rates()
    assert rates.now(Sample(0.0, 50_000, 7)) is None
    rates.note(Sample(0.0, 50_000, 7))

    assert rates.now(Sample(0.1, 50_000, 7)) is None
    assert rates.now(Sample(1.0, 50_000, 7)) == (0.0, 0.0), "what an earlier run did is no rate of this one"


def test_the_time_left_is_known_once_there_is_a_basis() -> None:
    """Guards both halves of the basis: neither the first closed batch nor one URL per minute is a rate."""
    rates, now = paced(4, 100)
    assert rates.left(1000, now) is None
    rates, now = paced(10, 1)
    assert rates.left(1000, now) is None
    rates, now = paced(10, 100, start=50_000)

    assert rates.left(1000, now) == 10.0


def test_a_stopped_job_has_no_time_left() -> None:
    rates, now = paced(10, 100)

    assert rates.left(1000, Sample(45.0, now.rows, now.fetched)) is None


def test_recent_errors_are_those_of_the_last_minute() -> None:
    rates, now = paced(100, 1)

    assert rates.lately("dns", now) == 61
    assert rates.lately("timeout", now) == 0


def test_a_dead_worker_makes_no_rate_negative() -> None:
    rates, _ = paced(10, 10)

    assert rates.now(Sample(11.0, 0, 0)) == (0.0, 0.0)
    assert min(rates.history(20)[0]) >= 0


def test_the_time_without_rows_is_known() -> None:
    rates = Rates()
    rates.note(Sample(0.0, 7))
    rates.note(Sample(3.0, 7))
    assert (rates.idle(3.0), rates.has_moved) == (3.0, False)
    rates.note(Sample(3.5, 8))

    assert (rates.idle(4.0), rates.has_moved) == (0.5, True)


def test_the_history_covers_the_last_seconds() -> None:
    rates, _ = paced(30, 10)

    assert rates.history(5) == ([10.0] * 5, [1000.0] * 5)
