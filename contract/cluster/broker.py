"""The Celery app that both sides build, and the ledger's Redis connection."""

from __future__ import annotations

from typing import Any

import redis
from celery import Celery
from kombu import Queue
from redis._parsers.base import BaseParser
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from contract.cluster.service_urls import is_redis_url
from contract.cluster.settings import ClusterSettings
from contract.cluster.tls import tls_options, without_tls_options
from contract.cluster.transport import mend_redis_transport
from contract.records.messages import BATCH_TASK


class RedisDiskError(redis.exceptions.ConnectionError):
    """Redis cannot write to its disk (MISCONF) and refuses writes until it can.

    redis-py raises a plain ResponseError, as for a wrong command, and kombu ends the worker ("Unrecoverable error"). We
    treat it as an outage, like a Redis that is loading its data (BusyLoadingError).
    """


BaseParser.EXCEPTION_CLASSES["MISCONF"] = RedisDiskError

#: Redis cannot be reached, is loading, full or read-only: the same call may succeed later.
UNREACHABLE = (
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.OutOfMemoryError,
    redis.exceptions.ReadOnlyError,
)

#: Any failure of Redis: those above, and calls that its ACL forbids.
RedisTrouble = redis.exceptions.RedisError

RESULT_KEY_PREFIX = "celery-task-meta-"  # celery 5.7 backends/base.py, KeyValueStoreBackend.task_keyprefix

#: The priority of messages that Trawlnet sent until 31f4598: they are in a list of their own (kombu 5.7
#: transport/redis.py, Channel._q_for_pri), which is still read. Today's have none: the ledger decides what is next.
_EARLIER_PRIORITY = 5

_VISIBILITY_TIMEOUT = 3600  # seconds; the ledger's leases end long before


def build_app(settings: ClusterSettings) -> Celery:
    """Return the Celery app with the settings that both sides share.

    docs/configuration.md, "Celery settings", gives the reason for each value.
    """
    mend_redis_transport()
    backend = without_tls_options(settings.result_backend)
    app = Celery("trawlnet", broker=without_tls_options(settings.broker_url), backend=backend)
    app.conf.update(_shared_configuration(settings))
    return app


def connect(settings: ClusterSettings, *, timeout: float = 10.0) -> redis.Redis:
    """Return a client of the ledger's Redis; it connects on first use, and replies are bytes.

    ``timeout`` is the seconds that one reply may take. Broken connections are retried for a few seconds, then raise
    ``redis.exceptions.ConnectionError``.
    """
    return redis.Redis.from_url(
        _client_url(without_tls_options(settings.result_backend)),
        socket_timeout=timeout,
        health_check_interval=10,
        # Timeouts are not retried: six of them would keep a stopping worker waiting for a minute.
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), 5, supported_errors=(redis.exceptions.ConnectionError,)),
        **_connect_options(settings.result_backend),
        **tls_options(settings.result_backend, settings.ca_file),
    )


def queue_lists(settings: ClusterSettings) -> tuple[str, ...]:
    """Return the keys of the queue's lists; empty unless the broker is the ledger's Redis."""
    if settings.broker_url != settings.result_backend:
        return ()
    key = settings.prefix + settings.queue
    return key, f"{key}\x06\x16{_EARLIER_PRIORITY}"


def _connect_options(url: str) -> dict[str, Any]:
    if url.startswith("redis+socket:"):
        return {}
    return {"socket_connect_timeout": 5, "socket_keepalive": True}


def _client_url(url: str) -> str:
    """Convert Celery's socket URL (``redis+socket:///path?virtual_host=0``) to redis-py's (``unix:///path?db=0``)."""
    if not url.startswith("redis+socket:"):
        return url
    return "unix:" + url.removeprefix("redis+socket:").replace("virtual_host=", "db=")


def _shared_configuration(settings: ClusterSettings) -> dict[str, Any]:
    redis_options = {
        "visibility_timeout": _VISIBILITY_TIMEOUT,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 30,
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "priority_steps": [0, _EARLIER_PRIORITY],
        "global_keyprefix": settings.prefix,
    }
    broker_options = redis_options if is_redis_url(settings.broker_url) else {}
    # RabbitMQ refuses to declare an existing queue with another type; other brokers ignore the argument.
    arguments = {"x-queue-type": settings.queue_type}
    broker_url = without_tls_options(settings.broker_url)
    return {
        # CELERY_BROKER_URL, which may lack the password, would override broker_url (celery/app/utils.py).
        "broker_read_url": broker_url,
        "broker_write_url": broker_url,
        "broker_use_ssl": tls_options(settings.broker_url, settings.ca_file) or False,
        "redis_backend_use_ssl": tls_options(settings.result_backend, settings.ca_file) or None,
        "task_default_queue": settings.queue,
        "task_queues": [Queue(settings.queue, queue_arguments=arguments)],
        "task_routes": {BATCH_TASK: {"queue": settings.queue}},
        "task_serializer": "json",
        "result_serializer": "json",
        "event_serializer": "json",
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "enable_utc": True,
        "timezone": "UTC",
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "task_acks_on_failure_or_timeout": True,
        "worker_prefetch_multiplier": 1,
        "task_ignore_result": True,  # the ledger stores the report in the same step that closes the batch
        "task_track_started": False,
        "worker_send_task_events": True,
        "task_send_sent_event": False,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_proc_alive_timeout": 30,
        "worker_hijack_root_logger": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_channel_error_retry": True,
        "broker_pool_acquire_timeout": 30,
        "broker_transport_options": {**broker_options, **settings.broker_options},
        "result_backend_always_retry": True,
        "result_backend_transport_options": settings.backend_options,
        "redis_socket_timeout": 10,
        "redis_retry_on_timeout": True,
        "result_expires": int(settings.keep),
        "result_extended": False,
    }
