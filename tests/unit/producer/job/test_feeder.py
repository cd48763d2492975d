"""Feeding: whatever step a producer is killed after, the next one goes on with every entry."""

import itertools
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
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


def feeder(
    folder: Path,
    services: MemoryServices,
    journal: Journal,
    size: int = 100,
    *,
    echo: Callable[[str], None] = lambda _line: None,
    clock: Callable[[], float] = time.monotonic,
    window: int = 0,
    lead: int = 0,
) -> Feeder:
    lists = Lists([str(folder / "urls.txt")])
    assert restore_position(lists, journal)
    return Feeder(
        NewJob(id="job-1", label="urls.txt", policy=JobPolicy()),
        lists=lists,
        selection=Selection(journal),
        batcher=Batcher(size, 2, is_resumed=journal.fact("position") is not None),
        journal=journal,
        services=services,
        retrying=Retrying(echo),
        window=window,
        lead=lead,
        clock=clock,
    )


def test_what_waits_for_its_hosts_fills_no_window_but_has_a_bound_of_bytes(tmp_path: Path) -> None:
    """Guards ``Journal.backlog``: nine of ten URLs on a host that is paused kept all others back."""
    (tmp_path / "urls.txt").write_text("".join(f"http://h/{number}\n" for number in range(20_000)))
    services = MemoryServices("job-1")
    with closing(Journal(tmp_path / "state")) as journal:
        journal.begin("job-1")
        feeding = feeder(tmp_path, services, journal, window=3)
        while feeding.step():
            pass
        fed = journal.count_uncollected()
        assert fed >= 3

        batches = [str(number) for number in range(1, fed + 1)]
        parked = [KeptBatch(f"{batch}.3f-1", 0, b"entries") for batch in batches]
        journal.record_collected(batches, parked)
        assert feeding.step()

        full = [KeptBatch("1.4a-1", 0, bytes(41 * 1024**2))]
        journal.record_collected([str(number) for number in range(fed + 1, 2 * fed + 99)], full)
        assert not feeding.step()


@pytest.mark.parametrize("steps", range(5))
def test_a_feeder_killed_after_any_step_is_gone_on_with(tmp_path: Path, steps: int) -> None:
    # Protects Batcher.restore and the remainder in the journal: entries read, and in no batch yet.
    (tmp_path / "urls.txt").write_text("".join(f"{url}\n" for url in [*URLS, URLS[0], "ftp://x/"]))
    services = MemoryServices("job-1")
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

    assert sorted(itertools.chain(*services.opened.values())) == sorted(URLS)
    assert services.totals == {"lines": 2002, "duplicates": 1, "refused": 1, "urls": 2000}
    assert sum(services.stored) == 1
    assert set(services.sent) == set(services.opened)
    assert not any("secret" in text for text in services.about)


def test_refused_lines_come_in_reports_of_a_bounded_size(tmp_path: Path) -> None:
    """Guards _REFUSED_AT_ONCE: a chunk's were one report, however many, and forty such reports are drained at once."""
    (tmp_path / "urls.txt").write_text("x\n" * 1200)
    services = MemoryServices("job-1")
    journal = Journal(tmp_path / "state")
    journal.begin("job-1")

    feeding = feeder(tmp_path, services, journal)
    for _ in itertools.takewhile(lambda _: not feeding.is_done, range(100)):
        feeding.step()
    journal.close()

    assert services.stored == [500, 500, 200]
    assert (services.totals, services.sent) == ({"lines": 1200, "duplicates": 0, "refused": 1200, "urls": 0}, [])


