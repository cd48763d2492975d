"""Feeding: whatever step a producer is killed after, the next one goes on with every entry."""

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest
import redis

from contract.errors import CancelledJobError, UnknownJobError
from contract.ledger.channel import JobChannel
from contract.ledger.memory import RedisMemory
from contract.ledger.ports import Ledger
from contract.ledger.values import NewBatch
from contract.records.batches import unpack_entries
from contract.records.messages import BatchMessage
from contract.records.policy import JobPolicy
from contract.records.reports import BatchReport
from producer.cluster.client import Retrying
from producer.intake.batching import Batcher
from producer.intake.read_ahead import ROUND
from producer.intake.selection import Selection
from producer.intake.sources import Lists
from producer.job.feeder import Feeder
from producer.job.plan import read_on
from producer.job.sender import NewJob
from producer.storage.journal import Journal, KeptBatch


class RememberingLedger:
    """The ledger as far as feeding needs it."""

    def __init__(self) -> None:
        self.jobs: set[str] = set()
        self.batches: dict[str, list[str]] = {}
        self.stored: dict[str, int] = {}
        self.totals: Mapping[str, int] | None = None
        self.has_room = True
        self.is_cancelled = False
        self.errors: Counter[str] = Counter()

    def memory(self) -> RedisMemory:
        return RedisMemory(used=79 if not self.has_room else 10, most=100, policy="noeviction")

    def job(self, job: str) -> object | None:
        return job if job in self.jobs else None

    def create(self, job: str, policy: JobPolicy, *, label: str = "", secrets: bytes | None = None) -> bool:
        self.jobs.add(job)
        return True

    def remove(self, job: str) -> None:
        self.jobs.discard(job)
        self.batches.clear()

    def open(self, job: str, batches: Iterable[NewBatch]) -> list[str]:
        if not self.has_room:
            raise redis.exceptions.OutOfMemoryError("OOM")
        if job not in self.jobs:
            raise UnknownJobError("gone")
        if self.is_cancelled:
            raise CancelledJobError("cancelled")
        new = {batch.batch: [entry.url for entry in unpack_entries(batch.payload)] for batch in batches}
        self.batches |= {batch: urls for batch, urls in new.items() if batch not in self.batches}
        return list(new)

    def store(self, job: str, report: BatchReport) -> bool:
        self.stored[report.batch] = len(report.outcomes)
        self.errors.update(str(outcome.error) for outcome in report.outcomes)
        return True

    def seal(self, job: str, totals: Mapping[str, int]) -> None:
        self.totals = dict(totals)


class RememberingServices:
    """A cluster that notes what it is sent."""

    def __init__(self) -> None:
        self.memory = RememberingLedger()
        self.sent: list[str] = []
        self.about: list[str] = []

    @property
    def ledger(self) -> Ledger:
        return cast("Ledger", self.memory)

    def send(self, messages: Sequence[BatchMessage], about: Sequence[str] = ()) -> None:
        self.sent += [message.batch for message in messages]
        self.about += about

    def sweep(self, holder: str) -> None:
        raise AssertionError("feeding sweeps nothing")

    def channel(self, job: str, snapshot_told: Callable[[bytes], None] | None = None) -> JobChannel:
        raise AssertionError("feeding waits for nothing")


URLS = [f"http://h{number % 3}/{number}?token=secret" for number in range(2000)]


def feeder(
    folder: Path,
    services: RememberingServices,
    journal: Journal,
    size: int = 100,
    *,
    tell: Callable[[str], None] = lambda _line: None,
    clock: Callable[[], float] = time.monotonic,
    window: int = 0,
    lead: int = 0,
) -> Feeder:
    lists = Lists([str(folder / "urls.txt")])
    assert read_on(lists, journal)
    return Feeder(
        NewJob(id="job-1", label="urls.txt", policy=JobPolicy()),
        lists=lists,
        selection=Selection(journal),
        batcher=Batcher(size, 2, is_resumed=journal.fact("position") is not None),
        journal=journal,
        services=services,
        retrying=Retrying(tell),
        window=window,
        lead=lead,
        clock=clock,
    )


