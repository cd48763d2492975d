"""Kubernetes manifests and the systemd unit: valid, with time to hand off work; the autoscaler may only count."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import redis
import yaml

from contract.ledger.ledger import RedisLedger
from contract.ledger.values import NewBatch
from contract.records.policy import JobPolicy
from tests.support.person import ran
from tests.support.redis_server import RedisServer
from worker.settings import WorkerSettings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
UNIT = DEPLOY / "systemd/trawl-worker@.service"
LONGEST_STOP = WorkerSettings().drain + 15

#: What KEDA asks of a key: pkg/scalers/redis_scaler.go.
_KEDA = """
local listName = KEYS[1]
local listType = redis.call('type', listName).ok
local cmd = {zset = 'zcard', set = 'scard', list = 'llen', hash = 'hlen', none = 'llen'}
return redis.call(cmd[listType], listName)
"""


def objects(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / name).read_text()))


def pods() -> list[dict[str, Any]]:
    found = [each for path in MANIFESTS for each in objects(path.name)]
    return [each["spec"]["template"]["spec"] for each in found if each["kind"] in ("Deployment", "Job")]


@pytest.mark.skipif(shutil.which("kubernetes-validate") is None, reason="kubernetes-validate is not installed")
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_kubernetes_accepts_the_manifests(path: Path) -> None:
    said = ran("kubernetes-validate", "--strict", path)

    assert said.returncode == 0, said.stderr


def test_every_pod_has_few_rights_and_no_service_variables() -> None:
    assert len(pods()) == 3
    for pod in pods():
        assert not pod["enableServiceLinks"]
        assert not pod["automountServiceAccountToken"]
        assert pod["securityContext"]["runAsNonRoot"]
        for container in pod["containers"]:
            rights = container["securityContext"]
            assert (rights["allowPrivilegeEscalation"], rights["readOnlyRootFilesystem"]) == (False, True)
            assert rights["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


def test_a_worker_has_time_to_hand_off_its_work() -> None:
    deployment, budget, _ = objects("worker.yaml")
    stop = re.search(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE)

    assert deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= LONGEST_STOP
    assert stop is not None
    assert int(stop[1]) >= LONGEST_STOP
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/trawlnet/", f"{DEPLOY.parent}/"))

    instance = str(unit.with_name(UNIT.name.replace("@", "@1")))
    said = ran("systemd-analyze", "verify", instance)

    assert (said.returncode, said.stderr) == (0, "")


# -------------------------------------------------------------------------------------------------- the autoscaler


def counted_keys() -> list[str]:
    scaled = objects("autoscaling.yaml")[0]
    return [trigger["metadata"]["listName"] for trigger in scaled["spec"]["triggers"]]


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[redis.Redis]:
    with RedisServer(tmp_path) as server, server.client() as client:
        yield client


def counts(operator: redis.Redis) -> list[int]:
    """Count as KEDA does, as the user that the manifest names."""
    rules = re.search(r"user keda on #<.*?> (.*)", (DEPLOY / "kubernetes/autoscaling.yaml").read_text())
    assert rules is not None
    cast("Any", operator).execute_command("ACL", "SETUSER", "keda", "reset", "on", ">word", *rules[1].split())
    place = operator.get_connection_kwargs()
    with redis.Redis(host=place["host"], port=place["port"], username="keda", password="word") as keda:
        with pytest.raises(redis.exceptions.NoPermissionError):
            keda.hgetall("trawl:2:jobs")
        return [int(keda.eval(_KEDA, 1, key)) for key in counted_keys()]


def test_the_autoscaler_counts_claimable_batches_and_open_jobs(operator: redis.Redis) -> None:
    ledger = RedisLedger(operator)
    assert counted_keys() == [ledger.keys.sent, ledger.keys.active]
    assert counts(operator) == [0, 0]

    ledger.create("a-job", JobPolicy())
    ledger.open("a-job", [NewBatch(str(number), b"", 1) for number in range(3)])
    assert counts(operator) == [3, 1]

    ledger.claim_next(holder="w", waited=0.0)
    assert counts(operator) == [2, 1]