def test_a_ledger_that_lost_the_job_gets_everything_again(tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_text("".join(f"{url}\n" for url in URLS))
    services = MemoryServices("job-1")
    journal = Journal(tmp_path / "state")
    journal.begin("job-1")
    feeding = feeder(tmp_path, services, journal)
    feeding.step()

    services.ledger.remove("job-1")
    for _ in itertools.takewhile(lambda _: not feeding.is_done, range(100)):
        feeding.step()
    journal.close()

    assert sorted(itertools.chain(*services.opened.values())) == sorted(URLS)


def test_a_redis_that_is_nearly_full_is_told_and_not_fed_until_it_is_not(tmp_path: Path) -> None:
    """Guards ``held_up``: "waiting for a worker" was shown for ever, though a worker was ready."""
    (tmp_path / "urls.txt").write_text("".join(f"{url}\n" for url in URLS))
    services, told, now = MemoryServices("job-1"), list[str](), itertools.count(100.0, 1.0)
    services.fill(79)
    journal = Journal(tmp_path / "state")
    journal.begin("job-1")
    feeding = feeder(tmp_path, services, journal, echo=told.append, clock=lambda: next(now))

    assert not any(feeding.step() for _ in range(20))

    assert feeding.held_up == "Redis is 79 % full; nothing is sent above 70 %"
    assert told == [f"{feeding.held_up}: give it more memory, or follow or remove old jobs."]
    services.fill(10)
    for _ in itertools.takewhile(lambda _: not feeding.is_done, range(100)):
        feeding.step()
    journal.close()
    assert (feeding.held_up, feeding.is_done) == ("", True)


def test_a_ledger_without_room_is_told_once_and_fed_again_when_it_has_some(tmp_path: Path) -> None:
    """Guards ``_fall_behind``: what was refused stands in the journal and nowhere else."""
    urls = [f"http://h{number % 3}/{number}" for number in range(20_000)]
    (tmp_path / "urls.txt").write_text("".join(f"{url}\n" for url in urls))
    services, told, now = MemoryServices("job-1"), list[str](), itertools.count(100.0, 0.1)
    journal = Journal(tmp_path / "state")
    journal.begin("job-1")
    feeding = feeder(tmp_path, services, journal, echo=told.append, clock=lambda: next(now))
    feeding.step()

    services.fill(79)
    assert feeding.step(), "the memory was looked at a moment ago"
    fed = len(services.opened)
    assert not any(feeding.step() for _ in range(100))
    assert len(services.opened) == fed
    services.fill(10)
    for _ in itertools.takewhile(lambda _: not feeding.is_done, range(1000)):
        feeding.step()
    journal.close()

    assert told == ["Redis is out of memory: nothing more is sent until some outcomes were collected."]
    assert feeding.held_up == ""
    assert sorted(itertools.chain(*services.opened.values())) == sorted(urls)


def test_a_cancelled_job_is_read_no_further_and_what_was_not_read_is_counted(tmp_path: Path) -> None:
    """Guards ``Feeder.cancel``: lines that ask for nothing are none, and what was read has a row."""
    padded = [f"http://h/{number}?{'x' * 1000}" for number in range(2000)]
    (tmp_path / "urls.txt").write_text("".join(f"{url}\n# a comment\n\n" for url in padded))
    services = MemoryServices("job-1")
    with closing(Journal(tmp_path / "state")) as journal:
        journal.begin("job-1")
        feeding = feeder(tmp_path, services, journal)
        feeding.step()
        cancel(services.ledger, "job-1")

        feeding.cancel()

        assert feeding.is_done
        assert feeding.totals["lines"] + feeding.totals["not_read"] == 2000
        assert feeding.totals["not_read"] > 1000
        ended = services.ended
        assert ended == feeding.totals["lines"]
        assert services.totals == feeding.totals
        assert record_of(services.ledger, "job-1").errors == {"cancelled": sum(services.stored)}
        again = feeder(tmp_path, services, journal)
        assert again.is_done
        assert again.totals == feeding.totals


def test_nobody_can_tell_what_was_not_read_of_a_list_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "urls.txt")
    writing = os.open(tmp_path / "urls.txt", os.O_RDWR)
    services = MemoryServices("job-1")
    with closing(Journal(tmp_path / "state")) as journal:
        journal.begin("job-1")
        os.write(writing, b"http://h/1\n")
        feeding = feeder(tmp_path, services, journal)
        feeding.step()

        feeding.cancel()

        assert (feeding.is_done, feeding.totals["lines"], feeding.totals["not_read"]) == (True, 1, -1)
    os.close(writing)


def _host(url: str) -> str:
    return url.split("/")[2]


def _a_second_at_each_look() -> Callable[[], float]:
    """Return a clock by which every list takes long to read."""
    seconds = itertools.count(0.0, 1.0)
    return lambda: next(seconds)


