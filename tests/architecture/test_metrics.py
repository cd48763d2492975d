"""docs/metrics.md matches the catalogue of metrics, and all code that exposes a metric takes it from there."""

from __future__ import annotations

import re

import redis

from contract.cluster.settings import ClusterSettings
from contract.ledger.ledger import RedisLedger
from contract.metrics import CATALOGUE, EXPORTER_METRICS, PROCESS_METRICS, WORKER_METRICS, Kind
from tests.architecture.project import PRODUCT, ROOT, document, documents, modules


def test_the_page_has_exactly_the_rows_of_the_catalogue() -> None:
    rows = [line for line in document("docs/metrics.md").splitlines() if line.startswith("| `")]

    assert rows == [metric.row for part in (WORKER_METRICS, EXPORTER_METRICS, PROCESS_METRICS) for metric in part]


def test_the_documents_and_the_files_of_prometheus_name_no_metric_that_does_not_exist() -> None:
    files = [path.read_text("utf-8") for path in (ROOT / "deploy/prometheus").iterdir() if path.is_file()]
    named = set(re.findall(r"\btrawl_[a-z_]+\b", "\n".join([documents(), *files])))
    samples = {metric.name for metric in CATALOGUE}
    for metric in CATALOGUE:
        if metric.kind is Kind.HISTOGRAM:
            samples |= {f"{metric.name}_{part}" for part in ("bucket", "sum", "count")}

    assert named - samples == set()


def test_metric_names_follow_prometheus_conventions() -> None:
    """Prometheus, "Metric and label naming": base units, and _total for counters."""
    for metric in CATALOGUE:
        assert (metric.kind is Kind.COUNTER) == metric.name.endswith("_total"), metric.name
        assert metric.unit in ("", "seconds", "bytes")
        assert metric.unit in metric.name, metric.name
        assert all(len(values) == len(metric.labels) for values in metric.series), metric.name
    assert [each.name for each in CATALOGUE if bool(each.labels) != bool(each.series)] == ["trawl_build_info"], (
        "born at 0"
    )


def test_only_the_catalogue_names_metrics() -> None:
    code = [path for path in modules(*PRODUCT) if str(path) != "contract/metrics.py"]

    assert [str(path) for path in code if re.search(r"[\"']trawl_[a-z_]+[\"']", (ROOT / path).read_text("utf-8"))] == []


def test_the_keys_that_autoscalers_read_are_the_ledgers() -> None:
    keys = RedisLedger(redis.Redis(), prefix=ClusterSettings().prefix).keys

    for file in ("docs/metrics.md", "docs/operations.md", "deploy/kubernetes/autoscaling.yaml"):
        named = set(re.findall(r"\btrawl:[a-z0-9:]*\b(?:sent|active)\b", document(file)))
        assert named == {keys.sent, keys.active}, file
