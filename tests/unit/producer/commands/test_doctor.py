"""What the doctor reports of a Redis, from what Redis reports of itself."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from contract.ledger.overview import Overview
from producer.cluster.client import Cluster, HeardWorker
from producer.commands import doctor
from producer.commands.doctor import Finding, Verdict, examine
from producer.wiring import Producer
from tests.support.statuses import HOSTILE

IDLE = Overview(
    claimable=0, held=2, deferred=0, parked=0, paused=0, undrained=0, jobs=1, active_jobs=1, paused_jobs=0,
    oldest_wait=0.0, last_claim=900.0, paused_hosts=0,
)  # fmt: skip

HEALTHY: dict[str, Any] = {
    "valkey_version": "9.1.2", "redis_version": "7.2.4", "aof_enabled": 1, "aof_last_write_status": "ok",
    "maxmemory_policy": "noeviction", "maxmemory": 0, "used_memory": 1_000_000,
}  # fmt: skip


@pytest.mark.parametrize(
    ("check", "changes", "verdict", "said"),
    [
        (doctor._version, {}, Verdict.FINE, "Valkey 9.1.2"),
        (doctor._version, {"valkey_version": None, "redis_version": "5.0.7"}, Verdict.BROKEN, "6.2 or newer"),
        (doctor._version, {"valkey_version": None, "redis_version": "6.2.14"}, Verdict.FINE, "Redis 6.2.14"),
        (doctor._persistence, {}, Verdict.FINE, "AOF is on"),
        (doctor._persistence, {"aof_enabled": 0}, Verdict.UNWISE, "appendonly yes"),
        (doctor._persistence, {"aof_last_write_status": "err"}, Verdict.BROKEN, "its disk"),
        (doctor._eviction, {}, Verdict.FINE, "noeviction"),
        (doctor._eviction, {"maxmemory_policy": "allkeys-lru"}, Verdict.UNWISE, "set maxmemory-policy noeviction"),
        (
            doctor._eviction,
            {"maxmemory_policy": "allkeys-lru", "maxmemory": 10**9},
            Verdict.BROKEN,
            "evicts batches and reports",
        ),
        (doctor._memory, {"maxmemory": 2_000_000}, Verdict.FINE, "1.0 MB of 2.0 MB"),
        (doctor._memory, {"maxmemory": 1_200_000}, Verdict.UNWISE, "producers pause"),
    ],
)
def test_redis_is_examined(check: Any, changes: dict[str, Any], verdict: Verdict, said: str) -> None:
    info = {key: value for key, value in (HEALTHY | changes).items() if value is not None}

    finding: Finding = check(info)

    assert finding.verdict is verdict
    assert said in finding.found


def test_workers_of_one_name_are_reported() -> None:
    class Heard:
        health = SimpleNamespace(troubles=dict)

        def listen_to_workers(self, _duration: float) -> dict[str, HeardWorker]:
            return {"w@a": HeardWorker(0.1, frozenset({7})), "w@b": HeardWorker(0.1, frozenset({7, 8}))}

    findings = [str(each) for each in doctor._workers(cast("Cluster", Heard()))]

    assert [each for each in findings if "are named" in each] == [
        "warn  workers:            2 are named w@b and shown as one: name each with -n, e.g. -n disk1@%h."
    ]


@pytest.mark.parametrize(
    ("changes", "verdict", "said"),
    [
        ({}, Verdict.FINE, "none waits for a worker, 2 are with workers."),
        (
            {"claimable": 4, "oldest_wait": 300.0, "last_claim": 990.0},
            Verdict.FINE,
            "4 wait for a worker, the first for 5:00",
        ),
        ({"claimable": 4, "oldest_wait": 50.0, "last_claim": 0.0}, Verdict.FINE, "4 wait for a worker"),
        ({"claimable": 4, "oldest_wait": 300.0, "last_claim": 900.0}, Verdict.UNWISE, "for 1:40 none was claimed"),
        ({"claimable": 4, "oldest_wait": 300.0, "last_claim": None}, Verdict.UNWISE, "TRAWL_QUEUE"),
    ],
)
def test_waiting_batches_without_claims_are_reported(changes: dict[str, Any], verdict: Verdict, said: str) -> None:
    """A worker that claims nothing without knowing why is noticed because waiting batches do not decrease."""
    finding = doctor.waiting(replace(IDLE, **changes), 1000.0)

    assert finding.verdict is verdict
    assert said in finding.found


def test_a_machine_without_a_cluster_is_examined_line_by_line(tmp_path: Path) -> None:
    findings = list(examine(tmp_path / "not" / "there", Producer({"REDIS_SERVER": "/no/such/server"})))

    assert [finding.subject for finding in findings] == ["embedded server", "libcurl", "disk", "open files", "resolver"]
    assert findings[0].verdict is Verdict.BROKEN
    assert "REDIS_SERVER" in findings[0].found
    assert all("\n" not in str(finding) for finding in findings)


def test_an_ignored_proxy_is_a_warning(tmp_path: Path) -> None:
    environment = {"REDIS_SERVER": "/no/such/server", "https_proxy": "http://proxy:3128"}

    finding = next(each for each in examine(tmp_path, Producer(environment)) if each.subject == "proxy")

    assert finding.verdict is Verdict.UNWISE
    assert "TRAWL_EGRESS_PROXY" in finding.found


@pytest.mark.parametrize("name", ["file", "link", "file/below"])
def test_an_output_folder_that_is_not_a_folder_is_a_failure(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")

    finding = doctor._space(tmp_path / name)

    assert finding.verdict is Verdict.BROKEN
    assert "is not a folder" in finding.found


def test_a_cluster_that_does_not_answer_is_a_failure(tmp_path: Path) -> None:
    finding = next(iter(examine(tmp_path, Producer({"TRAWL_BROKER_URL": "redis+socket:///nowhere/at/all.sock"}))))

    assert finding.verdict is Verdict.BROKEN
    assert "cannot be reached" in finding.found


def test_no_workers_name_controls_the_terminal() -> None:
    assert str(Finding(Verdict.FINE, "workers", HOSTILE)).isprintable()
