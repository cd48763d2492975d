"""What one process fetches with: executor, disk, resolver and lanes."""

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
from worker.engine.digests import starter
from worker.engine.exchange import Exchange
from worker.engine.hosts import Hosts
from worker.engine.lane import Lane
from worker.engine.ports import Clock
from worker.engine.run import Run
from worker.engine.safety import AddressPolicy
from worker.engine.schedule import QUIET_WINDOWS
from worker.settings import EgressProxy, WorkerSettings

_REACHES = 4  # kinds of jobs whose lanes are kept; more only while all of them have work
_BLOCKING_THREADS = 8 + MOST_THREADS  # for disk and digests, and for names, beside the lanes' own
_KEPT = 256  # connections of a lane, at least, where descriptors allow them


@dataclass(frozen=True, slots=True)
class _Reach:
    """What a lane's connections may go to and how; jobs that differ here share no lane, so no connection."""

    allow_nets: tuple[str, ...]
    deny_nets: tuple[str, ...]
    ipv4_only: bool
    http3: bool

    @classmethod
    def of(cls, policy: JobPolicy) -> _Reach:
        return cls(policy.allow_nets, policy.deny_nets, policy.ipv4_only, policy.http3)


class Downloader:
    """What one process fetches with; every run of the process shares it."""

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
        """``ca_file`` holds the certificates to trust, else those of the settings or the system; ``own`` holds address
        and port of our own services, to which nothing may connect; ``look_up``, where one is given, finds the addresses
        of a name in place of name servers and system, which else is asked for all names unless ``asks_name_servers``;
        ``clock`` is the system's unless one is given; ``processes`` is how many of this worker share its descriptors.

        Raises:
            SettingError, FolderError: the settings or the output folder cannot be used.
        """
        descriptors = attainable_limit()  # the worker has raised it before its first batch
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
        self._egress = self._way_out(proxy, look_up or look_up_addresses)
        self.hosts = Hosts(random.random)
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
    ) -> Run:
        """Begin to fetch a batch and return at once.

        ``queued`` is when the batch was enqueued (Unix seconds); ``may_publish`` is asked, on another thread, right
        before files get their names; ``wake`` is called when there is room for another batch, and at the end.

        Raises:
            SettingError: a network of the policy cannot be read, or its digest needs a missing package.
        """
        start_hash = None if policy.digest is Digest.NONE else starter(policy.digest)
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
            roomy=self.settings.room - 1,
            wake=wake,
        )
        with self._lock:  # no lane is retired between being chosen and being given work
            run.launch(self._lanes_for(_Reach.of(policy)))
        return run

    def trouble(self) -> str | None:
        """Say in a sentence why no work should be taken now; None: all is well."""
        return self._folder.trouble()

    def close(self) -> None:
        """End every lane, hand back what is in flight, remove temporary files."""
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
        self._lanes[reach] = lanes  # the one used last stands last
        return lanes

    def _retire_lanes(self) -> None:
        """Close the lanes of jobs gone by: each holds a thread and connections."""
        for reach, lanes in list(self._lanes.items()):
            if len(self._lanes) >= _REACHES and all(lane.is_idle for lane in lanes):
                for lane in self._lanes.pop(reach):
                    lane.close()

    def _way_out(self, proxy: EgressProxy | None, look_up: Callable[[str], tuple[str, ...]]) -> Egress | None:
        """Return the proxy that every connection goes through; None: connections go straight to the servers."""
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
            http3=reach.http3 and self._egress is None,  # a proxy of these carries no UDP
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
        self._executor.submit(lane.run)
        return lane


def _beside(window: int, descriptors: int) -> tuple[int, int]:
    """Return how many connections a lane may have for its window, those it keeps among them, and how many transfers
    may be in flight without a slot: four windows, or what descriptors allow.

    One transfer at a time is what somebody asks for who wants no two to overlap.
    """
    left = descriptors - window  # each has a file
    quiet = max(0, min(QUIET_WINDOWS * window, (left - window) // 2)) if window > 1 else 0  # connection and file each
    return min(max(_KEPT, 2 * window), max(left - 2 * quiet, 1)), quiet


def share_descriptors(transfers: int, processes: int) -> str:
    """Raise the limit of open files for so many transfers in each process; say in a sentence if it stays too low.

    Raises:
        SettingError: with so few no transfer is possible.
    """
    descriptors = raise_limit()
    said = shortage(transfers, descriptors, processes)
    if not allowed_transfers(transfers, descriptors, processes):
        raise SettingError(said)
    return said


def check_output(settings: WorkerSettings) -> None:
    """Make sure that bodies can be stored, now or when a disk that is full has space again.

    Raises:
        SettingError: they cannot.
    """
    try:
        OutputFolder(settings.output, min_free=settings.min_free).close()
    except FolderError as error:
        if not is_passing(error):
            raise SettingError(f"TRAWL_OUTPUT: {error}") from None


def output_trouble(settings: WorkerSettings) -> str | None:
    """Say in a sentence what keeps bodies from being stored, as far as that can be seen without a downloader."""
    return trouble_at(settings.output, settings.min_free)
