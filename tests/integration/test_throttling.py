"""Real workers and a server that throttles some of its URLs whenever they are asked for."""

from __future__ import annotations

from dataclasses import replace

from contract.records.outcomes import Ending
from tests.support.cluster import POLICY, Cluster
from tests.support.misbehaving import MisbehavingServer


def test_urls_that_are_always_throttled_fail_alone(cluster: Cluster, server: MisbehavingServer) -> None:
    """They had ended the others of their host as host-blocked, with a status that those never got."""
    bad = [server.url(f"/status?code=429&retry=1&page={page}") for page in range(12)]
    urls = [server.url(f"/good?seed={seed}&size=500") for seed in range(120)]
    for number, url in enumerate(bad):
        urls.insert(11 * number, url)
    policy = replace(POLICY, attempts=2, host_patience=15.0)

    with cluster.worker(concurrency=2):
        cluster.enqueue("job", urls[:66], urls[66:], policy=policy)
        reports = cluster.reports("job")

    outcomes = {outcome.url: outcome for report in reports for outcome in report.outcomes}
    assert {url: outcome.ending for url, outcome in outcomes.items()} == {
        url: Ending.FAILED if url in bad else Ending.OK for url in urls
    }
    assert {(outcomes[url].error, outcomes[url].http_status, len(outcomes[url].attempts)) for url in bad} == {
        ("http-4xx", 429, 2)
    }
