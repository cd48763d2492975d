"""How fast a job goes is told where there is something to tell it by, and what is left likewise."""

from __future__ import annotations

from producer.job.rates import Rates, Sample


def paced(seconds: int, rows_each: int, *, start: int = 0) -> tuple[Rates, Sample]:
    rates = Rates()
    for second in range(seconds + 1):
        rates.note(Sample(float(second), start + second * rows_each, second * 1000, {"dns": second}, {"w": second}))
    return rates, Sample(float(seconds), start + seconds * rows_each, seconds * 1000, {"dns": seconds}, {"w": seconds})


def test_rates_are_those_of_the_last_ten_seconds() -> None:
    rates, _ = paced(40, 10)
    now = Sample(50.0, 400, 40_000, {}, {"w": 40})

    assert rates.now(now) == (0.0, 0.0)
    assert rates.now(Sample(45.0, 400, 40_000)) == (5.0, 500.0)
    assert rates.worker_rate("w", Sample(45.0, workers={"w": 60})) == 2.5


def test_without_time_to_look_back_on_there_is_no_rate() -> None:
    rates = Rates()
    assert rates.now(Sample(0.0, 50_000, 7)) is None
    rates.note(Sample(0.0, 50_000, 7))

    assert rates.now(Sample(0.1, 50_000, 7)) is None
    assert rates.now(Sample(1.0, 50_000, 7)) == (0.0, 0.0), "what an earlier run did is no rate of this one"


def test_what_is_left_is_told_once_there_is_a_basis() -> None:
    """Guards both halves of the basis: a first batch that closes is no rates, nor is one URL of a minute."""
    rates, now = paced(4, 100)
    assert rates.left(1000, now) is None
    rates, now = paced(10, 1)
    assert rates.left(1000, now) is None
    rates, now = paced(10, 100, start=50_000)

    assert rates.left(1000, now) == 10.0


def test_a_job_that_has_stopped_has_no_end_in_sight() -> None:
    rates, now = paced(10, 100)

    assert rates.left(1000, Sample(45.0, now.rows, now.fetched)) is None


def test_errors_are_those_of_the_last_minute() -> None:
    rates, now = paced(100, 1)

    assert rates.lately("dns", now) == 61
    assert rates.lately("timeout", now) == 0


def test_what_a_dead_worker_had_is_no_negative_rate() -> None:
    rates, _ = paced(10, 10)

    assert rates.now(Sample(11.0, 0, 0)) == (0.0, 0.0)
    assert min(rates.history(20)[0]) >= 0


def test_it_is_known_for_how_long_nothing_came() -> None:
    rates = Rates()
    rates.note(Sample(0.0, 7))
    rates.note(Sample(3.0, 7))
    assert (rates.idle(3.0), rates.has_moved) == (3.0, False)
    rates.note(Sample(3.5, 8))

    assert (rates.idle(4.0), rates.has_moved) == (0.5, True)


def test_a_history_has_the_last_seconds() -> None:
    rates, _ = paced(30, 10)

    assert rates.history(5) == ([10.0] * 5, [1000.0] * 5)
