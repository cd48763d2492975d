"""A script feeds a job like a command; without a journal, what Redis loses is lost."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import cast

import pytest

from contract.errors import CancelledJobError, UnknownJobError
from contract.ledger.control import cancel
from producer.api.jobs import Client
from producer.cluster.client import Cluster
from tests.support.clocked_ledger import report_of
from tests.support.memory_services import OUT_OF_MEMORY, MemoryServices

URLS = [f"http://h{number % 3}/{number}?token=secret" for number in range(3000)]


def a_client(services: MemoryServices) -> Client:
    return Client(cast("Cluster", services), echo=lambda _line: None)


def test_a_script_feeds_urls_like_a_list() -> None:
    services = MemoryServices()

    job = a_client(services).enqueue([*URLS, "", "# no", URLS[0], "ftp://x/"], batch_size=100)

    assert job.id == services.job
    assert sorted(itertools.chain(*services.opened.values())) == sorted(URLS)
    assert services.totals == {"lines": 3002, "duplicates": 1, "refused": 1, "urls": 3000}
    assert (services.stored, set(services.sent)) == ([1], set(services.opened))
    assert not any("secret" in text for text in services.about)


def test_a_script_gets_each_outcome_at_once_and_the_ledger_forgets_it() -> None:
    """Guards ``_is_more`` in ``Follower.wait``: closed batches came 40 at a time, every two seconds."""
    services = MemoryServices()
    job = a_client(services).enqueue([*URLS[:90], "ftp://x/"], batch_size=1)
    while claim := services.ledger.claim_next(holder="worker", waited=0.0):
        assert services.ledger.close(claim, report_of(claim))

    began = services.ledger.now()

    outcomes = list(job.outcomes())

    assert sorted(outcome.url for outcome in outcomes) == sorted([*URLS[:90], "ftp://x/"])
    assert services.stored == []
    assert services.ledger.now() == began, "nobody waited"


def test_a_full_redis_is_waited_for_but_a_nearly_full_one_is_not() -> None:
    """Guards ``keeps_batches``: nothing is kept that could be opened later, and the script may be the collector."""
    services, told = MemoryServices(), list[str]()

    def make_room(line: str) -> None:
        told.append(line)
        services.fill(10)

    services.fill(79)
    services.ledger.failures["open"] = [OUT_OF_MEMORY]
    Client(cast("Cluster", services), echo=make_room).enqueue(URLS)

    assert sorted(itertools.chain(*services.opened.values())) == sorted(URLS)
    assert "Redis is out of memory" in told[0]


def test_a_job_lost_while_it_is_enqueued_is_an_error_and_not_half_a_job() -> None:
    services = MemoryServices()

    def lines() -> Iterator[str]:
        yield from URLS[:1500]
        services.ledger.empty()
        yield from URLS[1500:]

    with pytest.raises(UnknownJobError):
        a_client(services).enqueue(lines(), batch_size=10)

    assert services.ledger.jobs() == []


def test_a_job_cancelled_while_it_is_enqueued_gets_no_more_urls() -> None:
    services = MemoryServices()

    def lines() -> Iterator[str]:
        yield from URLS[:1500]
        cancel(services.ledger, services.job)
        yield from itertools.repeat("http://h/1")

    with pytest.raises(CancelledJobError, match="is cancelled"):
        a_client(services).enqueue(lines(), batch_size=10)

    assert (services.totals or {})["not_read"] == -1
    assert services.ended == (services.totals or {})["urls"]
