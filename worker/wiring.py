"""Composes a worker. Its settings are read here, once, and nowhere else."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celery import signals

from contract.cluster.broker import UNREACHABLE, build_app, connect, queue_lists
from contract.cluster.settings import ClusterSettings
from contract.cluster.variables import ignored_proxies
from contract.errors import SettingError
from contract.ledger.health import WorkerHealth
from contract.ledger.ledger import RedisLedger
from contract.ledger.sweep import sweeper
from contract.records.policy import Digest, lacking_digests
from worker.adapters.resolver import is_overruled
from worker.batch.disk_backoff import DiskBackoff
from worker.downloader import Downloader, check_output, share_descriptors
from worker.events import Event, Listener, Listeners
from worker.health import BEAT, HealthWatch, Heartbeat, trouble_of
from worker.lifecycle import Lifecycle, Stopping
from worker.listeners.flower import BatchRows, TroubleRow
from worker.listeners.log import EventLog
from worker.listeners.snapshots import Snapshots
from worker.log_context import logger_of
from worker.metering import Metering
from worker.own_services import endpoints
from worker.pools import check_pool, processes_of
from worker.process import Process
from worker.settings import WorkerSettings
from worker.shutdown import InHand
from worker.sweeps import SWEEP_LOOK, Sweeps
from worker.tasks import BatchTask

logger = logger_of(__name__)


class Worker:
    """The composition root: makes what the processes of a worker share, before the fork, and what each one owns."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Read the settings.

        Raises:
            SettingError: a setting is invalid; reported at startup instead of by every task.
        """
        self._cluster = ClusterSettings.from_environment(environment)
        self._settings = WorkerSettings.from_environment(environment)
        self._settings.proxy()  # validated here; each process reads it again, with its login
        self._ca_file = self._settings.certificates(environment)  # SSL_CERT_FILE may name it
        self._ignored = ignored_proxies(environment)
        self._asks_name_servers = not is_overruled(environment)
        self._metering = Metering(self._settings.metrics_place())
        self._stopping, self._in_hand = Stopping(), InHand()
        self._disk_backoff = DiskBackoff(self)
        self._lacks = lacking_digests()
        self._name, self._pool_size = "", 1  # until worker_init
        self._processes: dict[int, Process] = {}  # by pid
        self.app = build_app(self._cluster)

    def attach(self) -> None:
        """Connect everything to the app and to Celery's signals."""
        lifecycle = Lifecycle(self._stopping, self._in_hand, drain=self._settings.drain)
        lifecycle.attach(self.app)
        task = BatchTask(
            self.app,
            self.process,
            lease=self._cluster.lease,
            disk_backoff=self._disk_backoff,
            stopping=self._stopping,
            in_hand=self._in_hand,
        )
        task.attach()

        def prepare(sender: Any, **_: Any) -> None:
            self._prepare(sender)
            lifecycle.begin()

        # weak=False: Celery keeps only weak references to receivers by default.
        signals.worker_init.connect(prepare, weak=False)
        signals.worker_ready.connect(self._begin, weak=False)
        signals.worker_process_shutdown.connect(self._close, weak=False)
        signals.worker_shutdown.connect(self._close, weak=False)

    def process(self) -> Process:
        """Return the ``Process`` of this process; a forked child gets its own."""
        return self._processes.get(os.getpid()) or self._processes.setdefault(os.getpid(), self._make())

    def notify(self, event: Event) -> None:
        """Notify the listeners of this process, for objects made before the fork."""
        self.process().listener.notify(event)

    def _make(self) -> Process:
        client = connect(self._cluster)
        ledger = RedisLedger(
            client,
            prefix=self._cluster.prefix,
            lease=self._cluster.lease,
            keep=self._cluster.keep,
            queue=queue_lists(self._cluster),
            lacks=self._lacks,
        )
        rows, meter = BatchRows(self.app, self._name), self._metering.meter
        listeners: list[Listener] = [
            *([meter] if meter is not None else []),
            rows,
            TroubleRow(self.app, self._name),
            Snapshots(ledger.send_snapshot),
            EventLog(),
        ]
        return Process(
            ledger=ledger,
            health=WorkerHealth(client, prefix=self._cluster.prefix),
            listener=Listeners(listeners),
            rows=rows,
            makes_downloader=self._downloader,
        )

    def _downloader(self) -> Downloader:
        own = endpoints(self._settings, self._cluster)
        return Downloader(
            self._settings,
            ca_file=self._ca_file,
            own=own,
            asks_name_servers=self._asks_name_servers,
            processes=self._pool_size,
        )

    def _prepare(self, worker: Any) -> None:
        """Check before the pool starts that the worker can work; if not, print why and exit."""
        try:
            check_pool(worker)
            self._name, self._pool_size = str(worker.hostname), processes_of(worker)
            if os.geteuid() == 0:
                sys.stderr.write("This worker runs as root, which it does not need: start it as another user.\n")
            if said := share_descriptors(self._settings.transfers, self._pool_size):
                sys.stderr.write(f"{said}\n")
            self._metering.prepare()
            check_output(self._settings)
        except SettingError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(2)  # Celery would log an exception and continue

    def _begin(self, sender: Any, **_: Any) -> None:
        """Start what the main process does beside its pool."""
        consumer, here, name = sender, self.process(), self._name
        if self._ignored:
            logger.warning(self._ignored)
        self._metering.open()
        watch = HealthWatch(
            lambda: trouble_of(self._settings, self._disk_backoff),
            report=lambda trouble: here.health.report(name, trouble),
            clear=lambda: here.health.clear(name),
            beat=lambda: here.health.beat(name, computes=set(Digest).difference(self._lacks)),
            listener=here.listener,
        )
        threading.Thread(target=watch.run, name="health", daemon=True).start()
        if self._settings.heartbeat_file:
            heartbeat = Heartbeat(Path(self._settings.heartbeat_file), watch)
            heartbeat.begin()
            consumer.timer.call_repeatedly(BEAT, heartbeat.beat)
        sweeps = Sweeps(
            sweeper(here.ledger, self.app, queue=self._cluster.queue, holder=name),
            here.listener,
            is_stopping=self._stopping.has_begun,
        )
        consumer.timer.call_repeatedly(SWEEP_LOOK, sweeps)
        _warn_of_eviction(here.ledger)

    def _close(self, **_: Any) -> None:
        if here := self._processes.get(os.getpid()):
            here.close()
        self._metering.close()


def _warn_of_eviction(ledger: RedisLedger) -> None:
    try:
        eviction = ledger.memory().eviction
    except UNREACHABLE:
        return  # producers print this warning too
    if eviction is not None:
        logger.warning(eviction)