def test_what_waits_for_its_hosts_fills_no_window_but_has_a_bound_of_bytes(tmp_path: Path) -> None:
    """Guards ``Journal.backlog``: nine of ten URLs on a host that is paused kept all others back."""
    (tmp_path / "urls.txt").write_text("".join(f"http://h/{number}\n" for number in range(20_000)))
    services = RememberingServices()
    services.memory.create("job-1", JobPolicy())
    with closing(Journal(tmp_path / "state")) as journal:
        journal.begin("job-1")
        feeding = feeder(tmp_path, services, journal, window=3)
        while feeding.step():
            pass
        fed = journal.count_undrained()
        assert fed >= 3

        batches = [str(number) for number in range(1, fed + 1)]
        parked = [KeptBatch(f"{batch}.3f-1", 0, b"entries") for batch in batches]
        journal.record_drained(batches, parked)
        assert feeding.step()

        full = [KeptBatch("1.4a-1", 0, bytes(41 * 1024**2))]
        journal.record_drained([str(number) for number in range(fed + 1, 2 * fed + 99)], full)
        assert not feeding.step()


@pytest.mark.parametrize("steps", range(5))
def test_a_feeder_killed_after_any_step_is_gone_on_with(tmp_path: Path, steps: int) -> None:
    # Protects Batcher.restore and the remainder in the journal: entries read, and in no batch yet.
    (tmp_path / "urls.txt").write_text("".join(f"{url}\n" for url in [*URLS, URLS[0], "ftp://x/"]))
    services = RememberingServices()
    services.memory.create("job-1", JobPolicy())
    journal = Journal(tmp_path / "state")
    journal.begin("job-1")
    first = feeder(tmp_path, services, journal)
    for _ in range(steps):
        first.step()
    journal.close()

    journal = Journal(tmp_path / "state")
    second = feeder(tmp_path, services, journal)
    second.recover()
    for _ in itertools.takewhile(lambda _: not second.is_done, range(100)):
        second.step()
    journal.close()

    assert sorted(itertools.chain(*services.memory.batches.values())) == sorted(URLS)
    assert services.memory.totals == {"lines": 2002, "duplicates": 1, "refused": 1, "urls": 2000}
    assert sum(services.memory.stored.values()) == 1
    assert set(services.sent) == set(services.memory.batches)
    assert not any("secret" in text for text in services.about)


def test_refused_lines_come_in_reports_of_a_bounded_size(tmp_path: Path) -> None:
    """Guards _REFUSED_AT_ONCE: a chunk's were one report, however many, and forty such reports are drained at once."""
    (tmp_path / "urls.txt").write_text("x\n" * 1200)
    services = RememberingServices()
    services.memory.create("job-1", JobPolicy())
    journal = Journal(tmp_path / "state")
    journal.begin("job-1")

    feeding = feeder(tmp_path, services, journal)
    for _ in itertools.takewhile(lambda _: not feeding.is_done, range(100)):
        feeding.step()
    journal.close()

    assert list(services.memory.stored.values()) == [500, 500, 200]
    assert (services.memory.totals, services.sent) == ({"lines": 1200, "duplicates": 0, "refused": 1200, "urls": 0}, [])


