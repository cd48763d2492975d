"""The producer's client of a cluster: broker, ledger and workers; and how calls are retried during an outage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import kombu.exceptions
import redis
import redis.exceptions

from contract.cluster import broker
from contract.cluster.dispatch import queue_depth, send_batches
from contract.cluster.service_urls import redacted
from contract.cluster.settings import ClusterSettings
from contract.cluster.tls import certificate_trouble
from contract.errors import ServiceError
from contract.ledger.channel import JobChannel
from contract.ledger.health import WorkerHealth
from contract.ledger.keys import SNAPSHOTS
from contract.ledger.ledger import RedisLedger
from contract.ledger.ports import Ledger
from contract.ledger.sweep import Sweeper, sweeper
from contract.outage import Outage
from contract.records.messages import BatchMessage
from producer.cluster.stale_messages import remove_stale_messages

Answer = TypeVar("Answer")

UNREACHABLE = (*broker.UNREACHABLE, redis.exceptions.BusyLoadingError, kombu.exceptions.OperationalError)

_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0  # seconds between two attempts while a service is unreachable
_REPORTED_EVERY = 30.0  # seconds between two lines about the same outage


class RedisFullError(Exception):
    """Redis is out of memory, until followers collect what it holds."""


class Retrying:
    """Repeats calls that fail because the broker or Redis is unreachable, and reports each outage.

    ``echo`` prints one line. ``stop`` is called between two attempts and may raise to give up.
    """

    def __init__(
        self,
        echo: Callable[[str], None],
        *,
        stop: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.echo = echo
        self._stop = stop
        self._clock = clock
        self._sleep = sleep

    def call(self, attempt: Callable[[], Answer], *, even_when_full: bool = True) -> Answer:
        """Call ``attempt`` until it succeeds, and return its result; it must be safe to repeat.

        Raises:
            RedisFullError: Redis is out of memory, and ``even_when_full`` is False.
        """
        wait, outage = _FIRST_WAIT, Outage(repeat=_REPORTED_EVERY, clock=self._clock)
        while True:
            try:
                answer = attempt()
            except UNREACHABLE as error:
                if not even_when_full and _is_out_of_memory(error):
                    raise RedisFullError from None
                if outage.begin():
                    self.echo(f"{explain(error)} Waiting for it; nothing is lost.")
                self._stop()
                self._sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT)
            else:
                if (lasted := outage.end()) is not None:
                    self.echo(f"The connection is back after {lasted:.0f} s.")
                return answer


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Is Redis out of memory? kombu wraps what redis-py raises."""
    while error is not None:
        if isinstance(error, redis.exceptions.OutOfMemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False


def explain(error: BaseException) -> str:
    """Return the cause of an outage in one sentence, without credentials."""
    if _is_out_of_memory(error):
        return "Redis is out of memory."
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return "Redis is loading its data."
    if isinstance(error, broker.RedisDiskError):
        return "Redis cannot write to its disk: it is full or failing."
    if isinstance(error, redis.exceptions.ReadOnlyError):
        return "Redis is currently a read-only replica."
    return "The broker or Redis cannot be reached."


class Services(Protocol):
    """The part of a cluster that a job uses."""

    @property
    def ledger(self) -> Ledger: ...

    def send(self, messages: Sequence[BatchMessage], about: Sequence[str] = ()) -> None:
        """Send messages; Flower shows ``about``, which has a text for each. Safe to repeat."""
        ...

    def sweep(self, holder: str) -> None:
        """Put lost batches back in line and send missing messages, unless that was done a moment ago."""
        ...

    def channel(self, job: str, on_snapshot: Callable[[bytes], None] | None = None) -> JobChannel:
        """Return a channel that announces closed batches of this job; the caller closes it.

        ``on_snapshot`` is called with each progress snapshot, for ``ProgressSnapshot.from_wire``.
        """
        ...


@dataclass(frozen=True, slots=True)
class HeardWorker:
    """A worker name with a heartbeat: our clock is ``skew`` seconds ahead; several ``pids`` are several workers."""

    skew: float
    pids: frozenset[int]


class Cluster:
    """A connection to one broker and one Redis. Nothing is connected before it is needed."""

    def __init__(self, settings: ClusterSettings, *, timeout: float = 10.0) -> None:
        """Connect on first use; ``timeout`` is the seconds that one reply of Redis may take."""
        self.settings = settings
        self.redis = broker.connect(settings, timeout=timeout)
        queue = broker.queue_lists(settings)
        self.ledger = RedisLedger(
            self.redis, prefix=settings.prefix, lease=settings.lease, keep=settings.keep, queue=queue
        )
        self.health = WorkerHealth(self.redis, prefix=settings.prefix)
        self._app = broker.build_app(settings)
        self._sweeper: Sweeper | None = None

    def check(self, within: float = 5.0) -> None:
        """Make sure that broker and Redis answer; one that is loading or drops connections gets ``within`` seconds.

        Raises:
            ServiceError: one does not answer; the sentence says which, and what to do.
        """
        until = time.monotonic() + within
        while True:
            try:
                self._check_redis(within)
                if self.settings.broker_url != self.settings.result_backend:
                    self._check_broker()
                return
            except ServiceError as error:
                if not _is_passing(error.__context__) or time.monotonic() > until:
                    raise
                time.sleep(_FIRST_WAIT)

    def _check_redis(self, within: float) -> None:
        shown = redacted(self.settings.result_backend)
        impatient = _without_retries(broker.connect(self.settings, timeout=within))
        try:
            cast("Any", impatient.ping)()
        except redis.exceptions.AuthenticationError:
            raise ServiceError(f"Redis at {shown} refuses the password: check TRAWL_BROKER_URL.") from None
        except redis.exceptions.ResponseError as error:
            raise ServiceError(f"Redis at {shown} answers with an error: {str(error)[:80]}.") from None
        except (redis.exceptions.RedisError, OSError, ValueError) as error:
            raise _unreachable(f"Redis at {shown}", error) from None
        finally:
            impatient.close()

    def _check_broker(self) -> None:
        shown = redacted(self.settings.broker_url)
        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=1, timeout=5)
                self._app.amqp.queues[self.settings.queue](connection.default_channel).declare()
        except kombu.exceptions.ChannelError:
            raise ServiceError(
                f"The queue {self.settings.queue} at {shown} is of another type:"
                " set TRAWL_QUEUE_TYPE to the type it has, on all machines, or TRAWL_QUEUE to an unused name."
            ) from None
        except (KeyError, ImportError):
            raise ServiceError(
                f"Celery knows no broker like {shown}: write, for example, redis://host:6379/0."
            ) from None
        except Exception as error:  # every transport raises its own
            raise _unreachable(f"The broker at {shown}", error) from None

    def send(self, messages: Sequence[BatchMessage], about: Sequence[str] = ()) -> None:
        if not broker.queue_lists(self.settings):
            messages = self._missing_of(messages)
        send_batches(self._app, messages, about=about)

    def _missing_of(self, messages: Sequence[BatchMessage]) -> Sequence[BatchMessage]:
        """Return as many of these messages as are missing from a queue that the ledger cannot count itself."""
        waiting, depth = self.ledger.count_waiting(), queue_depth(self._app, self.settings.queue)
        return messages if depth is None else messages[: max(0, waiting - depth)]

    def sweep(self, holder: str) -> None:
        if self._sweeper is None:
            self._sweeper = sweeper(self.ledger, self._app, queue=self.settings.queue, holder=holder)
        self._sweeper.sweep()

    def channel(self, job: str, on_snapshot: Callable[[bytes], None] | None = None) -> JobChannel:
        client = _without_retries(broker.connect(self.settings))
        editions = (self.ledger.keys, self.ledger.earlier)  # the job's edition may not be known yet
        channels = [keys.job(job) for keys in editions]
        if on_snapshot is None:
            return JobChannel(client, channels)
        return JobChannel(client, channels, beside=[keys.job(job, SNAPSHOTS) for keys in editions], pass_on=on_snapshot)

    def remove_stale_messages(self) -> int:
        """Remove the messages of finished and unknown jobs, if the broker is the ledger's Redis; return their number.

        Raises:
            ServiceError: Redis does not allow it.
            redis.exceptions.RedisError: Redis is unreachable.
        """
        lists = broker.queue_lists(self.settings)
        if not lists:
            return 0

        def is_over(job: str) -> bool:
            record = self.ledger.job(job)
            return record is None or record.is_finished

        try:
            return remove_stale_messages(self.redis, lists, prefix=self.settings.prefix, is_over=is_over)
        except redis.exceptions.NoPermissionError:
            raise ServiceError(
                "This Redis user may not look through the queue: allow LRANGE, LREM and HSCAN,"
                " as deploy/redis/users.acl does."
            ) from None

    def redis_info(self) -> dict[str, Any]:
        """Return Redis's reply to INFO."""
        return dict(self.redis.info())

    def listen_to_workers(self, duration: float) -> dict[str, HeardWorker]:
        """Return the workers whose heartbeat comes within ``duration`` seconds, by name."""
        workers: dict[str, HeardWorker] = {}

        def take(event: dict[str, Any]) -> None:
            if "timestamp" in event:
                name, skew = str(event.get("hostname", "?")), time.time() - float(event["timestamp"])
                known = workers[name].pids if name in workers else frozenset()
                workers[name] = HeardWorker(skew, known | {int(event.get("pid", 0))})

        until = time.monotonic() + duration
        with self._app.connection_for_read() as connection:
            receiver = self._app.events.Receiver(connection, handlers={"worker-heartbeat": take})
            with receiver.consumer_context() as (drained, _, _):
                while (left := until - time.monotonic()) > 0:
                    try:
                        drained.drain_events(timeout=left)
                    except TimeoutError:
                        break
        return workers

    def close(self) -> None:
        self._app.close()
        self.redis.close()


def _without_retries(client: redis.Redis) -> redis.Redis:
    client.connection_pool.connection_kwargs["retry"] = None
    return client


def _unreachable(what: str, error: BaseException) -> ServiceError:
    if trouble := certificate_trouble(error):
        return ServiceError(f"{what} is not trusted: {trouble}. Set TRAWL_REDIS_CA_FILE to the authorities to trust.")
    return ServiceError(f"{what} cannot be reached ({_reason(error)}): is it running?")


def _is_passing(error: BaseException | None) -> bool:
    """Did a server drop the connection, or is Redis loading? If nothing listens, the address is probably wrong."""
    if error is None:
        return False
    if isinstance(error, redis.exceptions.BusyLoadingError):
        return True
    cause = _cause(error)
    is_cut = isinstance(cause, redis.exceptions.ConnectionError) and "closed" in str(cause).lower()
    return is_cut or isinstance(cause, ConnectionResetError | BrokenPipeError | EOFError)


def _cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None or error.__context__ is not None:
        error = error.__cause__ or cast("BaseException", error.__context__)
    return error


def _reason(error: BaseException) -> str:
    """Name the cause without quoting an address or a password."""
    cause = _cause(error)
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror.lower()
    return type(cause).__name__
