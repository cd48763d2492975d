"""Reads the metrics of a worker or of the exporter, as Prometheus does."""

from __future__ import annotations

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import await_condition

#: Samples by name and by the values of their labels, in the order of the labels' names.
Numbers = dict[tuple[str, tuple[str, ...]], float]


def scrape(port: int) -> Numbers:
    """Return every sample by its name and the values of its labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        text = answer.read().decode()
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def await_batches(port: int, count: int) -> Numbers:
    """Return the numbers once so many batches are in them: they are counted right after their report is stored."""
    await_condition(
        lambda: scrape(port).get(("trawl_batches_total", ())) == count,
        within=10,
        what=f"{count} batches in the metrics",
    )
    return scrape(port)  # once more: the files of the one before were read one after the other
