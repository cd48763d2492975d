"""A world for the address guard: every address is local, a sink listens on all of them, a few public ones answer.

Everything here runs inside a network namespace of its own (`netbox`): outside, it would reach real addresses.
"""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import pytest

from contract.cluster.settings import ClusterSettings
from contract.records.batches import BatchEntry
from contract.records.outcomes import Ending, ErrorClass, Outcome
from contract.records.policy import JobPolicy
from tests.support import netbox
from tests.support.dns_stub import NXDOMAIN, DnsStub
from tests.support.egress_proxy import EgressProxy
from tests.support.guarded_site import Asked, Site, moved, reply
from tests.support.processes import PATIENCE
from tests.support.sink import Sink
from tests.support.spellings import Spelling, distinct
from worker.adapters.clock import SystemClock
from worker.downloader import Downloader
from worker.engine.safety import Tier, tier_of
from worker.own_services import endpoints
from worker.settings import WorkerSettings

Result = TypeVar("Result")

PORT = 8080  #: where the site answers and the sink listens, on every address
PROXY_PORT = 3128  #: where the sink plays a proxy
PUBLIC = "93.184.216.34"
PUBLIC_6 = "2606:2800:220:1::1"
OTHER_PUBLIC = "198.41.0.4"  #: public, and the sink's
EGRESS = "10.200.0.1"  #: the egress proxy's, at PROXY_PORT, where the sink has all other addresses
LOGIN = "worker:se%63ret:with a colon"
ADDRESSES = (PUBLIC_6,)  #: what the netbox has to put on its loopback: IPv6 binds to no other
NAMESERVER = "127.0.0.1"
EVERYTHING = ("0.0.0.0/0", "::/0")

CLOSED = JobPolicy(
    timeout=250.0, batch_seconds=1000.0, first_byte_timeout=0, slowest=0, first_wait=0.01, longest_wait=0.01
)
WIDE_OPEN = replace(CLOSED, allow_nets=EVERYTHING)
Proxying = Literal["connect", "socks5"]
_proxying: Proxying | None = None

SITE = f"http://{PUBLIC}:{PORT}"


def through_a_proxy(kind: Proxying, scenario: Callable[[], Found]) -> Found:
    """Run a scenario, in a process of its own, with an egress proxy set for all its workers."""
    global _proxying
    _proxying = kind
    return scenario()


