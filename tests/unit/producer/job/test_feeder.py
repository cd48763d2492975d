"""Feeding: after whatever step a producer is killed, the next one continues with every entry."""

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from contract.ledger.control import cancel
from contract.records.policy import JobPolicy
from producer.cluster.client import Retrying
from producer.intake.batching import Batcher
from producer.intake.read_ahead import ROUND
from producer.intake.selection import Selection
from producer.intake.sources import Lists
from producer.job.feeder import Feeder
from producer.job.plan import restore_position
from producer.job.sender import NewJob
from producer.storage.journal import Journal, KeptBatch
from tests.support.clocked_ledger import record_of
from tests.support.memory_services import MemoryServices

URLS = [f"http://h{number % 3}/{number}?token=secret" for number in range(2000)]


class Desk:
    """A list in a folder, and what it is fed with: a journal, and a cluster in memory."""

    def __init__(self, folder: Path) -> None:
        self.listed = folder / "urls.txt"
        self.services = MemoryServices("job-1")
        self.told: list[str] = []
        self.journal = Journal(folder / "state")
        self.journal.begin("job-1")

    def write(self, urls: Iterable[str]) -> None:
        self.listed.write_text("".join(f"{url}\n" for url in urls))

    @contextmanager
    def writing(self) -> Iterator[Callable[[bytes], int]]:
        """Have a pipe as the list; yield what writes to it."""
        os.mkfifo(self.listed)
        pipe = os.open(self.listed, os.O_RDWR)
        yield partial(os.write, pipe)
        os.close(pipe)

    def feeder(
        self, size: int = 100, *, clock: Callable[[], float] = time.monotonic, window: int = 0, lead: int = 0
    ) -> Feeder:
        lists = Lists([str(self.listed)])
        assert restore_position(lists, self.journal)
        return Feeder(
            NewJob(id="job-1", label="urls.txt", policy=JobPolicy()),
            lists=lists,
            selection=Selection(self.journal),
            batcher=Batcher(size, 2, is_resumed=self.journal.fact("position") is not None),
            journal=self.journal,
            services=self.services,
            retrying=Retrying(self.told.append),
            window=window,
            lead=lead,
            clock=clock,
        )

    def be_killed(self) -> None:
        """Go on with what is on disk."""
        self.journal.close()
        self.journal = Journal(self.journal.folder)

    @property
    def fed(self) -> list[str]:
        return list(itertools.chain(*self.services.opened.values()))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.journal.close()


def finish(feeding: Feeder) -> None:
    for _ in itertools.takewhile(lambda _: not feeding.is_done, range(1000)):
        feeding.step()


def test_parked_batches_do_not_fill_the_window_but_their_bytes_are_bounded(desk: Desk) -> None:
    """Guards ``Journal.backlog``: nine of ten URLs on a paused host kept all others back."""
    desk.write(f"http://h/{number}" for number in range(20_000))
    feeding = desk.feeder(window=3)
    while feeding.step():
        pass
    fed = desk.journal.count_uncollected()
    assert fed >= 3

    batches = [str(number) for number in range(1, fed + 1)]
    parked = [KeptBatch(f"{batch}.3f-1", 0, b"entries") for batch in batches]
    desk.journal.record_collected(batches, parked)
    assert feeding.step()

    full = [KeptBatch("1.4a-1", 0, bytes(41 * 1024**2))]
    desk.journal.record_collected([str(number) for number in range(fed + 1, 2 * fed + 99)], full)
    assert not feeding.step()


@pytest.mark.parametrize("steps", range(5))
def test_a_feeder_killed_after_any_step_can_be_resumed(desk: Desk, steps: int) -> None:
    # Protects Batcher.restore and the remainder in the journal: entries read, and in no batch yet.
    desk.write([*URLS, URLS[0], "ftp://x/"])
    first = desk.feeder()
    for _ in range(steps):
        first.step()

    desk.be_killed()
    second = desk.feeder()
    second.recover()
    finish(second)

    services = desk.services
    assert sorted(desk.fed) == sorted(URLS)
    assert services.totals == {"lines": 2002, "duplicates": 1, "refused": 1, "urls": 2000}
    assert sum(services.stored) == 1
    assert set(services.sent) == set(services.opened)
    assert not any("secret" in text for text in services.about)


