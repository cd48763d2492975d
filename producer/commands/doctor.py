"""``trawl doctor``: checks what a job depends on; each finding is a line that says what to do."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from contract.cluster.service_urls import redacted
from contract.cluster.variables import ignored_proxies
from contract.errors import TrawlError
from contract.ledger.memory import FULL_ABOVE, RedisMemory
from contract.ledger.overview import Overview, look
from contract.named_files import in_words
from contract.open_files import attainable_limit, shortage
from producer.cluster.client import Cluster
from producer.formatting import command, count, duration, hanging, seconds, size
from producer.wiring import Producer

SETTINGS = "settings"  #: subject of the finding that a setting cannot be used

OLDEST_REDIS = (6, 2)  # what Celery 5.7 needs

_TRANSFERS = 128  # per process, where nothing else is set
_ENOUGH_SPACE = 1024**3  # bytes
_GREATEST_SKEW = 2.0  # seconds
_LONG_UNCLAIMED = 60.0  # seconds after which waiting batches are suspicious: workers claim every few seconds
_LISTEN = 2.6  # seconds; workers send a heartbeat every two
_RESOLVE_WITHIN = 3.0  # seconds
_WELL_KNOWN = "example.com"


class Verdict(StrEnum):
    """How serious a finding is."""

    FINE = "ok"  #: as it should be
    UNWISE = "warn"  #: works, but is risky
    BROKEN = "FAIL"  #: jobs will not work, or may lose something


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: the subject, what was found, and what to do."""

    verdict: Verdict
    subject: str
    found: str

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, width: int | None = None) -> str:
        """Return it as one line, or as lines of at most ``width`` columns."""
        return hanging(f"{self.verdict:<4}  {self.subject + ':':<20}", self.found, width)


def examine(output: Path, producer: Producer) -> Iterator[Finding]:
    """Yield findings one by one, as they are made."""
    if producer.is_configured:
        yield from _examine_cluster(producer)
    else:
        yield _embedded_server(producer.environment)
    if hint := ignored_proxies(producer.environment):
        yield Finding(Verdict.UNWISE, "proxy", hint)
    yield _libcurl()
    yield _space(output)
    yield _files()
    yield _resolver()


# ---------------------------------------------------------------------- the cluster


def _examine_cluster(producer: Producer) -> Iterator[Finding]:
    try:
        cluster = producer.open()
    except TrawlError as error:
        yield Finding(Verdict.BROKEN, SETTINGS, str(error))
        return
    with closing(cluster):
        try:
            cluster.check()
        except TrawlError as error:
            yield Finding(Verdict.BROKEN, "services", str(error))
            return
        yield Finding(Verdict.FINE, "broker", f"{redacted(cluster.settings.broker_url)} answers.")
        info = cluster.redis_info()
        yield _version(info)
        yield _persistence(info)
        yield _eviction(info)
        yield _memory(info)
        yield _clock(cluster)
        yield from _workers(cluster)
        yield waiting(look(cluster.ledger), cluster.ledger.now())


def _version(info: Mapping[str, Any]) -> Finding:
    name, text = (
        ("Valkey", info["valkey_version"]) if "valkey_version" in info else ("Redis", info.get("redis_version", "0"))
    )
    numbers = tuple(map(int, re.findall(r"\d+", str(text))[:2]))
    if name == "Redis" and numbers < OLDEST_REDIS:
        return Finding(Verdict.BROKEN, "version", f"{name} {text} is too old for Celery: install 6.2 or newer.")
    return Finding(Verdict.FINE, "version", f"{name} {text}.")


def _persistence(info: Mapping[str, Any]) -> Finding:
    if int(info.get("aof_enabled", 0)):
        if info.get("aof_last_write_status", "ok") != "ok":
            return Finding(Verdict.BROKEN, "persistence", "Redis cannot write its AOF: check its disk.")
        return Finding(Verdict.FINE, "persistence", "AOF is on.")
    return Finding(Verdict.UNWISE, "persistence", "AOF is off: a restarted Redis forgets its jobs. Set appendonly yes.")


def _eviction(info: Mapping[str, Any]) -> Finding:
    memory = RedisMemory.of(info)
    if memory.eviction is None:
        return Finding(Verdict.FINE, "eviction", "noeviction.")
    return Finding(Verdict.BROKEN if memory.most else Verdict.UNWISE, "eviction", memory.eviction)


def _memory(info: Mapping[str, Any]) -> Finding:
    memory = RedisMemory.of(info)
    if not memory.most:
        return Finding(Verdict.FINE, "memory", f"{size(memory.used)} used, no limit set.")
    found = f"{size(memory.used)} of {size(memory.most)} used"
    if memory.is_full:
        return Finding(
            Verdict.UNWISE, "memory", f"{found}: producers pause above {FULL_ABOVE:.0%}. Follow or remove old jobs."
        )
    return Finding(Verdict.FINE, "memory", f"{found}.")


def _clock(cluster: Cluster) -> Finding:
    before = time.time()
    theirs = cluster.ledger.now()
    skew = abs(theirs - (before + time.time()) / 2)
    if skew > _GREATEST_SKEW:
        return Finding(
            Verdict.UNWISE,
            "clock",
            f"differs from Redis's by {seconds(skew)}: times in reports will be wrong. Use NTP.",
        )
    return Finding(Verdict.FINE, "clock", f"differs from Redis's by {seconds(skew)}.")


