"""The downloader of a process: executor, disk, resolver and lanes."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from contract.errors import FolderError, SettingError
from contract.open_files import allowed_transfers, attainable_limit, left_for_transfers, raise_limit, shortage
from contract.records.batches import BatchEntry
from contract.records.credentials import NO_CREDENTIALS, Credentials
from contract.records.policy import Digest, JobPolicy
from contract.urls.networks import parse_networks
from worker.adapters.clock import SystemClock
from worker.adapters.disk import FolderStore, OutputFolder, is_passing, trouble_at
from worker.adapters.egress import Egress
from worker.adapters.http import CurlHttp
from worker.adapters.resolver import MOST_THREADS, NameServers, SystemResolver, look_up_addresses
from worker.engine.backlog import Backlog
from worker.engine.digests import starter
from worker.engine.exchange import Exchange
from worker.engine.hosts import Hosts
from worker.engine.lane import Lane
from worker.engine.ports import Clock
from worker.engine.run import Run
from worker.engine.safety import AddressPolicy
from worker.engine.schedule import QUIET_WINDOWS
from worker.settings import EgressProxy, WorkerSettings

_REACHES = 4  # groups of lanes kept; more only while all are busy
_BLOCKING_THREADS = 8 + MOST_THREADS  # for disk, digests and names, in addition to the lanes' threads
_KEPT = 256  # connections kept by a lane, at least, if descriptors allow


@dataclass(frozen=True, slots=True)
class _Reach:
    """What a lane may connect to, and how; jobs that differ in this share no lane, and so no connection."""

    allow_nets: tuple[str, ...]
    deny_nets: tuple[str, ...]
    ipv4_only: bool
    http3: bool

    @classmethod
    def of(cls, policy: JobPolicy) -> _Reach:
        return cls(policy.allow_nets, policy.deny_nets, policy.ipv4_only, policy.http3)


class Downloader:
    """Executor, disk, resolver and lanes of one process, shared by all its runs."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        ca_file: str = "",
        own: frozenset[tuple[str, int]] = frozenset(),
        look_up: Callable[[str], tuple[str, ...]] | None = None,
        clock: Clock | None = None,
        asks_name_servers: bool = True,
        processes: int = 1,
    ) -> None:
        """``ca_file`` holds the certificates to trust (empty: those of the settings or the system). ``own`` has the
        addresses and ports of our own services, to which nothing may connect. ``look_up`` replaces all other name
        resolution; unless ``asks_name_servers``, only the system's resolver is asked. ``processes`` is how many
        processes this worker has.

        Raises:
            SettingError, FolderError: the settings or the output folder cannot be used.
        """
        descriptors = attainable_limit()  # raised before the worker's first batch
        self._descriptors = left_for_transfers(descriptors, processes)
        allowed = max(1, allowed_transfers(settings.transfers, descriptors, processes))
        self.settings = replace(settings, transfers=allowed)
        self._own = own
        self._ca_file = ca_file or settings.certificates({})
        self._worker_deny = parse_networks(settings.deny_nets, setting="TRAWL_WORKER_DENY_NETS")
        proxy = settings.proxy()
        self._clock: Clock = clock or SystemClock()
        self._folder = OutputFolder(settings.output, min_free=settings.min_free)
        self._executor = ThreadPoolExecutor(
            settings.lanes * 4 * _REACHES + _BLOCKING_THREADS, thread_name_prefix="trawl"
        )
        asks_name_servers = asks_name_servers and look_up is None
        self._resolver = SystemResolver(
            self._executor.submit,
            self._clock,
            look_up=look_up or look_up_addresses,
            name_servers=NameServers(self._executor.submit, self._clock) if asks_name_servers else None,
        )
        self._egress = self._egress_through(proxy, look_up or look_up_addresses)
        self.hosts = Hosts(random.random)
        self._backlog = Backlog(self.settings.room)
        self._lanes: dict[_Reach, list[Lane]] = {}
        self._lock = threading.RLock()

    def start(
        self,
        entries: Sequence[BatchEntry],
        policy: JobPolicy,
        *,
        queued: float,
        worker: str,
        may_publish: Callable[[], bool] = lambda: True,
        credentials: Credentials = NO_CREDENTIALS,
        wake: Callable[[], None] = lambda: None,
        unable: str = "",
    ) -> Run:
        """Start fetching a batch and return at once.

        ``queued`` is when the batch was enqueued (Unix seconds). ``may_publish`` is called on another thread right
        before files are renamed. ``wake`` is called when there is room for another batch, and at the end. ``unable`` is
        a sentence saying why nothing of it can be fetched here: every URL ends with it.

        Raises:
            SettingError: a network of the policy cannot be read, or its digest needs a missing package.
        """
        start_hash = None if unable or policy.digest is Digest.NONE else starter(policy.digest)
        with self._lock:  # so that no lane is closed between being chosen and getting work
            lanes = [] if unable else self._lanes_for(_Reach.of(policy))
            run = Run(
                entries,
                policy,
                queued=queued,
                worker=worker,
                store=FolderStore(self._folder, layout=policy.layout, sync=policy.sync),
                clock=self._clock,
                submit=self._executor.submit,
                may_publish=may_publish,
                start_hash=start_hash,
                credentials=credentials,
                backlog=self._backlog,
                wake=wake,
            )
            if unable:
                run.end_all(unable)
            else:
                run.launch(lanes)
        return run

    def trouble(self) -> str | None:
        """Return a sentence saying why no work should be taken now; None: all is well."""
        return self._folder.trouble()

    def close(self) -> None:
        """End every lane, give up transfers in flight, remove temporary files."""
        with self._lock:
            lanes = [lane for group in self._lanes.values() for lane in group]
            self._lanes.clear()
        for lane in lanes:
            lane.close()
        self._resolver.close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._folder.close()

    def _lanes_for(self, reach: _Reach) -> list[Lane]:
        lanes = self._lanes.pop(reach, None)
        if lanes is None:
            addresses = AddressPolicy(
                allow=parse_networks(reach.allow_nets, setting="TRAWL_ALLOW_NETS"),
                deny=parse_networks(reach.deny_nets, setting="TRAWL_DENY_NETS"),
                worker_deny=self._worker_deny,
                own=self._own,
            )
            self._retire_lanes()
            lanes = [self._lane(reach, addresses) for _ in range(self.settings.lanes)]
        self._lanes[reach] = lanes  # the most recently used is last
        return lanes

    def _retire_lanes(self) -> None:
        """Close idle lanes of earlier jobs: each holds a thread and connections."""
        for reach, lanes in list(self._lanes.items()):
            if len(self._lanes) >= _REACHES and all(lane.is_idle for lane in lanes):
                for lane in self._lanes.pop(reach):
                    lane.close()

    def _egress_through(self, proxy: EgressProxy | None, look_up: Callable[[str], tuple[str, ...]]) -> Egress | None:
        """Return the egress proxy for all connections; None: connections are direct."""
        if proxy is None:
            return None
        return Egress(
            scheme=proxy.scheme,
            host=proxy.host,
            port=proxy.port,
            login=proxy.login,
            ca_file=self._ca_file,
            resolver=self._resolver,
            look_up=look_up,
        )

    def _lane(self, reach: _Reach, addresses: AddressPolicy) -> Lane:
        window = max(1, self.settings.transfers // self.settings.lanes)
        kept, most_quiet = _beside(window, self._descriptors // self.settings.lanes)
        http: CurlHttp[Exchange] = CurlHttp(
            addresses=addresses,
            window=window,
            kept=kept,
            ca_file=self._ca_file,
            ipv4_only=reach.ipv4_only,
            http3=reach.http3 and self._egress is None,  # these proxies carry no UDP
            egress=self._egress,
        )
        lane = Lane(
            http=http,
            resolver=self._resolver,
            clock=self._clock,
            random=random.random,
            window=window,
            most_quiet=most_quiet,
            hosts=self.hosts,
        )
        self._executor.submit(lane.drive)
        return lane


def _beside(window: int, descriptors: int) -> tuple[int, int]:
    """Return how many connections a lane may keep for its window, and how many quiet transfers it may have: four
    windows, or what descriptors allow; none with a window of one, so that no transfers overlap.
    """
    left = descriptors - window  # one file each
    quiet = (
        max(0, min(QUIET_WINDOWS * window, (left - window) // 2)) if window > 1 else 0
    )  # a connection and a file each
    return min(max(_KEPT, 2 * window), max(left - 2 * quiet, 1)), quiet


def share_descriptors(transfers: int, processes: int) -> str:
    """Raise the limit of open files for this many transfers in each process; return a sentence if it stays too low.

    Raises:
        SettingError: it is too low for any transfer.
    """
    descriptors = raise_limit()
    said = shortage(transfers, descriptors, processes)
    if not allowed_transfers(transfers, descriptors, processes):
        raise SettingError(said)
    return said


def check_output(settings: WorkerSettings) -> None:
    """Check that bodies can be stored, now or once a full disk has space again.

    Raises:
        SettingError: they cannot.
    """
    try:
        OutputFolder(settings.output, min_free=settings.min_free).close()
    except FolderError as error:
        if not is_passing(error):
            raise SettingError(f"TRAWL_OUTPUT: {error}") from None


def output_trouble(settings: WorkerSettings) -> str | None:
    """Return a sentence saying why bodies cannot be stored, as far as it can be seen without a downloader; or None."""
    return trouble_at(settings.output, settings.min_free)
