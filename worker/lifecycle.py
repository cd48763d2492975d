"""A worker's life outside its tasks: it is told to stop, it sweeps, it closes what its processes opened."""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import Any

from celery import Celery, bootsteps, signals
from kombu.exceptions import OperationalError

from contract.cluster.broker import AWAY
from contract.cluster.variables import ignored_proxies
from contract.errors import SettingError
from contract.ledger.recovery import sweeper
from contract.ledger.sweep import Sweeper
from worker import health, wiring
from worker.events import Swept
from worker.pools import patch_trouble, pool_trouble
from worker.shutdown import InHand, ShutdownDeadline
from worker.station import hearing, station

logger = logging.getLogger(__name__)

# When the worker was told to stop, by the monotonic clock; 0: it was not. Made before the fork and shared with every
# pool process; a plain number, because a killed process can hold a lock.
_stopping_since = RawValue("d", 0.0)

in_hand = InHand()

_main_process = 0  # its pid, once it is about to start a pool

_BEAT = 2.0  # seconds between two touches of the heartbeat file
_LOOK = 0.5  # seconds between two looks whether it is our turn to sweep; while it is known not to be, they cost nothing

_COLLECT_EVERY = 50_000  # more objects made than freed; 700 is Python's own

# Seconds: kombu 5.7 transport/redis.py, Channel.brpop_timeout is 1. Redis may still answer the last question of a main
# process that no longer listens, and that message is gone.
_LAST_QUESTION = 1.5

_TAKING_LEAVE = 10.0  # seconds after the drain to sync, close and say goodbye; a container gets 30 in all


def is_stopping() -> bool:
    """Was this worker told to stop?"""
    return bool(_stopping_since.value)


def await_silence() -> None:
    """Wait, when this worker is stopping, until it cannot swallow a message meant for the others."""
    if is_stopping():
        time.sleep(max(0.0, _stopping_since.value + _LAST_QUESTION - time.monotonic()))


def attach(app: Celery) -> None:
    """Hook the worker's life to Celery's; it keeps only weak references to receivers unless told otherwise."""
    app.steps["worker"].add(_Leaving)
    signals.worker_init.connect(_refuse_pool, weak=False)
    signals.worker_init.connect(_share_descriptors, weak=False)
    signals.worker_shutting_down.connect(_stop, weak=False)
    signals.worker_ready.connect(_say_what_is_ignored, weak=False)
    signals.worker_ready.connect(_start_sweeping, weak=False)
    signals.worker_init.connect(calm_collector, weak=False)
    signals.worker_init.connect(_note_main_process, weak=False)
    signals.worker_process_init.connect(_end_as_orphan, weak=False)
    signals.worker_process_shutdown.connect(_close, weak=False)
    signals.worker_shutdown.connect(_close, weak=False)


def _refuse_pool(sender: Any, **_: Any) -> None:
    pool = sender.pool_cls  # a class from Celery's command line, a name from others
    name = pool if isinstance(pool, str) else pool.__module__.rpartition(".")[2]
    if trouble := patch_trouble() or pool_trouble(name, is_autoscaled=bool(sender.options.get("autoscale"))):
        sys.stderr.write(f"{trouble}\n")
        sys.exit(2)  # not an exception, which Celery would log and forget


def _share_descriptors(sender: Any, **_: Any) -> None:
    pool = sender.pool_cls if isinstance(sender.pool_cls, str) else sender.pool_cls.__module__
    try:
        said = wiring.share_descriptors(sender.concurrency if pool.endswith(("prefork", "processes")) else 1)
    except SettingError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)  # as above
    if said:
        sys.stderr.write(f"{said}\n")


class _Leaving(bootsteps.StartStopStep):
    """Starts once Celery's own signal handlers and the pool are there, before anything is asked of Redis."""

    requires = ("celery.worker.components:Pool",)

    def start(self, _worker: Any) -> None:
        ShutdownDeadline(within=wiring.drain() + _TAKING_LEAVE, has_work=lambda: bool(in_hand)).watch()


def _note_main_process(**_: Any) -> None:
    global _main_process
    _main_process = os.getpid()


def _end_as_orphan(**_: Any) -> None:
    """End a pool process whose parent was killed before it had asked the kernel to end with it: it would never end."""
    if _main_process not in (0, os.getpid(), os.getppid()):
        os._exit(1)
    in_hand.forget()


def calm_collector(**_: Any) -> None:
    """Look for garbage in cycles seldom: transfers make hardly any, and looking took a ninth of a lane's time."""
    gc.collect()
    gc.freeze()  # before the fork, so that the pool's processes share these pages
    gc.set_threshold(_COLLECT_EVERY, 20, 50)


def _stop(**_: Any) -> None:
    if not is_stopping():
        _stopping_since.value = time.monotonic()


def _close(**_: Any) -> None:
    wiring.close()


def _say_what_is_ignored(**_: Any) -> None:
    if hint := ignored_proxies(os.environ):
        logger.warning(hint)


def _start_sweeping(sender: Any, **_: Any) -> None:
    consumer = sender
    if heartbeat := wiring.heartbeat_file():
        _touch(Path(heartbeat))
        consumer.timer.call_repeatedly(_BEAT, _touch, (Path(heartbeat), logging.DEBUG))
    _warn_of_eviction()
    consumer.timer.call_repeatedly(_LOOK, _Sweeps(consumer.app, str(consumer.hostname)))


def _warn_of_eviction() -> None:
    try:
        eviction = station().ledger.memory().eviction
    except AWAY:
        return  # whoever sends batches says so as well
    if eviction is not None:
        logger.warning(eviction)


def _touch(heartbeat: Path, level: int = logging.ERROR) -> None:
    """Show that the main process's loop still turns: `celery inspect ping` would say so for two CPU seconds a time."""
    try:
        health.beat(heartbeat)
    except OSError as error:
        logger.log(level, "The heartbeat file %s cannot be touched: %s.", heartbeat, error.strerror)


class _Sweeps:
    """Sweeps, and tells once when it cannot and once when it can again."""

    def __init__(self, app: Celery, holder: str) -> None:
        self._app = app
        self._holder = holder
        self._is_away = False
        self._sweeper: Sweeper | None = None

    def __call__(self) -> None:
        if is_stopping():
            return
        try:
            if self._sweeper is None:
                here = station()
                self._sweeper = sweeper(here.ledger, self._app, queue=here.cluster.queue, holder=self._holder)
            findings = self._sweeper.sweep()
        except (*AWAY, OperationalError) as error:
            if not self._is_away:
                logger.warning("The ledger cannot be swept (%s); trying again.", type(error).__name__)
            self._is_away = True
            return
        if self._is_away:
            logger.warning("The ledger can be swept again.")
        self._is_away = False
        hearing(os.getpid(), self._app, self._holder).listeners.notify(Swept(findings))
