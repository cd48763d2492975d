"""Raises the limit of open files, and computes how many transfers it allows."""

from __future__ import annotations

import resource
import sys

_ENOUGH = 65_536
_MAC_OS = 10_240  # <sys/syslimits.h>, OPEN_MAX: the actual limit where macOS reports none

# Counted in /proc/PID/fd of workers with 1 to 8 processes: code, logs, Redis, and pipes to and from each process.
_OWN, _PER_PROCESS = 24, 6
_SPARE = 34  # for name lookups, syncing folders, reconnecting to Redis

# The embedded server keeps 32 for itself (valkey server.h, CONFIG_MIN_RESERVED_FDS); the rest is for its clients.
_SERVERS_OWN, _CLIENTS, _CLIENTS_PER_PROCESS = 32, 16, 4

_PER_TRANSFER = 3  # a connection, another tried beside it (RFC 8305) or kept idle, and the body's file


def attainable_limit() -> int:
    """Return how many descriptors a worker of this user can have: it raises its soft limit to the hard one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY in (soft, hard):
        return _ENOUGH if sys.platform != "darwin" else _MAC_OS
    return max(soft, min(hard, _ENOUGH))


def raise_limit() -> int:
    """Raise this process's soft limit to what is attainable, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = attainable_limit()
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def left_for_transfers(descriptors: int, processes: int) -> int:
    """Return how many descriptors each of a worker's ``processes`` has for connections and bodies."""
    left = descriptors - _OWN - _PER_PROCESS * processes
    return max(0, left - min(_SPARE, left // 3))


def allowed_transfers(wanted: int, descriptors: int, processes: int) -> int:
    """Return how many transfers each process may have in flight; 0: the worker cannot run."""
    if descriptors < _SERVERS_OWN + _CLIENTS + _CLIENTS_PER_PROCESS * processes:
        return 0
    return min(wanted, left_for_transfers(descriptors, processes) // _PER_TRANSFER)


def shortage(wanted: int, descriptors: int, processes: int) -> str:
    """Return a sentence if descriptors allow fewer transfers than wanted; else empty."""
    allowed = allowed_transfers(wanted, descriptors, processes)
    if allowed == 0:
        workers = f"{processes} worker process{'es' if processes > 1 else ''}"
        return f"{descriptors} descriptors are too few for {workers}: raise `ulimit -n`."
    if allowed < wanted:
        return (
            f"{descriptors} descriptors allow {allowed} transfers at once per process, not {wanted}: raise `ulimit -n`."
        )
    return ""