def test_refused_lines_are_reported_in_bounded_reports(desk: Desk) -> None:
    """Guards _REFUSED_AT_ONCE: a chunk's were one report, however many, and forty such reports are drained at once."""
    desk.write(["x"] * 1200)

    finish(desk.feeder())

    assert desk.services.stored == [500, 500, 200]
    assert desk.services.totals == {"lines": 1200, "duplicates": 0, "refused": 1200, "urls": 0}
    assert desk.services.sent == []


def test_a_ledger_that_lost_the_job_gets_everything_again(desk: Desk) -> None:
    desk.write(URLS)
    feeding = desk.feeder()
    feeding.step()

    desk.services.ledger.remove("job-1")
    finish(feeding)

    assert sorted(desk.fed) == sorted(URLS)


def test_a_nearly_full_redis_is_reported_and_not_fed(desk: Desk) -> None:
    """Guards ``held_up``: "waiting for a worker" was shown for ever, though a worker was ready."""
    desk.write(URLS)
    now = itertools.count(100.0, 1.0)
    desk.services.fill(79)
    feeding = desk.feeder(clock=lambda: next(now))

    assert not any(feeding.step() for _ in range(20))

    assert feeding.held_up == "Redis is 79 % full; nothing is sent above 70 %"
    assert desk.told == [f"{feeding.held_up}: give it more memory, or follow or remove old jobs."]
    desk.services.fill(10)
    finish(feeding)
    assert (feeding.held_up, feeding.is_done) == ("", True)


def test_a_full_ledger_is_reported_once_and_fed_again_later(desk: Desk) -> None:
    """Guards ``_fall_behind``: rejected batches are in the journal and nowhere else."""
    urls = [f"http://h{number % 3}/{number}" for number in range(20_000)]
    desk.write(urls)
    now = itertools.count(100.0, 0.1)
    feeding = desk.feeder(clock=lambda: next(now))
    feeding.step()

    desk.services.fill(79)
    assert feeding.step(), "the memory was looked at a moment ago"
    fed = len(desk.services.opened)
    assert not any(feeding.step() for _ in range(100))
    assert len(desk.services.opened) == fed
    desk.services.fill(10)
    finish(feeding)

    assert desk.told == ["Redis is out of memory: nothing more is sent until some outcomes were collected."]
    assert feeding.held_up == ""
    assert sorted(desk.fed) == sorted(urls)


def test_a_cancelled_jobs_unread_lines_are_counted(desk: Desk) -> None:
    """Guards ``Feeder.cancel``: blank lines and comments do not count, and lines already read have a row."""
    desk.write(f"http://h/{number}?{'x' * 1000}\n# a comment\n" for number in range(2000))
    services, feeding = desk.services, desk.feeder()
    feeding.step()
    cancel(services.ledger, "job-1")

    feeding.cancel()

    assert feeding.is_done
    assert feeding.totals["lines"] + feeding.totals["not_read"] == 2000
    assert feeding.totals["not_read"] > 1000
    assert services.ended == feeding.totals["lines"]
    assert services.totals == feeding.totals
    assert record_of(services.ledger, "job-1").errors == {"cancelled": sum(services.stored)}
    again = desk.feeder()
    assert again.is_done
    assert again.totals == feeding.totals


def test_unread_lines_of_a_stream_are_not_counted(desk: Desk) -> None:
    with desk.writing() as write:
        write(b"http://h/1\n")
        feeding = desk.feeder()
        feeding.step()

        feeding.cancel()

    assert (feeding.is_done, feeding.totals["lines"], feeding.totals["not_read"]) == (True, 1, -1)


def _host(url: str) -> str:
    return url.split("/")[2]


def _a_second_at_each_look() -> Callable[[], float]:
    """Return a clock by which every list takes long to read."""
    seconds = itertools.count(0.0, 1.0)
    return lambda: next(seconds)