@pytest.mark.parametrize("steps", [0, 1, 3, 5, 8])
def test_a_host_with_most_lines_keeps_nobody_behind_it_killed_or_not(tmp_path: Path, steps: int) -> None:
    """Guards ``_lead``: a window full of the first host's batches would end the others' chances until those end."""
    urls = [f"http://first/{number}/{'x' * 60}" for number in range(9000)]
    urls += [f"http://h{number % 50}/{number}" for number in range(1000)]
    (tmp_path / "urls.txt").write_text("".join(f"{url}\n" for url in urls))
    services = MemoryServices("job-1")
    journal = Journal(tmp_path / "state")
    journal.begin("job-1")
    first = feeder(tmp_path, services, journal, window=40, lead=4, clock=_a_second_at_each_look())
    for _ in range(steps):
        first.step()
    journal.close()

    journal = Journal(tmp_path / "state")
    feeding = feeder(tmp_path, services, journal, window=40, lead=4, clock=_a_second_at_each_look())
    feeding.recover()
    while feeding.step():
        pass
    opened = list(itertools.chain(*services.opened.values()))

    assert len(services.opened) <= 40 + 1
    assert len(set(map(_host, opened))) == 51, "no batch is drained, and all hosts have had their turn"
    assert sum(url.startswith("http://h") for url in opened) == 1000
    while not feeding.is_done:
        journal.record_collected(list(services.opened), ())
        feeding.step()
    journal.close()
    assert sorted(itertools.chain(*services.opened.values())) == sorted(urls)
    assert services.totals == {"lines": 10_000, "duplicates": 0, "refused": 0, "urls": 10_000}


def test_hosts_that_are_read_within_a_second_have_their_part_of_the_first_batches(tmp_path: Path) -> None:
    """Guards ``_has_head_start``: the first batches of a sorted list were of its first host and of no other."""
    (tmp_path / "urls.txt").write_text("".join(f"http://h{number // 1000}/{number}\n" for number in range(40_000)))
    services, seconds = MemoryServices("job-1"), itertools.count(0.0, 0.01)
    with closing(Journal(tmp_path / "state")) as journal:
        journal.begin("job-1")
        feeding = feeder(tmp_path, services, journal, window=40, lead=4, clock=lambda: next(seconds))
        while not services.opened:
            assert feeding.step(), "it is read to its end"

    first = itertools.islice(itertools.chain(*services.opened.values()), 40 * ROUND)
    assert Counter(map(_host, first)) == {f"h{number}": ROUND for number in range(40)}


def test_a_list_that_comes_slowly_or_takes_long_to_read_is_sent_meanwhile(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "urls.txt")
    writing = os.open(tmp_path / "urls.txt", os.O_RDWR)
    services, now = MemoryServices("job-1"), [0.0]
    with closing(Journal(tmp_path / "state")) as journal:
        journal.begin("job-1")
        feeding = feeder(tmp_path, services, journal, size=10, window=40, lead=4, clock=lambda: now[0])
        os.write(writing, b"".join(b"http://h/%d\n" % number for number in range(100)))
        feeding.step()
        assert not services.opened
        feeding.step()
        sent = len(services.opened)
        now[0] = 1.0
        os.write(writing, b"".join(b"http://i/%d\n" % number for number in range(100)))
        feeding.step()

    assert 0 < sent < len(services.opened)
    os.close(writing)


def test_a_few_lines_of_a_list_that_stays_open_are_sent_without_waiting_for_more(tmp_path: Path) -> None:
    """Guards what a step takes and no batch has yet: it lingered for ever, recorded nowhere."""
    os.mkfifo(tmp_path / "urls.txt")
    writing = os.open(tmp_path / "urls.txt", os.O_RDWR)
    services, now = MemoryServices("job-1"), [0.0]
    with closing(Journal(tmp_path / "state")) as journal:
        journal.begin("job-1")
        feeding = feeder(tmp_path, services, journal, window=40, lead=4, clock=lambda: now[0])
        os.write(writing, b"http://h/1\nhttp://h/2\n")
        while feeding.step():
            pass
        now[0] = 0.5
        feeding.step()

    assert sorted(itertools.chain(*services.opened.values())) == ["http://h/1", "http://h/2"]
    os.close(writing)


