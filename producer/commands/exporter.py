"""``trawl metrics``: serves the cluster's metrics to Prometheus, read from the ledger for each scrape."""

from __future__ import annotations

import platform
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler

import celery
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import GaugeMetricFamily

from contract import __version__
from contract import metrics as known
from contract.cluster.broker import RedisTrouble
from contract.cluster.listening import listening_place
from contract.errors import SettingError
from contract.ledger.health import Census
from contract.ledger.memory import RedisMemory
from contract.ledger.overview import Overview, look
from contract.outage import Outage
from producer.cluster.client import Cluster
from producer.wiring import Producer

if TYPE_CHECKING:
    from prometheus_client import Metric

_REPLY_WITHIN = 3.0  # seconds; Prometheus waits ten for the whole answer

Values = Mapping[tuple[str, ...], float]


class Exporter:
    """Serves metrics until ``close``."""

    def __init__(self, cluster: Cluster, place: tuple[str, int]) -> None:
        """Listen at an address and port; ``cluster`` is closed with the exporter.

        Raises:
            SettingError: the address is not ours, or another program listens there.
        """
        registry = CollectorRegistry()
        registry.register(LedgerNumbers(cluster))
        ProcessCollector(registry=registry)
        self.place = address, port = place
        self._cluster = cluster
        try:
            self._server, self._thread = start_http_server(port, address, registry)
        except OSError as error:
            raise SettingError(
                f"Metrics cannot be served on {address} port {port} ({(error.strerror or str(error)).lower()}):"
                " choose another with --listen."
            ) from None
        self._server.RequestHandlerClass = _Answering

    def wait(self) -> None:
        """Serve until the process is interrupted."""
        self._thread.join()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._cluster.close()


class _Answering(WSGIRequestHandler):
    timeout = 10  # seconds; an idle connection holds a thread no longer

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: there is a scrape every few seconds."""


class LedgerNumbers:
    """The exporter's metrics; if Redis is unreachable, only ``trawl_redis_up`` 0."""

    def __init__(self, cluster: Cluster) -> None:
        self._ledger, self._health = cluster.ledger, cluster.health
        self._outage = Outage()

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: registration must not query Redis."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        build = (__version__, platform.python_version(), celery.__version__)
        yield _gauge(known.BUILD_INFO, {build: 1})
        try:
            seen, memory, census = look(self._ledger), self._ledger.memory(), self._health.census()
        except RedisTrouble as error:
            if self._outage.begin():
                print(f"The ledger does not answer ({type(error).__name__}): trawl_redis_up is 0.", file=sys.stderr)
            yield _gauge(known.REDIS_UP, {(): 0})
            return
        self._outage.end()
        yield _gauge(known.REDIS_UP, {(): 1})
        yield from _of_ledger(seen)
        yield from _of_redis(memory)
        yield from _of_workers(census)


def _of_ledger(seen: Overview) -> Iterator[Metric]:
    yield _gauge(known.CLAIMABLE, {(): seen.claimable})
    waiting = {"deferred": seen.deferred, "parked": seen.parked, "paused": seen.paused}
    batches = {"held": seen.held, **waiting, "undrained": seen.undrained}
    yield _gauge(known.LEDGER_BATCHES, _by_word(batches))
    jobs = {"known": seen.jobs, "active": seen.active_jobs, "paused": seen.paused_jobs}
    yield _gauge(known.LEDGER_JOBS, _by_word(jobs))
    yield _gauge(known.OLDEST_WAIT, {(): seen.oldest_wait})
    yield _gauge(known.LAST_CLAIM, {(): seen.last_claim or 0.0})
    yield _gauge(known.HOSTS_PAUSED, {(): seen.paused_hosts})


def _of_redis(memory: RedisMemory) -> Iterator[Metric]:
    yield _gauge(known.REDIS_MEMORY, {(): memory.used})
    yield _gauge(known.REDIS_MEMORY_LIMIT, {(): memory.most})
    yield _gauge(known.REDIS_EVICTS, {(): memory.eviction is not None})


def _of_workers(census: Census) -> Iterator[Metric]:
    alive, troubles = census.present, census.troubles
    stalled = [worker for worker, trouble in troubles.items() if not trouble.takes_work]
    silent = [worker for worker in census.workers if worker not in alive]
    yield _gauge(known.WORKERS, _by_word({"alive": len(alive), "stalled": len(stalled), "silent": len(silent)}))
    reasons = Counter(str(trouble.label) for trouble in troubles.values())
    yield _gauge(known.WORKERS_TROUBLED, _by_word(reasons))


def _by_word(counts: Mapping[str, float]) -> Values:
    return {(word,): count for word, count in counts.items()}


def _gauge(metric: known.Metric, values: Values) -> Metric:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, value in {**dict.fromkeys(metric.series, 0.0), **values}.items():
        family.add_metric(labels, value)
    return family


def export(producer: Producer, *, place: str) -> Exporter:
    """Start serving the metrics of the configured cluster, at ``9109`` or ``0.0.0.0:9109`` for example.

    Raises:
        SettingError: a setting cannot be used, or the address is in use.
    """
    address = listening_place(place, setting="--listen")
    return Exporter(producer.open(timeout=_REPLY_WITHIN), address)