@pytest.mark.parametrize("steps", [0, 1, 3, 5, 8])
def test_a_host_with_most_lines_holds_up_no_other_killed_or_not(desk: Desk, steps: int) -> None:
    """Guards ``_lead``: a window full of the first host's batches would hold up the others until those end."""
    urls = [f"http://first/{number}/{'x' * 60}" for number in range(9000)]
    urls += [f"http://h{number % 50}/{number}" for number in range(1000)]
    desk.write(urls)
    first = desk.feeder(window=40, lead=4, clock=_a_second_at_each_look())
    for _ in range(steps):
        first.step()

    desk.be_killed()
    feeding = desk.feeder(window=40, lead=4, clock=_a_second_at_each_look())
    feeding.recover()
    while feeding.step():
        pass

    assert len(desk.services.opened) <= 40 + 1
    assert len(set(map(_host, desk.fed))) == 51, "no batch is drained, and all hosts have had their turn"
    assert sum(url.startswith("http://h") for url in desk.fed) == 1000
    while not feeding.is_done:
        desk.journal.record_collected(list(desk.services.opened), ())
        feeding.step()
    assert sorted(desk.fed) == sorted(urls)
    assert desk.services.totals == {"lines": 10_000, "duplicates": 0, "refused": 0, "urls": 10_000}


def test_hosts_read_within_a_second_share_the_first_batches(desk: Desk) -> None:
    """Guards ``_has_head_start``: the first batches of a sorted list were of its first host only."""
    desk.write(f"http://h{number // 1000}/{number}" for number in range(40_000))
    seconds = itertools.count(0.0, 0.01)
    feeding = desk.feeder(window=40, lead=4, clock=lambda: next(seconds))
    while not desk.services.opened:
        assert feeding.step(), "it is read to its end"

    assert Counter(map(_host, desk.fed[: 40 * ROUND])) == {f"h{number}": ROUND for number in range(40)}


def test_a_short_list_is_never_recorded_as_read_ahead(desk: Desk) -> None:
    """Guards _CHUNKS_AT_ONCE: its lines would be written and read again, in one block for 32 of each host."""
    desk.write(f"http://h/{number}" for number in range(40_000))
    feeding = desk.feeder(window=2000, lead=4, clock=lambda: 0.0)

    feeding.step()
    assert desk.journal.fact("position") is None
    while not desk.services.opened:
        feeding.step()

    assert len(desk.fed) > 39_000
    assert not desk.journal.blocks()


def test_lines_refused_before_the_first_batch_have_a_report(desk: Desk) -> None:
    desk.write(["x", *(f"http://h/{number}" for number in range(10_000))])

    finish(desk.feeder(window=200, lead=4, clock=lambda: 0.0))

    assert desk.services.stored == [1]
    assert len(desk.fed) == 10_000


def test_what_is_read_before_it_is_recorded_is_bounded(desk: Desk) -> None:
    desk.write(f"http://h/{number}" for number in range(100_000))
    feeding = desk.feeder(window=2000, lead=4, clock=lambda: 0.0)

    for _ in range(20):
        feeding.step()

    assert sum(urls for _, _, urls in desk.journal.blocks()) > 50_000


@pytest.mark.parametrize("steps", [2, 18])
def test_a_list_whose_reader_is_killed_before_the_first_batch_is_read_again(desk: Desk, steps: int) -> None:
    """Guards the position: it is recorded with the entries that were read up to it, and not before."""
    urls = [f"http://h/{number}" for number in range(100_000)]
    desk.write(urls)
    first = desk.feeder(window=2000, lead=4, clock=lambda: 0.0)
    for _ in range(steps):
        first.step()

    desk.be_killed()
    finish(desk.feeder(window=2000, lead=4, clock=lambda: 0.0))

    assert sorted(desk.fed) == sorted(urls)
    assert desk.services.totals == {"lines": 100_000, "duplicates": 0, "refused": 0, "urls": 100_000}


def test_a_slow_or_long_list_is_sent_while_it_is_read(desk: Desk) -> None:
    now = [0.0]
    with desk.writing() as write:
        feeding = desk.feeder(size=10, window=40, lead=4, clock=lambda: now[0])
        write(b"".join(b"http://h/%d\n" % number for number in range(100)))
        feeding.step()
        assert not desk.services.opened
        feeding.step()
        sent = len(desk.services.opened)
        now[0] = 1.0
        write(b"".join(b"http://i/%d\n" % number for number in range(100)))
        feeding.step()

    assert 0 < sent < len(desk.services.opened)


