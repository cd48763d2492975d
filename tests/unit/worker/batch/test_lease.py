"""A lease is renewed in time, confirmed before publishing, and never trusted for longer than it lasts."""

from __future__ import annotations

import threading
from collections.abc import Callable

import redis

from contract.records.policy import JobPolicy
from tests.support.clocked_ledger import JOB, batch_of, claimed
from tests.support.memory_ledger import MemoryLedger
from worker.batch.lease import Lease

AWAY = redis.exceptions.ConnectionError()


class Holder:
    """Holds a batch for 30 seconds. Time is what the test says; ``asked`` is when the ledger was."""

    def __init__(self) -> None:
        self.ledger = MemoryLedger(lease=30.0)
        self.ledger.create(JOB, JobPolicy())
        self.ledger.open(JOB, [batch_of("1")])
        self.claim = claimed(self.ledger, "1")
        self.asked: list[float] = []
        self.time = 100.0

    def renew(self) -> bool:
        self.asked.append(self.time)
        return self.ledger.renew(self.claim)

    def pass_time(self, seconds: float) -> None:
        self.time += seconds

    def lease(self, *, is_stopping: Callable[[], bool] = lambda: False) -> Lease:
        return Lease(self.renew, seconds=30.0, is_stopping=is_stopping, now=lambda: self.time, pause=self.pass_time)


def test_a_lease_is_renewed_when_a_third_of_it_is_over() -> None:
    holder = Holder()
    lease = holder.lease()

    lease.keep()
    holder.pass_time(10.1)
    lease.keep()
    lease.keep()

    assert holder.asked == [110.1]
    assert not lease.is_lost


def test_within_the_lease_redis_is_not_asked() -> None:
    holder = Holder()

    assert holder.lease().confirm()
    assert holder.asked == []


def test_a_holder_that_slept_past_its_lease_asks_before_it_publishes() -> None:
    holder = Holder()
    holder.ledger.empty()
    lease = holder.lease()

    holder.pass_time(31.0)

    # Protects the comparison with the lease's seconds in Lease.confirm.
    assert not lease.confirm()
    assert lease.is_lost


def test_publishing_waits_for_an_unreachable_redis() -> None:
    holder = Holder()
    holder.ledger.failures["renew"] = [AWAY, AWAY]
    lease = holder.lease()
    holder.pass_time(31.0)

    assert lease.confirm()
    assert len(holder.asked) == 3


def test_an_exiting_worker_does_not_wait_for_redis_and_publishes_nothing() -> None:
    holder = Holder()
    holder.ledger.failures["renew"] = [AWAY]
    lease = holder.lease(is_stopping=lambda: True)
    holder.pass_time(31.0)

    assert not lease.confirm()
    assert not lease.is_lost


def test_a_lease_counts_from_the_request_not_from_the_reply() -> None:
    holder = Holder()

    def slow_renewal() -> bool:
        answered = holder.renew()
        holder.pass_time(25.0)
        return answered

    lease = Lease(
        slow_renewal, seconds=30.0, is_stopping=lambda: False, now=lambda: holder.time, pause=holder.pass_time
    )
    holder.pass_time(11.0)
    lease.keep()
    holder.pass_time(6.0)

    assert lease.confirm()
    assert len(holder.asked) == 2  # 31 seconds after the first question, 6 after its answer


def test_a_lease_moves_to_the_successor() -> None:
    holder, successor = Holder(), Holder()
    lease = holder.lease()
    holder.pass_time(20.0)

    assert lease.move(lambda: True, successor.renew)

    assert lease.confirm(), "it was renewed just now"
    holder.pass_time(11.0)
    lease.keep()
    assert (holder.asked, len(successor.asked), lease.is_lost) == ([], 1, False)


def test_a_batch_that_was_not_ours_to_close_is_lost() -> None:
    lease = Holder().lease()

    assert not lease.move(lambda: False, lambda: True)

    assert lease.is_lost
    assert not lease.confirm()


def test_nothing_is_published_on_an_old_answer_while_a_lease_moves() -> None:
    """Guards the lock: the old batch is no longer renewed, though its lease may have expired meanwhile."""
    holder, successor = Holder(), Holder()
    lease = holder.lease()
    confirmed: list[bool] = []
    publisher = threading.Thread(target=lambda: confirmed.append(lease.confirm()))

    def close_slowly() -> bool:
        holder.pass_time(31.0)
        publisher.start()
        publisher.join(0.2)
        assert publisher.is_alive()
        return True

    assert lease.move(close_slowly, successor.renew)
    publisher.join(60)

    assert confirmed == [True]
    assert holder.asked == []
