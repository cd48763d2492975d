"""`trawl metrics` shows Prometheus the cluster as the ledger knows it, and reports an unreachable Redis."""

from __future__ import annotations

import signal
from pathlib import Path

from contract.cluster.broker import connect
from contract.cluster.settings import ClusterSettings
from contract.ledger.health import Trouble, WorkerHealth
from contract.ledger.reasons import Reason
from contract.metrics import EXPORTER_METRICS, PROCESS_METRICS
from tests.support.cluster import Cluster
from tests.support.person import Person
from tests.support.processes import await_condition, free_port, listeners
from tests.support.redis_server import RedisServer
from tests.support.scraping import scrape


def test_the_metrics_match_the_ledger(tmp_path: Path, cluster: Cluster) -> None:
    port = free_port()
    health = WorkerHealth(connect(ClusterSettings.from_environment(cluster.environment)), prefix="trawl:")
    process = Person(tmp_path, **cluster.environment).start("metrics", "--listen", port)
    assert process.stdout is not None
    assert process.stdout.readline().decode() == f"Metrics: http://127.0.0.1:{port}/metrics\n"
    before = scrape(port)
    cluster.enqueue("job", *([f"http://host.test/{number}"] for number in range(5)))
    assert cluster.ledger.claim("job", "1", holder="worker")
    for name in ("w1", "w2", "w3"):
        health.beat(name)
    health.report("w1", Trouble("The disk is full (ENOSPC).", label=Reason.ENOSPC))
    health.report("w2", Trouble("A body of 9 MiB waits: the disk has 1 MiB free.", True, Reason.SPACE))
    found = scrape(port)
    shown_on = listeners(port)
    process.send_signal(signal.SIGTERM)
    code = process.wait(300)

    series = [(metric.name, values) for metric in EXPORTER_METRICS for values in metric.series or [()]]
    assert set(series) <= set(before), "what has not happened yet is 0 and not absent"
    idle = {name for name, values in series if before[name, values]}
    assert idle == {"trawl_redis_up", "trawl_redis_memory_bytes"}
    assert {name for name, _ in before} >= {metric.name for metric in PROCESS_METRICS} - {"trawl_processes"}
    assert found["trawl_claimable_batches", ()] == 4
    assert found["trawl_ledger_batches", ("held",)] == 1
    assert found["trawl_ledger_jobs", ("active",)] == 1
    assert found["trawl_workers", ("alive",)] == 3
    assert found["trawl_workers", ("stalled",)] == 1
    assert found["trawl_workers_troubled", ("ENOSPC",)] == 1
    assert found["trawl_workers_troubled", ("space",)] == 1
    assert found["trawl_last_claim_timestamp_seconds", ()] > 1e9
    assert shown_on == {"0100007F"}, "on loopback, where no other address was asked for"
    assert code == 0


def test_an_unreachable_redis_is_a_metric_and_a_line(tmp_path: Path, redis: RedisServer) -> None:
    """Guards the response: a failing scrape would look like an exporter that is down."""
    port = free_port()
    environment = {"TRAWL_BROKER_URL": redis.celery_url(), "TRAWL_METRICS": str(port)}
    process = Person(tmp_path, **environment).start("metrics")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    redis.stop()
    away = scrape(port), scrape(port)
    redis.start()
    await_condition(lambda: scrape(port)["trawl_redis_up", ()] == 1, within=30, what="Redis to be back")
    process.terminate()
    said = process.stderr.read().decode()

    for found in away:
        assert found["trawl_redis_up", ()] == 0
        assert ("trawl_claimable_batches", ()) not in found, "what is not known is not 0"
    assert said == "The ledger does not answer (ConnectionError): trawl_redis_up is 0.\n"


def test_a_port_in_use_and_an_invalid_address_are_one_sentence(tmp_path: Path) -> None:
    port = free_port()
    person = Person(tmp_path, TRAWL_BROKER_URL="redis://127.0.0.1:1/0")
    first = person.start("metrics", "--listen", port)
    assert first.stdout is not None
    first.stdout.readline()
    second, third = (person.trawl("metrics", "--listen", place) for place in (port, ":9"))

    assert (second.code, third.code) == (2, 2)
    assert second.err == (
        f"trawl: Metrics cannot be served on 127.0.0.1 port {port} (address already in use):"
        " choose another with --listen.\n"
    )
    assert third.err.startswith("trawl: --listen must be a port, or an address and a port")