def waiting(seen: Overview, now: float) -> Finding:
    """Return the finding about waiting batches; ``now`` is the ledger's clock in Unix seconds."""
    if not seen.claimable:
        return Finding(Verdict.FINE, "batches", f"none waits for a worker, {count(seen.held)} are with workers.")
    found = f"{count(seen.claimable)} wait for a worker, the first for {duration(seen.oldest_wait)}"
    unclaimed = now - seen.last_claim if seen.last_claim is not None else seen.oldest_wait
    if min(unclaimed, seen.oldest_wait) <= _LONG_UNCLAIMED:
        return Finding(Verdict.FINE, "batches", f"{found}; {count(seen.held)} are with workers.")
    return Finding(
        Verdict.UNWISE,
        "batches",
        f"{found}, and for {duration(unclaimed)} none was claimed: start workers, or check that those running have the"
        " same TRAWL_QUEUE, TRAWL_PREFIX and broker.",
    )


def _workers(cluster: Cluster) -> Iterator[Finding]:
    heard = cluster.listen_to_workers(_LISTEN)
    if not heard:
        yield Finding(Verdict.UNWISE, "workers", f"none is running: start one with `{command('worker')}`.")
        return
    yield Finding(Verdict.FINE, "workers", f"{count(len(heard))}: {', '.join(sorted(heard)[:5])}.")
    for name in sorted(name for name, worker in heard.items() if len(worker.pids) > 1):
        yield Finding(
            Verdict.UNWISE,
            "workers",
            f"{count(len(heard[name].pids))} are named {name} and shown as one: name each with -n, e.g. -n disk1@%h.",
        )
    for worker, trouble in sorted(cluster.health.troubles().items()):
        verdict = Verdict.UNWISE if trouble.takes_work else Verdict.BROKEN
        yield Finding(verdict, "worker", f"{worker} {trouble}")
    name, worst = max(((name, worker.skew) for name, worker in heard.items()), key=lambda item: abs(item[1]))
    if abs(worst) > _GREATEST_SKEW:
        yield Finding(
            Verdict.UNWISE, "workers' clocks", f"{name} is {seconds(abs(worst))} off: use NTP on every machine."
        )
    else:
        yield Finding(Verdict.FINE, "workers' clocks", f"within {seconds(abs(worst))}.")


# ---------------------------------------------------------------------- this machine


def _embedded_server(environment: Mapping[str, str]) -> Finding:
    from producer.cluster.embedded import find_server

    try:
        return Finding(Verdict.FINE, "embedded server", f"{find_server(environment)[0]}.")
    except TrawlError as error:
        return Finding(Verdict.BROKEN, "embedded server", str(error))


def _libcurl() -> Finding:
    if importlib.util.find_spec("pycurl") is None:
        return Finding(Verdict.UNWISE, "libcurl", "pycurl is not installed: no worker can run on this machine.")
    return Finding(Verdict.FINE, "libcurl", "pycurl is installed.")


def _space(output: Path) -> Finding:
    place = next(path for path in [output.absolute(), *output.absolute().parents] if os.path.lexists(path))
    if not place.is_dir():
        return Finding(Verdict.BROKEN, "disk", f"{place} is not a folder: choose another with -o.")
    try:
        usage = shutil.disk_usage(place)
    except OSError as error:
        return Finding(Verdict.BROKEN, "disk", f"{place} cannot be read: {in_words(error)}.")
    if not os.access(place, os.W_OK):
        return Finding(Verdict.BROKEN, "disk", f"{place} cannot be written to: choose another folder with -o.")
    inodes = os.statvfs(place)
    if inodes.f_files and inodes.f_favail < 10_000:
        return Finding(Verdict.UNWISE, "disk", f"only {count(inodes.f_favail)} more files fit on the disk of {place}.")
    if usage.free < _ENOUGH_SPACE:
        return Finding(Verdict.UNWISE, "disk", f"only {size(usage.free)} are free at {place}.")
    return Finding(Verdict.FINE, "disk", f"{size(usage.free)} free at {place}.")


def _files() -> Finding:
    limit = attainable_limit()
    if said := shortage(_TRANSFERS, limit, os.cpu_count() or 1):
        return Finding(Verdict.UNWISE, "open files", said)
    return Finding(Verdict.FINE, "open files", f"{count(limit)} per process.")


def _resolver() -> Finding:
    answer: list[str | float] = []

    def resolve() -> None:
        begun = time.monotonic()
        try:
            socket.getaddrinfo(_WELL_KNOWN, 443, type=socket.SOCK_STREAM)
            answer.append(time.monotonic() - begun)
        except OSError as error:
            answer.append(str(error.strerror or error))

    thread = threading.Thread(target=resolve, daemon=True)  # nothing can interrupt a resolver that does not answer
    thread.start()
    thread.join(_RESOLVE_WITHIN)
    if not answer:
        return Finding(
            Verdict.UNWISE, "resolver", f"no answer for {_WELL_KNOWN} in {_RESOLVE_WITHIN:g} s: check resolv.conf."
        )
    if isinstance(answer[0], str):
        return Finding(
            Verdict.UNWISE, "resolver", f"cannot resolve {_WELL_KNOWN} ({answer[0]}): check network and resolv.conf."
        )
    return Finding(Verdict.FINE, "resolver", f"{_WELL_KNOWN} in {seconds(answer[0])}.")
