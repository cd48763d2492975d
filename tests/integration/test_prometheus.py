"""Alerts and dashboard as Prometheus reads them: valid, tested, and with data for every expression after a job."""

from __future__ import annotations

import json
import math
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.architecture.project import ROOT
from tests.support.celery_worker import CeleryWorker
from tests.support.cluster import POLICY, Cluster
from tests.support.misbehaving import MisbehavingServer
from tests.support.person import Person
from tests.support.processes import await_condition, free_port
from tests.support.prometheus import Prometheus, needs_prometheus, needs_promtool, promtool, selectors
from tests.support.redis_server import RedisServer

FOLDER = ROOT / "deploy/prometheus"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
RULES = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))["groups"] for rule in group["rules"]
]


def expressions() -> list[str]:
    """Return those of the dashboard, with the interval that Grafana would choose for a short time."""
    targets = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    return [target["expr"].replace("$__rate_interval", "2m") for target in targets]


@needs_promtool
def test_the_configuration_and_the_alerts_are_valid() -> None:
    assert "SUCCESS" in promtool("check", "config", FOLDER / "prometheus.yml")


@needs_promtool
def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", FOLDER / "alerts_test.yml")


def test_every_alert_has_a_test_an_action_and_a_section_in_operations() -> None:
    tested = yaml.safe_load((FOLDER / "alerts_test.yml").read_text("utf-8"))["tests"]
    fired = {case["alertname"] for test in tested for case in test["alert_rule_test"] if case["exp_alerts"]}
    quiet = {case["alertname"] for test in tested for case in test["alert_rule_test"] if not case["exp_alerts"]}
    page = (ROOT / "docs/operations.md").read_text("utf-8")

    for rule in RULES:
        assert rule["alert"] in fired & quiet, "fires, and does not"
        assert rule["annotations"].keys() == {"summary", "do"}
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert f"| `{rule['alert']}` |" in page


def test_grafana_keeps_every_field_of_the_dashboard() -> None:
    """Guards names of fields: Grafana drops unknown ones, and a panel stays empty."""
    from grafana_foundation_sdk.cog import plugins
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models import dashboard

    plugins.register_default_plugins()
    parsed = json.loads(JSONEncoder().encode(dashboard.Dashboard.from_json(DASHBOARD)))

    left_out = [path for path in lost(DASHBOARD, parsed) if not path.startswith("annotations/")]
    assert left_out == []
    assert len(parsed["panels"]) == len(DASHBOARD["panels"])


def lost(written: Any, parsed: Any, path: str = "") -> Iterator[str]:
    if isinstance(written, dict) and isinstance(parsed, dict):
        for key, value in written.items():
            yield from lost(value, parsed.get(key), f"{path}{key}/")
    elif isinstance(written, list) and isinstance(parsed, list):
        for number, (one, other) in enumerate(zip(written, parsed, strict=True)):
            yield from lost(one, other, f"{path}{number}/")
    elif written != parsed:
        yield path


@needs_prometheus
def test_after_a_job_with_failures_every_expression_has_data(tmp_path: Path) -> None:
    worker_port, cluster_port = free_port(), free_port()
    with MisbehavingServer() as server, RedisServer(tmp_path / "redis", maxmemory=64 * 1024**2) as redis:
        cluster = Cluster(redis.celery_url(), tmp_path)
        environment = {**cluster.environment, "TRAWL_METRICS": str(worker_port)}
        rules = FOLDER / "alerts.yml"
        targets = {"trawl-worker": worker_port, "trawl-cluster": cluster_port}
        Person(tmp_path, **cluster.environment).start("metrics", "--listen", cluster_port)
        with (
            CeleryWorker(tmp_path, env=environment),
            Prometheus(tmp_path / "prometheus", targets, rules=rules) as prometheus,
        ):
            # Scraped before the job, or the first batch would be no increase.
            await_condition(lambda: prometheus.values("up") == [1.0, 1.0], within=60, what="both targets up")
            good = [server.url(f"/good?seed={seed}&size=3000") for seed in range(40)]
            bad = [server.url(f"/status?code={code}&n={code}") for code in (404, 410, 500)]
            cluster.enqueue("job", good[:20] + bad, [*good[20:], "http://10.1.2.3/"], policy=POLICY)
            cluster.reports("job")
            await_condition(
                lambda: prometheus.values("sum(increase(trawl_batches_total[2m])) > 1"), within=30, what="a scrape"
            )
            await_condition(
                lambda: prometheus.values("trawl_last_claim_timestamp_seconds > 0"), within=30, what="the other's"
            )
            without = [each for each in expressions() if not has_data(prometheus, each)]
            read = sorted({each for rule in RULES for each in selectors(rule["expr"])})
            unread = [each for each in read if not prometheus.values(each)]
            health = prometheus.ask("rules")["groups"]
            shown = [text_of(port) for port in (worker_port, cluster_port)]

    assert len(expressions()) > 30
    assert without == []
    assert unread == []
    assert {rule["health"] for group in health for rule in group["rules"]} == {"ok"}
    for text in shown:
        promtool("check", "metrics", stdin=text)


def has_data(prometheus: Prometheus, expression: str) -> bool:
    values = prometheus.values(expression)
    return bool(values) and not all(math.isnan(value) for value in values)


def text_of(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        return str(answer.read().decode())
