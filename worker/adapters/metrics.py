"""Serves the metrics of all processes of a worker to Prometheus, on one port.

The processes count into files of a private folder (prometheus_client's multiprocess mode); the main process adds them
up for each scrape.
"""

from __future__ import annotations

import os
import re
import socketserver
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.registry import Collector

_LIVE_FILE = re.compile(r"gauge_live\w+_(?P<pid>[0-9]+)\.db")


class MetricsPort:
    """Serves Prometheus from the main process, on one address and port; bound on creation."""

    def __init__(self, folder: Path, address: str, port: int, *, beside: Sequence[Collector]) -> None:
        """Bind the port without serving yet; ``beside`` are collectors of metrics that the folder does not hold.

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
        """Start serving, on threads of its own; call it after the pool was forked."""
        self._thread = threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None:
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Living:
    """Adds up the files of a folder, without the gauges of processes that have died."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

        for name in os.listdir(self._folder):
            match = _LIVE_FILE.fullmatch(name)
            if match and not _is_alive(int(match["pid"])):
                with suppress(FileNotFoundError):  # another scrape removed it
                    mark_process_dead(int(match["pid"]), str(self._folder))  # type: ignore[no-untyped-call]  # untyped
        # A process may just have created one: prometheus_client cannot read an empty file.
        files = [str(path) for path in self._folder.glob("*.db") if _has_content(path)]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]  # untyped
        return merged


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:  # another scrape removed it
        return False


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

    def __init__(self, address: tuple[str, int], handler: type[WSGIRequestHandler]) -> None:
        self.address_family = _family(address[0])
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # HTTPServer would look up this machine's name, and block until a name server answers.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()


class _Answering(WSGIRequestHandler):
    timeout = 10  # seconds until a connection without a request is closed

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: scrapes come every few seconds."""


def _family(address: str) -> int:
    import socket

    return socket.AF_INET6 if ":" in address else socket.AF_INET