def test_the_first_lines_of_an_open_list_are_sent_without_waiting_for_more(desk: Desk) -> None:
    """Guards popped entries that fill no batch yet: they lingered for ever, recorded nowhere."""
    now = [0.0]
    with desk.writing() as write:
        feeding = desk.feeder(window=40, lead=4, clock=lambda: now[0])
        write(b"http://h/1\nhttp://h/2\n")
        while feeding.step():
            pass
        now[0] = 0.5
        feeding.step()

    assert sorted(desk.fed) == ["http://h/1", "http://h/2"]


def test_batches_larger_than_a_step_have_every_line(desk: Desk) -> None:
    """Guards the end: a list was sealed without the entries that did not fill a batch in its last step."""
    urls = [f"http://h/{number}/{'x' * 500}" for number in range(20_000)]  # more than is cut before the first record
    desk.write(urls)

    finish(desk.feeder(5000, window=40, lead=4, clock=lambda: 0.0))

    assert sorted(desk.fed) == sorted(urls)


def test_batches_held_open_by_hanging_urls_do_not_stop_the_feeding(desk: Desk) -> None:
    """Guards ``_count_in_line``: four batches that workers hold for one URL each used up all that may be open."""
    desk.write(f"http://first/{number}" for number in range(100_000))
    feeding = desk.feeder(window=40, lead=4, clock=_a_second_at_each_look())
    feeding.step()
    assert len(desk.services.opened) == 4

    for _ in range(6):  # none is closed
        while desk.services.ledger.claim_next(holder="worker", waited=0.0):
            pass
        assert feeding.step()

    assert desk.services.totals is None, "there is more to read"
    assert len(desk.services.opened) == 7 * 4


def test_workers_hold_many_hosts_of_a_list_sorted_by_host(desk: Desk) -> None:
    """Guards the turns of hosts: of 20 hosts known, most of what is held was of one that had just been read."""
    desk.write(f"http://h{number // 2000}/{number}" for number in range(40_000))
    services, held, shares = desk.services, list[str](), list[float]()
    feeding = desk.feeder(window=100, lead=8, clock=_a_second_at_each_look())
    while not feeding.is_done:
        feeding.step()
        while len(held) < 10 and (claim := services.ledger.claim_next(holder="worker", waited=0.0)):
            held.append(claim.batch)
        hosts = Counter(_host(url) for batch in held for url in services.opened[batch])
        shares.append(max(hosts.values()) / hosts.total())
        desk.journal.record_collected(held[:4], ())
        del held[:4]

    assert max(shares[len(shares) // 2 :]) < 0.2


def test_reading_ahead_is_bounded(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.job.feeder.MOST_AHEAD", 5000)
    desk.write(f"http://first/{number}" for number in range(100_000))
    feeding = desk.feeder(window=20, lead=4)

    while feeding.step():
        pass

    assert len(desk.services.opened) == 20
    ahead = sum(urls for _, _, urls in desk.journal.blocks())
    assert 5000 - ROUND <= ahead < 5000 + 15_000, "a chunk more at most"


def test_a_cancelled_jobs_entries_read_ahead_end_in_steps(desk: Desk) -> None:
    """Guards ``_is_read``: a million rows at once would fill Redis, and lines counted as not read must not be read."""
    desk.write(f"http://first/{number}" for number in range(50_000))
    feeding = desk.feeder(window=20, lead=4)
    for _ in range(3):
        feeding.step()
    cancel(desk.services.ledger, "job-1")
    feeding.cancel()
    feeding = desk.feeder(window=20, lead=4)
    feeding.cancel()

    while not feeding.is_done:
        while feeding.step():
            pass
        assert desk.journal.count_uncollected() <= 20 + 11, "the last step has what the batcher holds, too"
        desk.journal.record_collected([each.batch for each in desk.journal.uncollected()], ())

    assert feeding.totals["lines"] + feeding.totals["not_read"] == 50_000
    assert desk.services.ended == feeding.totals["lines"]
