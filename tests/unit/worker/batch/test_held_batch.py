"""What closing a batch produces: a report, and batches for the leftovers, each with its due time."""

from __future__ import annotations

from contract.records.batches import BatchEntry, unpack_entries
from contract.records.outcomes import Ending, ErrorClass, Outcome
from contract.records.reports import BatchReport
from worker.batch.held_batch import children_of, line_of
from worker.engine.results import Leftover


def left(name: str, after: float, host: str = "") -> Leftover:
    return Leftover(BatchEntry(url=f"http://h.test/{name}"), after, host)


def told(*leftovers: Leftover) -> list[tuple[list[str], float]]:
    """Return the names of each child's URLs, and when it is due."""
    children = children_of(leftovers, parks=False)
    assert all(child.urls == len(unpack_entries(child.payload)) for child in children)
    return [
        ([entry.url.rpartition("/")[2] for entry in unpack_entries(child.payload)], child.after) for child in children
    ]


def ended(ending: Ending, error: ErrorClass | None = None, size: int | None = None) -> Outcome:
    return Outcome(url="http://h.test/", name="0" * 32, ending=ending, error=error, bytes=size)


def report(*outcomes: Outcome) -> BatchReport:
    return BatchReport(
        job="j", batch="7", worker="w", pid=1, queued=1.0, started=2.0, finished=5.3, elapsed=3.3, busy=9.0,
        outcomes=outcomes,
    )  # fmt: skip


def test_a_line_about_a_batch_begins_with_its_counts_and_worst_classes() -> None:
    stored = [ended(Ending.OK, size=1_000_000)] * 3
    failed = [ended(Ending.FAILED, ErrorClass.TRUNCATED), *[ended(Ending.FAILED, ErrorClass.HTTP_4XX)] * 2]

    line = line_of(report(*stored, ended(Ending.KEPT, size=9), *failed), handed_off=4)

    assert line == "3 ok, 1 kept, 3 failed (http-4xx 2, truncated 1), 4 handed off, 3.0 MB in 3.3 s"
    assert line_of(report(), handed_off=0) == "0 URLs, 0 B in 3.3 s"
    assert line_of(report(ended(Ending.OK, size=1234)), handed_off=0) == "1 ok, 1.2 KB in 3.3 s"


def test_leftovers_that_may_run_at_once_do_not_wait() -> None:
    assert told(left("a", 0.0), left("b", 9.0), left("c", -1.0)) == [(["a", "c"], 0.0), (["b"], 9.0)]


def test_hosts_that_ask_for_different_waits_are_asked_at_different_times() -> None:
    """Guards the groups: all would wait as long as the longest."""
    assert told(left("a", 40.0), left("b", 4.0), left("c", 39.0), left("d", 3.5)) == [
        (["d", "b"], 4.0),
        (["c", "a"], 40.0),
    ]


def test_no_leftover_is_retried_early_or_long_after_its_time() -> None:
    for children in [told(*(left(str(after), float(after)) for after in range(1, 1000)))]:
        assert all(float(name) <= due <= 1.25 * float(name) + 1.0 for names, due in children for name in names)
        assert len(children) <= 30


def test_leftovers_waiting_for_hosts_are_parked_by_host() -> None:
    """A piece for each host with some URLs, and one for all others that come due together."""
    many = [left(f"many-{number}", 30.0 + number, "many.test:80") for number in range(4)]
    few = [left("x", 30.0, "x.test:80"), left("y", 31.0, "y.test:80"), left("y2", 31.0, "y.test:80")]
    late, no_hosts = left("z", 300.0, "z.test:80"), [left("disk", 5.0), left("now", 0.0)]
    waited = left("x2", 0.0, "x.test:80")  # would else be a batch, as of each that handed some back

    children = children_of([*many, *few, late, *no_hosts, waited], parks=True)

    assert [(child.urls, child.after, dict(child.hosts)) for child in children] == [
        (1, 0.0, {}),
        (1, 5.0, {}),
        (4, 33.0, {"many.test:80": 4}),
        (1, 0.0, {"x.test:80": 1}),
        (3, 31.0, {"x.test:80": 1, "y.test:80": 2}),
        (1, 300.0, {"z.test:80": 1}),
    ]
    assert not any(child.hosts for child in children_of([*many, *few], parks=False)), "the first edition parks nothing"


def test_no_leftovers_make_no_batch() -> None:
    assert told() == []