def test_a_ledger_that_lost_the_job_gets_everything_again(tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_text("".join(f"{url}\n" for url in URLS))
    services = RememberingServices()
    services.memory.create("job-1", JobPolicy())
    journal = Journal(tmp_path / "state")
    journal.begin("job-1")
    feeding = feeder(tmp_path, services, journal)
    feeding.step()

    services.memory.remove("job-1")
    for _ in itertools.takewhile(lambda _: not feeding.is_done, range(100)):
        feeding.step()
    journal.close()

    assert sorted(itertools.chain(*services.memory.batches.values())) == sorted(URLS)


def test_a_redis_that_is_nearly_full_is_told_and_not_fed_until_it_is_not(tmp_path: Path) -> None:
    """Guards ``held_up``: "waiting for a worker" was shown for ever, though a worker was ready."""
    (tmp_path / "urls.txt").write_text("".join(f"{url}\n" for url in URLS))
    services, told, now = RememberingServices(), list[str](), itertools.count(100.0, 1.0)
    services.memory.create("job-1", JobPolicy())
    services.memory.has_room = False
    journal = Journal(tmp_path / "state")
    journal.begin("job-1")
    feeding = feeder(tmp_path, services, journal, tell=told.append, clock=lambda: next(now))

    assert not any(feeding.step() for _ in range(20))

    assert feeding.held_up == "Redis is 79 % full; nothing is sent above 70 %"
    assert told == [f"{feeding.held_up}: give it more memory, or follow or remove old jobs."]
    services.memory.has_room = True
    for _ in itertools.takewhile(lambda _: not feeding.is_done, range(100)):
        feeding.step()
    journal.close()
    assert (feeding.held_up, feeding.is_done) == ("", True)


def test_a_ledger_without_room_is_told_once_and_fed_again_when_it_has_some(tmp_path: Path) -> None:
    """Guards ``_fall_behind``: what was refused stands in the journal and nowhere else."""
    urls = [f"http://h{number % 3}/{number}" for number in range(20_000)]
    (tmp_path / "urls.txt").write_text("".join(f"{url}\n" for url in urls))
    services, told, now = RememberingServices(), list[str](), itertools.count(100.0, 0.1)
    services.memory.create("job-1", JobPolicy())
    journal = Journal(tmp_path / "state")
    journal.begin("job-1")
    feeding = feeder(tmp_path, services, journal, tell=told.append, clock=lambda: next(now))
    feeding.step()

    services.memory.has_room = False
    assert feeding.step(), "the memory was looked at a moment ago"
    fed = len(services.memory.batches)
    assert not any(feeding.step() for _ in range(100))
    assert len(services.memory.batches) == fed
    services.memory.has_room = True
    for _ in itertools.takewhile(lambda _: not feeding.is_done, range(1000)):
        feeding.step()
    journal.close()

    assert told == ["Redis is out of memory: nothing more is sent until some outcomes were collected."]
    assert feeding.held_up == ""
    assert sorted(itertools.chain(*services.memory.batches.values())) == sorted(urls)


def test_a_cancelled_job_is_read_no_further_and_what_was_not_read_is_counted(tmp_path: Path) -> None:
    """Guards ``Feeder.cancel``: lines that ask for nothing are none, and what was read has a row."""
    padded = [f"http://h/{number}?{'x' * 1000}" for number in range(2000)]
    (tmp_path / "urls.txt").write_text("".join(f"{url}\n# a comment\n\n" for url in padded))
    services = RememberingServices()
    services.memory.create("job-1", JobPolicy())
    with closing(Journal(tmp_path / "state")) as journal:
        journal.begin("job-1")
        feeding = feeder(tmp_path, services, journal)
        feeding.step()
        services.memory.is_cancelled = True

        feeding.cancel()

        assert feeding.is_done
        assert feeding.totals["lines"] + feeding.totals["not_read"] == 2000
        assert feeding.totals["not_read"] > 1000
        ended = sum(services.memory.stored.values()) + sum(map(len, services.memory.batches.values()))
        assert ended == feeding.totals["lines"]
        assert services.memory.totals == feeding.totals
        assert services.memory.errors == {"cancelled": sum(services.memory.stored.values())}
        again = feeder(tmp_path, services, journal)
        assert again.is_done
        assert again.totals == feeding.totals


def test_nobody_can_tell_what_was_not_read_of_a_list_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "urls.txt")
    writing = os.open(tmp_path / "urls.txt", os.O_RDWR)
    services = RememberingServices()
    services.memory.create("job-1", JobPolicy())
    with closing(Journal(tmp_path / "state")) as journal:
        journal.begin("job-1")
        os.write(writing, b"http://h/1\n")
        feeding = feeder(tmp_path, services, journal)
        feeding.step()

        feeding.cancel()

        assert (feeding.is_done, feeding.totals["lines"], feeding.totals["not_read"]) == (True, 1, -1)
    os.close(writing)


