"""The addresses of our own services, so that no URL of a list can reach them through a worker."""

from __future__ import annotations

import socket
from collections.abc import Iterator

from contract.cluster.service_urls import places
from contract.cluster.settings import ClusterSettings
from contract.errors import SettingError
from worker.settings import WorkerSettings

_DEFAULT_PORTS = {"redis": 6379, "rediss": 6379, "sentinel": 26379, "amqp": 5672, "amqps": 5671, "pyamqp": 5672}


def endpoints(settings: WorkerSettings, cluster: ClusterSettings | None) -> frozenset[tuple[str, int]]:
    """Return IP address and port of the broker, the result backend, the egress proxy, our metrics and what
    TRAWL_OWN_SERVICES names. ``cluster`` is None if none is set.

    Names are resolved once, when the process starts; a name that does not resolve cannot be reached by it either.
    """
    found: set[tuple[str, int]] = set()
    for host, port in _named(settings, cluster):
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError:
            continue
        found |= {(str(answer[4][0]).partition("%")[0], port) for answer in answers}
    return frozenset(found)


def _named(settings: WorkerSettings, cluster: ClusterSettings | None) -> Iterator[tuple[str, int]]:
    if cluster is not None:
        for url in (*cluster.broker_url.split(";"), cluster.result_backend):
            for host, port in places(url):
                if port := port or _DEFAULT_PORTS.get(url.partition(":")[0]):
                    yield host, port
    metrics = settings.metrics_place()
    if metrics is not None:
        yield metrics
    proxy = settings.proxy()
    if proxy is not None:
        yield proxy.host, proxy.port
    for service in settings.own_services:
        host, colon, digits = service.rpartition(":")
        if "/" in host or "@" in host:
            raise SettingError("TRAWL_OWN_SERVICES must name host:port pairs, not URLs.")
        if not colon or not host or not digits.isdigit() or int(digits) > 65535:
            raise SettingError(f"TRAWL_OWN_SERVICES must name host:port pairs; {service!r} is not one.")
        yield host.strip("[]"), int(digits)
