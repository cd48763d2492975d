"""What a worker's processes have done, in numbers that Prometheus reads from one port.

The processes of a pool count into files of a private folder (prometheus_client's multiprocess mode), and the main
process adds the files up when it is asked. No label holds anything of a list: no URL, host or job.
"""

from __future__ import annotations

import os
import re
import socketserver
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from contract import metrics as known
from contract.ledger.reasons import Reason
from contract.records.outcomes import Ending, ErrorClass, Outcome

if TYPE_CHECKING:
    from prometheus_client import Counter as Count
    from prometheus_client import Gauge, Histogram, Metric
    from prometheus_client.registry import Collector

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_LIVE_FILE = re.compile(r"gauge_live\w+_(?P<pid>[0-9]+)\.db")


class Meter:
    """Counts what this process did. Made before the fork: each process then counts into files of its own."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is private to this worker. Only one meter can be made in a process."""
        from prometheus_client import values

        os.environ[_FOLDER] = str(folder)
        # It decides this when it is imported, which Celery's command line has had done: Flower is a command of it.
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]  # it has no types

        self._urls = _count(known.URLS)
        self._attempts = _count(known.ATTEMPTS)
        self._bytes = _count(known.STORED_BYTES)
        self._seconds = _histogram(known.URL_SECONDS)
        self._phases = _count(known.PHASE_SECONDS)
        self._batches = _count(known.BATCHES)
        self._batch_seconds = _histogram(known.BATCH_SECONDS)
        self._in_progress = _gauge(known.URLS_IN_PROGRESS)
        self._in_flight = _gauge(known.TRANSFERS_IN_FLIGHT)
        self._trouble = _gauge(known.WORKER_TROUBLE)
        self._lost = _count(known.LEASES_LOST)
        self._handed_off = _count(known.HANDED_OFF)
        self._sent_again = _count(known.MESSAGES_SENT_AGAIN)
        self._put_back = _count(known.BATCHES_PUT_BACK)
        self._split = _count(known.BATCHES_SPLIT)

    def begin(self, urls: int) -> None:
        """A batch of so many URLs was claimed."""
        self._in_progress.inc(urls)

    def end(self, urls: int) -> None:
        """A batch that had begun is out of our hands."""
        self._in_progress.dec(urls)

    def fly(self, more: int) -> None:
        """So many more transfers than before are in flight; negative: fewer."""
        self._in_flight.inc(more)

    def count(self, outcomes: Sequence[Outcome], *, seconds: float) -> None:
        """A batch was reported, so many seconds after its claim."""
        endings = Counter((outcome.ending, outcome.error or "") for outcome in outcomes)
        for (ending, error), number in endings.items():
            self._urls.labels(ending, error).inc(number)
        self._attempts.inc(sum(len(outcome.attempts) for outcome in outcomes))
        self._bytes.inc(sum(outcome.bytes or 0 for outcome in outcomes if outcome.ending is Ending.OK))
        tried = [outcome.timing for outcome in outcomes if outcome.attempts]
        for timing in tried:
            self._seconds.observe(timing.total)
        for (phase,) in known.PHASE_SECONDS.series:
            self._phases.labels(phase).inc(sum(getattr(timing, phase) for timing in tried))
        self._batch_seconds.observe(seconds)
        self._batches.inc()  # last: who sees it sees the rest

    def hand_off(self, how: str, urls: int) -> None:
        """So many URLs of a batch reported are another batch's now: at-once, later or straggling."""
        self._handed_off.labels(how).inc(urls)

    def lose(self) -> None:
        """A batch's lease was lost."""
        self._lost.inc()

    def sweep(self, *, sent: int, back: int, split: int, poisoned: int, cancelled: int) -> None:
        """A sweep sent so many messages, put back and split so many batches, and ended so many URLs."""
        self._sent_again.inc(sent)
        self._put_back.inc(back)
        self._split.inc(split)
        self._urls.labels(Ending.FAILED, ErrorClass.POISON).inc(poisoned)
        self._urls.labels(Ending.FAILED, ErrorClass.CANCELLED).inc(cancelled)

    def trouble(self, reason: Reason | None) -> None:
        """This is what the worker suffers from now; None: all is well."""
        for each in Reason:
            self._trouble.labels(each).set(each is reason)


def _count(metric: known.Metric) -> Count:
    from prometheus_client import Counter as Count

    made = Count(metric.name.removesuffix("_total"), metric.help, metric.labels, registry=None)
    for values in metric.series:
        made.labels(*values)  # rates of what has not happened yet are 0, not absent
    return made


def _gauge(metric: known.Metric) -> Gauge:
    from prometheus_client import Gauge

    made = Gauge(metric.name, metric.help, metric.labels, registry=None, multiprocess_mode="livesum")
    for values in metric.series:
        made.labels(*values)
    return made


def _histogram(metric: known.Metric) -> Histogram:
    from prometheus_client import Histogram

    return Histogram(metric.name, metric.help, buckets=known.BUCKETS, registry=None)


class MetricsPort:
    """Answers Prometheus on one address and port, of the main process only; bound when it is made."""

    def __init__(self, folder: Path, address: str, port: int, *, beside: Sequence[Collector] = ()) -> None:
        """Listen, and answer nobody yet; ``beside`` tells what the files of the folder do not.

        Raises:
            OSError: the address is not ours, or another program listens there.
        """
        from prometheus_client import CollectorRegistry, make_wsgi_app

        registry = CollectorRegistry()
        for each in (_Living(folder), *beside):
            registry.register(each)
        self._server = _Server((address, port), _Answering)
        self._server.set_app(make_wsgi_app(registry))
        # A pool process that outlives this one must not keep the port.
        os.register_at_fork(after_in_child=self._server.socket.close)
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        """Begin to answer, on threads of its own; call it after the pool was forked."""
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Living:
    """Adds up the files of a folder; what processes that have died had in hand is in nobody's hands."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        from prometheus_client import CollectorRegistry
        from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

        for name in os.listdir(self._folder):
            match = _LIVE_FILE.fullmatch(name)
            if match and not _is_alive(int(match["pid"])):
                with suppress(FileNotFoundError):  # another scrape was faster
                    mark_process_dead(int(match["pid"]), str(self._folder))  # type: ignore[no-untyped-call]  # it has no types
        files: Collector = MultiProcessCollector(CollectorRegistry(), str(self._folder))  # type: ignore[no-untyped-call]  # the same
        return files.collect()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, place: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self.address_family = _family(place[0])
        super().__init__(place, handler)

    def server_bind(self) -> None:
        # HTTPServer would ask a name server who we are, and wait for it.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Answering(WSGIRequestHandler):
    timeout = 10  # seconds; who connects and asks nothing holds a thread no longer

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a scrape every few seconds is no news."""


def _family(address: str) -> int:
    import socket

    return socket.AF_INET6 if ":" in address else socket.AF_INET