@dataclass(slots=True)
class Found:
    """What a scenario found out; ``faults`` are sentences about what should not have been."""

    probes: int = 0
    connections: int = 0  # at the sink
    bytes: int = 0  # at the sink
    faults: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def expect(self, holds: bool, fault: str) -> None:
        if not holds:
            self.faults.append(fault)

    def count_of(self, what: str, more: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + more

    @property
    def is_clean(self) -> bool:
        """Did nothing reach the sink, and was everything as it should be?"""
        return not (self.connections or self.bytes or self.faults)


class _SharingSink(Sink):
    """A sink on the wildcard addresses that leaves room for servers on addresses of their own."""

    def _bind(self, wire: socket.socket, address: str, port: int) -> int:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return super()._bind(wire, address, port)


class JumpingClock(SystemClock):
    """The system's clock with leaps forward, for answers that have to grow old."""

    def __init__(self) -> None:
        self.ahead = 0.0  # seconds

    def now(self) -> float:
        return super().now() + self.ahead


class World:
    """Sink, site, name server and a downloader that fetches; what happened is in ``found``."""

    def __init__(
        self, *, sinks: Sequence[int] = (80, 443, PORT, PROXY_PORT), site: Sequence[str] = (PUBLIC, PUBLIC_6)
    ) -> None:
        """Describe a world: ports of every address that are the sink's (TCP and UDP), and addresses of the site."""
        self.found = Found()
        self.clock = JumpingClock()
        self.sink = _SharingSink(["0.0.0.0", "::"], sinks, udp=True)
        self.site = Site(site, [PORT], answer=self._answer)
        self.dns = DnsStub(NAMESERVER, 53, default=NXDOMAIN)
        self.proxy = None if _proxying is None else EgressProxy(EGRESS, PROXY_PORT, kind=_proxying, login=LOGIN)
        self.leads_to: list[str] = []  # where the site's /to/<index> redirects
        self._stack = ExitStack()

    def __enter__(self) -> World:
        self._stack.enter_context(self.sink)
        self._stack.enter_context(self.site)
        self._stack.enter_context(self.dns)
        if self.proxy is not None:
            self._stack.enter_context(self.proxy)
        return self

    def __exit__(self, *_: object) -> None:
        with self._stack:
            caught = self.sink.caught
            self.found.connections = len(caught)
            self.found.bytes = sum(one.received for one in caught)
            self.found.faults += [f"reached: {one.transport} {one.address} port {one.port}" for one in caught[:20]]
            if self.proxy is not None:
                self._look_at(self.proxy)

    def _look_at(self, proxy: EgressProxy) -> None:
        """Was the proxy given addresses only, with the right login, and did everything go through it?"""
        told = proxy.told
        self.found.count_of("tunnels", proxy.tunnels)
        names = [one for one in told if not one.is_address]
        self.found.expect(not names, f"the proxy was told a name: {names[:5]}")
        self.found.expect({one.login for one in told} <= {LOGIN}, "the proxy was not told its login")
        around = self.site.connections - proxy.tunnels
        self.found.expect(around <= 0, f"{around} connections went around the proxy")

    def _answer(self, asked: Asked) -> bytes:
        path, _, number = asked.target.rpartition("/")
        host = asked.header("host") or ""
        if path == "/to":
            return moved(self.leads_to[int(number)])
        if asked.target == "/busy-and-later":
            self.grow_old()
            return reply(503, "Connection: close")
        if asked.target == "/on-and-later":
            self.grow_old()
            return moved(f"http://{host}/", "Connection: close")
        return reply(200, "Connection: close") if "closing" in host.lower() else reply()

    def grow_old(self) -> None:
        """Let so much time pass that no answer of the name server is remembered."""
        self.clock.ahead += 100.0

    def redirects_to(self, urls: Iterable[str]) -> list[str]:
        """Return URLs of the site that redirect to these, one each."""
        start = len(self.leads_to)
        self.leads_to.extend(urls)
        return [f"{SITE}/to/{number}" for number in range(start, len(self.leads_to))]

    @contextmanager
    def fetcher(self, environment: Mapping[str, str] | None = None, **settings: object) -> Iterator[Fetcher]:
        """Start a downloader as a worker with this environment would."""
        with tempfile.TemporaryDirectory(prefix="guarded-") as folder:
            chosen = replace(WorkerSettings(output=folder, min_free=0), **settings)  # type: ignore[arg-type]  # the settings' own names
            if self.proxy is not None:
                chosen = _through(self.proxy, chosen, Path(folder))
            own = endpoints(chosen, ClusterSettings.from_environment(environment) if environment else None)
            fetcher = Fetcher(Downloader(chosen, own=own, clock=self.clock), self.sink)
            try:
                yield fetcher
            finally:
                fetcher.downloader.close()

    # ---- what has to come out

    def refuses(
        self, fetcher: Fetcher, spelled: Iterable[Spelling], policy: JobPolicy = CLOSED, *, hint: str | None = None
    ) -> None:
        """Fetch the spellings, which all have to be refused."""
        for spelling, outcome in fetcher.spelled(spelled, policy):
            self.refused_spelling(spelling, outcome, hint)

    def refused(self, outcome: Outcome, what: object, *, hints: str = "", error: ErrorClass | None = None) -> None:
        """Count a probe that has to be refused at the first attempt."""
        self.found.probes += 1
        allowed = (error,) if error is not None else (ErrorClass.REFUSED_ADDRESS, ErrorClass.REFUSED_URL)
        self.found.expect(
            outcome.ending is Ending.REFUSED and outcome.error in allowed, f"not refused: {what} {outcome}"
        )
        self.found.expect(len(outcome.attempts) <= 1, f"tried again: {what} {outcome}")
        self.found.expect(hints in (outcome.detail or ""), f"does not say {hints!r}: {what} {outcome.detail}")
        self.found.expect(outcome.path is None, f"stored: {what} {outcome}")

    def refused_address(self, what: object, outcome: Outcome, address: str, hint: str | None = None) -> None:
        """Count a probe that has to be refused because of its address; ``hint``: what is said of that, if unusual."""
        says = "--allow-net" if tier_of(address) is Tier.PRIVATE else "no setting opens it"
        self.refused(outcome, what, error=ErrorClass.REFUSED_ADDRESS, hints=says if hint is None else hint)

    def refused_spelling(self, spelling: Spelling, outcome: Outcome, hint: str | None = None) -> None:
        """Count a probe that has to be refused because of its address, or because of its text."""
        if spelling.reaches is None:
            self.refused(outcome, spelling, error=ErrorClass.REFUSED_URL)
        else:
            self.refused_address(spelling, outcome, spelling.reaches, hint)

    def stored(self, outcome: Outcome, what: object, *, remote: Sequence[str] = (PUBLIC, PUBLIC_6)) -> None:
        """Count a probe that has to be fetched, from one of these addresses."""
        self.found.probes += 1
        self.found.expect(outcome.ending is Ending.OK, f"not fetched: {what} {outcome}")
        self.found.expect(outcome.remote_ip in remote, f"fetched from {outcome.remote_ip}: {what}")


def _through(proxy: EgressProxy, settings: WorkerSettings, folder: Path) -> WorkerSettings:
    """Return the settings of a worker that has to use this proxy."""
    scheme = "socks5" if _proxying == "socks5" else "http"
    login = folder / "login"
    login.write_text(f"{LOGIN}\n", "utf-8")
    where = f"{scheme}://{proxy.address}:{proxy.port}"
    return replace(settings, egress_proxy=where, egress_login_file=str(login))


class Fetcher:
    """Runs batches to their end in one process with one set of connections."""

    def __init__(self, downloader: Downloader, sink: Sink) -> None:
        self.downloader = downloader
        self._sink = sink

    def fetch(self, urls: Iterable[str], policy: JobPolicy = CLOSED, *, within: float = 60.0) -> list[Outcome]:
        """Return the outcomes in the order of the URLs, of which no two are the same.

        Raises:
            AssertionError: the sink was reached, and the transfer there would hang; or the batch did not end.
        """
        entries = [BatchEntry(url=url) for url in urls]
        run = self.downloader.start(entries, policy, queued=time.time(), worker="guarded")
        until = time.monotonic() + PATIENCE * within
        while not run.wait(0.5):
            caught = self._sink.caught
            assert not caught, f"the sink was reached: {caught[:3]}"
            assert time.monotonic() < until, f"a batch of {len(entries)} did not end: {run.progress}"
        found = {outcome.url: outcome for outcome in run.outcomes}
        return [found[entry.url] for entry in entries]

    def pairs(self, urls: Sequence[str], policy: JobPolicy = CLOSED) -> list[tuple[str, Outcome]]:
        """Return the URLs with their outcomes."""
        return list(zip(urls, self.fetch(urls, policy), strict=True))

    def spelled(self, spelled: Iterable[Spelling], policy: JobPolicy = CLOSED) -> list[tuple[Spelling, Outcome]]:
        """Return the spellings that differ with their outcomes."""
        ours = distinct(spelled)
        return list(zip(ours, self.fetch((each.url for each in ours), policy), strict=True))


def boxed(scenario: Callable[[], Result]) -> Result:
    """Run a scenario (a function of a module) in a network of its own and return what it found.

    Where no network namespace can be made the test is skipped; under CI it fails, so that nobody believes it ran.
    """
    if reason := netbox.why_not():
        if "CI" in os.environ:
            pytest.fail(f"The address guard cannot be tested here: {reason}")
        pytest.skip(reason)
    return netbox.call(scenario, addresses=ADDRESSES, every_address=True, nameserver=NAMESERVER, timeout=300.0)


@contextmanager
def variables_set(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for this process and the libraries in it."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value