def test_batches_larger_than_what_a_step_takes_have_every_line(tmp_path: Path) -> None:
    """Guards the end: a list that was read, of which a step took no whole batch, was sealed without the rest."""
    urls = [f"http://h/{number}/{'x' * 80}" for number in range(20_000)]
    (tmp_path / "urls.txt").write_text("".join(f"{url}\n" for url in urls))
    services = MemoryServices("job-1")
    with closing(Journal(tmp_path / "state")) as journal:
        journal.begin("job-1")
        feeding = feeder(tmp_path, services, journal, 5000, window=40, lead=4, clock=lambda: 0.0)
        while not feeding.is_done:
            feeding.step()

    assert sorted(itertools.chain(*services.opened.values())) == sorted(urls)


def test_batches_kept_open_by_what_hangs_do_not_end_the_feeding_of_a_list_still_read(tmp_path: Path) -> None:
    """Guards ``_count_in_line``: four batches that workers hold for a URL each were all that might be open."""
    (tmp_path / "urls.txt").write_text("".join(f"http://first/{number}\n" for number in range(100_000)))
    services = MemoryServices("job-1")
    with closing(Journal(tmp_path / "state")) as journal:
        journal.begin("job-1")
        feeding = feeder(tmp_path, services, journal, window=40, lead=4, clock=_a_second_at_each_look())
        feeding.step()
        assert len(services.opened) == 4

        for _ in range(6):  # none is closed
            while services.ledger.claim_next(holder="worker", waited=0.0):
                pass
            assert feeding.step()

    assert services.totals is None, "there is more to read"
    assert len(services.opened) == 7 * 4


def test_what_workers_hold_of_a_list_sorted_by_host_is_of_many_hosts(tmp_path: Path) -> None:
    """Guards the turns of hosts: of 20 hosts known, most of what is held was of one that had just been read."""
    (tmp_path / "urls.txt").write_text("".join(f"http://h{number // 2000}/{number}\n" for number in range(40_000)))
    services, held, shares = MemoryServices("job-1"), list[str](), list[float]()
    with closing(Journal(tmp_path / "state")) as journal:
        journal.begin("job-1")
        feeding = feeder(tmp_path, services, journal, window=100, lead=8, clock=_a_second_at_each_look())
        while not feeding.is_done:
            feeding.step()
            while len(held) < 10 and (claim := services.ledger.claim_next(holder="worker", waited=0.0)):
                held.append(claim.batch)
            hosts = Counter(_host(url) for batch in held for url in services.opened[batch])
            shares.append(max(hosts.values()) / hosts.total())
            journal.record_collected(held[:4], ())
            del held[:4]

    assert max(shares[len(shares) // 2 :]) < 0.2


def test_no_more_is_read_ahead_than_may_lie_on_our_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("producer.job.feeder.MOST_AHEAD", 5000)
    (tmp_path / "urls.txt").write_text("".join(f"http://first/{number}\n" for number in range(100_000)))
    services = MemoryServices("job-1")
    journal = Journal(tmp_path / "state")
    journal.begin("job-1")
    feeding = feeder(tmp_path, services, journal, window=20, lead=4)

    while feeding.step():
        pass

    assert len(services.opened) == 20
    ahead = sum(urls for _, _, urls in journal.blocks())
    assert 5000 - ROUND <= ahead < 5000 + 15_000, "a chunk more at most"
    journal.close()


def test_what_was_read_ahead_of_a_cancelled_job_ends_as_cancelled_a_window_at_a_time(tmp_path: Path) -> None:
    """Guards ``_is_read``: a million rows at once would fill Redis, and what was counted is read no more."""
    (tmp_path / "urls.txt").write_text("".join(f"http://first/{number}\n" for number in range(50_000)))
    services = MemoryServices("job-1")
    with closing(Journal(tmp_path / "state")) as journal:
        journal.begin("job-1")
        feeding = feeder(tmp_path, services, journal, window=20, lead=4)
        for _ in range(3):
            feeding.step()
        cancel(services.ledger, "job-1")
        feeding.cancel()
        feeding = feeder(tmp_path, services, journal, window=20, lead=4)
        feeding.cancel()

        while not feeding.is_done:
            while feeding.step():
                pass
            assert journal.count_uncollected() <= 20 + 11, "the last step has what the batcher holds, too"
            journal.record_collected([each.batch for each in journal.uncollected()], ())

        assert feeding.totals["lines"] + feeding.totals["not_read"] == 50_000
        ended = services.ended
        assert ended == feeding.totals["lines"]