def _hosts(urls: Iterable[str]) -> set[str]:
    return {url.split("/")[2] for url in urls}


@pytest.mark.parametrize("steps", [0, 1, 3, 5, 8])
def test_a_host_with_most_lines_keeps_nobody_behind_it_killed_or_not(tmp_path: Path, steps: int) -> None:
    """Guards ``_lead``: a window full of the first host's batches would end the others' chances until those end."""
    urls = [f"http://first/{number}/{'x' * 60}" for number in range(9000)]
    urls += [f"http://h{number % 50}/{number}" for number in range(1000)]
    (tmp_path / "urls.txt").write_text("".join(f"{url}\n" for url in urls))
    services = RememberingServices()
    services.memory.create("job-1", JobPolicy())
    journal = Journal(tmp_path / "state")
    journal.begin("job-1")
    first = feeder(tmp_path, services, journal, window=40, lead=4)
    for _ in range(steps):
        first.step()
    journal.close()

    journal = Journal(tmp_path / "state")
    feeding = feeder(tmp_path, services, journal, window=40, lead=4)
    feeding.recover()
    while feeding.step():
        pass
    opened = list(itertools.chain(*services.memory.batches.values()))

    assert len(services.memory.batches) <= 40 + 1
    assert len(_hosts(opened)) == 51, "no batch is drained, and all hosts have had their turn"
    assert sum(url.startswith("http://h") for url in opened) == 1000
    while not feeding.is_done:
        journal.record_drained(list(services.memory.batches), ())
        feeding.step()
    journal.close()
    assert sorted(itertools.chain(*services.memory.batches.values())) == sorted(urls)
    assert services.memory.totals == {"lines": 10_000, "duplicates": 0, "refused": 0, "urls": 10_000}


def test_no_more_is_read_ahead_than_may_lie_on_our_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.job.feeder.MOST_AHEAD", 5000)
    (tmp_path / "urls.txt").write_text("".join(f"http://first/{number}\n" for number in range(100_000)))
    services = RememberingServices()
    services.memory.create("job-1", JobPolicy())
    journal = Journal(tmp_path / "state")
    journal.begin("job-1")
    feeding = feeder(tmp_path, services, journal, window=20, lead=4)

    while feeding.step():
        pass

    assert len(services.memory.batches) == 20
    ahead = sum(urls for _, _, urls in journal.blocks())
    assert 5000 - ROUND <= ahead < 5000 + 15_000, "a chunk more at most"
    journal.close()


def test_what_was_read_ahead_of_a_cancelled_job_ends_as_cancelled_a_window_at_a_time(tmp_path: Path) -> None:
    """Guards ``_is_read``: a million rows at once would fill Redis, and what was counted is read no more."""
    (tmp_path / "urls.txt").write_text("".join(f"http://first/{number}\n" for number in range(50_000)))
    services = RememberingServices()
    services.memory.create("job-1", JobPolicy())
    with closing(Journal(tmp_path / "state")) as journal:
        journal.begin("job-1")
        feeding = feeder(tmp_path, services, journal, window=20, lead=4)
        for _ in range(3):
            feeding.step()
        services.memory.is_cancelled = True
        feeding.cancel()
        feeding = feeder(tmp_path, services, journal, window=20, lead=4)
        feeding.cancel()

        while not feeding.is_done:
            while feeding.step():
                pass
            assert journal.count_undrained() <= 20 + 11, "the last step has what the batcher holds, too"
            journal.record_drained([each.batch for each in journal.undrained()], ())

        assert feeding.totals["lines"] + feeding.totals["not_read"] == 50_000
        ended = sum(services.memory.stored.values()) + sum(map(len, services.memory.batches.values()))
        assert ended == feeding.totals["lines"]
