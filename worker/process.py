"""The objects owned by one worker process, created after the fork: threads and sockets do not survive it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from contract.errors import FolderError
from contract.ledger.health import WorkerHealth
from contract.ledger.hosts import exchange
from contract.ledger.ledger import RedisLedger
from worker.batch.host_news import HostNews
from worker.downloader import Downloader
from worker.events import Listener
from worker.listeners.flower import BatchRows


class Process:
    """Ledger, listeners and downloader, shared by the tasks of this process."""

    def __init__(
        self,
        *,
        ledger: RedisLedger,
        health: WorkerHealth,
        listener: Listener,
        rows: BatchRows,
        makes_downloader: Callable[[], Downloader],
    ) -> None:
        """``listener`` receives all events; ``rows`` is the part of it that sends them to Flower."""
        self.ledger = ledger
        self.health = health
        self.listener = listener
        self.rows = rows
        self._makes_downloader = makes_downloader
        self._making = threading.Lock()
        self._downloader: Downloader | None = None
        self._news: HostNews | None = None

    def downloader(self) -> Downloader:
        """Return the downloader, created on first use.

        Raises:
            SettingError, FolderError: it cannot be created.
        """
        with self._making:
            if self._downloader is None:
                self._downloader = self._makes_downloader()
                self._news = HostNews(self._downloader.hosts, partial(exchange, self.ledger), time.monotonic)
            return self._downloader

    def look_at_hosts(self) -> None:
        """Exchange news about throttling hosts with other processes, if it is time to."""
        if self._news is not None:
            self._news.look()

    def disk_trouble(self) -> str | None:
        """Return a sentence saying why the disk accepts no files now; None: it does."""
        try:
            return self.downloader().trouble()
        except FolderError as error:  # without the folder there is no downloader
            return str(error)

    def close(self) -> None:
        with self._making:
            if self._downloader is not None:
                self._downloader.close()
            self._downloader = None
