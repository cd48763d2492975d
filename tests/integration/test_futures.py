"""A cluster's futures behave like those of the standard library. Real Redis, stand-in worker."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, as_completed

import pytest

from contract.cluster.settings import ClusterSettings
from contract.errors import InputError
from contract.records.batches import BatchEntry
from contract.records.outcomes import Outcome
from producer.api.futures import Submitter, UrlError
from producer.api.jobs import Client
from producer.cluster.client import Cluster
from tests.support.clocked_ledger import record_of
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer
from tests.support.stand_in_worker import StandInWorker, everything_ok, failed


@pytest.fixture
def settings(redis: RedisServer) -> ClusterSettings:
    return ClusterSettings(broker_url=redis.celery_url(), result_backend=redis.celery_url())


@pytest.fixture
def client(settings: ClusterSettings) -> Iterator[Client]:
    cluster = Cluster(settings)
    yield Client(cluster)
    cluster.close()


URLS = [f"http://h/{number}" for number in range(30)]


def answer(entry: BatchEntry) -> Outcome:
    return failed(entry) if entry.url.endswith("7") else everything_ok(entry)


def test_every_future_ends_and_as_completed_yields_each_once(client: Client, settings: ClusterSettings) -> None:
    with StandInWorker(settings, answer), Submitter(client) as submitter:
        futures = submitter.map(URLS)
        seen = list(as_completed(futures, timeout=300))

    assert len(seen) == len(set(seen)) == 30
    assert {future.url for future in futures if future.exception() is not None} == {
        "http://h/7",
        "http://h/17",
        "http://h/27",
    }
    assert futures[1].result().bytes == 10
    with pytest.raises(UrlError, match="http-4xx") as caught:
        futures[7].result()
    assert caught.value.outcome.http_status == 404


def test_a_url_that_no_worker_has_can_be_cancelled(client: Client, settings: ClusterSettings) -> None:
    fetched: list[str] = []

    def note(entry: BatchEntry) -> Outcome:
        fetched.append(entry.url)
        return everything_ok(entry)

    submitter = Submitter(client)
    futures = submitter.map(URLS[:6])
    job = submitter._job.id
    await_condition(lambda: client.cluster.ledger.payloads(job, ["1"])[0], within=10, what="the batch being sent")

    cancelled = [future.cancel() for future in futures[:2]]
    with StandInWorker(settings, note):
        submitter.shutdown()

    assert cancelled == [True, True]
    assert [future.cancelled() for future in futures] == [True, True, False, False, False, False]
    assert sorted(fetched) == URLS[2:6]
    assert set(as_completed(futures, timeout=50)) == set(futures)
    with pytest.raises(CancelledError):
        futures[0].result()


def test_a_url_that_a_worker_has_is_running_and_cannot_be_cancelled(client: Client, settings: ClusterSettings) -> None:
    let_go = threading.Event()

    def slowly(entry: BatchEntry) -> Outcome:
        let_go.wait(300)
        return everything_ok(entry)

    with StandInWorker(settings, slowly), Submitter(client) as submitter:
        future = submitter.submit("http://h/1")
        await_condition(future.running, within=10, what="the future running")
        is_cancelled = future.cancel()
        let_go.set()

        assert not is_cancelled
        assert future.result(100).bytes == 10
        assert future.done()
        assert not future.cancel()


def test_a_refused_url_fails_at_once_and_a_pending_url_has_one_future(client: Client) -> None:
    submitter = Submitter(client)

    refused = submitter.submit("ftp://h/")
    once, again = submitter.submit("http://h/1"), submitter.submit("http://h/1")
    submitter.shutdown(cancel_futures=True)

    assert isinstance(refused.exception(0), UrlError)
    assert once is again
    assert once.cancelled()
    with pytest.raises(RuntimeError):
        submitter.submit("http://h/2")


def test_a_string_in_place_of_a_list_is_one_clear_error(client: Client) -> None:
    with pytest.raises(InputError, match=re.escape("put it in brackets, [url].")):
        client.enqueue("http://h/1")

    with Submitter(client) as submitter, pytest.raises(InputError, match=re.escape("use submit(url)")):
        submitter.map("http://h/1")


def test_an_emptied_redis_fails_the_futures_instead_of_hanging(client: Client) -> None:
    submitter = Submitter(client)
    future = submitter.submit("http://h/1")

    client.cluster.redis.flushall()

    assert future.exception(300) is not None


def test_a_script_gets_outcomes_as_they_complete(client: Client, settings: ClusterSettings) -> None:
    with StandInWorker(settings, answer):
        job = client.enqueue([*URLS, URLS[0], "ftp://x/", "", "# no"], label="a script")
        outcomes = list(job.outcomes())

    endings = [str(outcome.ending) for outcome in outcomes]
    assert (endings.count("ok"), endings.count("failed"), endings.count("refused")) == (27, 3, 1)
    record = record_of(client.cluster.ledger, job.id)
    assert record.totals == {"lines": 32, "duplicates": 1, "refused": 1, "urls": 30}
    assert record.undrained == 0
