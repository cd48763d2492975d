"""A worker serves metrics to Prometheus if configured: with every pool, and whatever dies or is taken."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from contract.metrics import PROCESS_METRICS, WORKER_METRICS
from tests.support.celery_worker import PROJECT, READY, CeleryWorker
from tests.support.cluster import Cluster
from tests.support.misbehaving import MisbehavingServer
from tests.support.person import ran
from tests.support.processes import await_condition, begin, free_port, send
from tests.support.scraping import Numbers, await_batches, scrape


@dataclass
class Measured:
    """A cluster whose workers serve metrics on one port, with their temporary files in one folder."""

    cluster: Cluster
    temporary: Path
    port: int

    def worker(self, *, pool: str = "prefork", concurrency: int = 1, lease: float = 600.0) -> CeleryWorker:
        """No batch of a process that was killed comes back within a test, unless its lease (seconds) is shorter."""
        own = {"TRAWL_METRICS": str(self.port), "TMPDIR": str(self.temporary), "TRAWL_LEASE": str(lease)}
        return self.cluster.worker(pool=pool, concurrency=concurrency, **own)

    def scrape(self) -> Numbers:
        return scrape(self.port)

    def await_number(self, number: float, name: str, *labels: str) -> None:
        await_condition(lambda: self.scrape()[name, labels] == number, within=60, what=f"{name} being {number}")

    def folders(self) -> list[Path]:
        return list(self.temporary.glob("trawl-metrics-*"))


@pytest.fixture
def measured(tmp_path: Path, cluster: Cluster) -> Measured:
    (tmp_path / "temporary").mkdir()
    return Measured(cluster, tmp_path / "temporary", free_port())


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_every_pool_counts_what_it_reported(pool: str, measured: Measured, server: MisbehavingServer) -> None:
    good = [server.url(f"/good?seed={seed}&size=1000") for seed in range(30)]
    bad = [server.url(f"/status?code=404&n={number}") for number in range(4)]

    with measured.worker(pool=pool, concurrency=2):
        before = measured.scrape()
        measured.cluster.enqueue("job", good[:10] + bad, good[10:20], [*good[20:], "http://10.1.2.3/"])
        reports = measured.cluster.reports("job")
        found = await_batches(measured.port, 3)

    outcomes = [outcome for report in reports for outcome in report.outcomes]
    born = {(metric.name, values): 0.0 for metric in WORKER_METRICS for values in metric.series}
    # The labels in the order of their names.
    born = {(name, values[::-1] if name == "trawl_urls_total" else values): 0.0 for name, values in born}
    assert len(born) > 60
    assert {key: before.get(key) for key in born} == born, "what has not happened yet is 0 and not absent"
    assert {name.removesuffix("_count") for name, _ in before} >= {metric.name for metric in WORKER_METRICS}
    assert found["trawl_urls_total", ("", "ok")] == 30
    assert found["trawl_urls_total", ("http-4xx", "failed")] == 4
    assert found["trawl_urls_total", ("refused-address", "refused")] == 1
    assert found["trawl_attempts_total", ()] == sum(len(outcome.attempts) for outcome in outcomes)
    assert found["trawl_stored_bytes_total", ()] == 30_000
    assert found["trawl_urls_in_progress", ()] == 0
    assert found["trawl_url_seconds_count", ()] == 35
    seconds = sum(outcome.timing.total for outcome in outcomes)
    assert found["trawl_url_seconds_sum", ()] == pytest.approx(seconds, abs=0.01)
    assert found["trawl_batch_seconds_count", ()] == 3
    assert {metric.name for metric in PROCESS_METRICS} <= {name for name, _ in found}
    assert found["trawl_processes", ()] == (3 if pool == "prefork" else 1)
    labels = {label for _, values in found for label in values}
    assert not [label for label in labels if "job" in label or "10.1.2.3" in label or "127.0.0.1" in label]
    assert measured.folders() == []


def test_urls_in_progress_are_those_not_reported_yet(measured: Measured, server: MisbehavingServer) -> None:
    """If a process of the pool dies, its URLs no longer count."""
    hanging = [server.url(f"/silence?after=head&n={number}") for number in range(7)]
    with measured.worker() as worker:
        measured.cluster.enqueue("job", hanging)
        server.log.wait_for_requests(7)
        # The worker's own thread tells how many; it may come to it after the lane sent the first request.
        measured.await_number(7, "trawl_urls_in_progress")
        (child, *_) = worker.children()
        send(child, signal.SIGKILL)
        measured.await_number(0, "trawl_urls_in_progress")


def test_transfers_in_flight_are_counted_until_they_are_over(measured: Measured, server: MisbehavingServer) -> None:
    held = [server.url(f"/held?n={number}") for number in range(7)]
    with measured.worker() as worker:
        measured.cluster.enqueue("job", held)
        measured.await_number(7, "trawl_transfers_in_flight")
        server.log.let_go.set()
        measured.cluster.reports("job")
        measured.await_number(0, "trawl_transfers_in_flight")
        assert worker.is_running


def test_a_file_that_a_process_just_created_fails_no_scrape(measured: Measured) -> None:
    """Guards ``_has_content``: a scrape between the creation of a file and its first byte was answered with 500."""
    with measured.worker():
        (folder,) = measured.folders()
        (folder / "counter_1.db").touch()

        assert measured.scrape()["trawl_batches_total", ()] == 0


def test_hand_offs_and_sweeps_are_counted(measured: Measured, server: MisbehavingServer) -> None:
    """URLs of a host that asks to wait are handed off; a batch whose holder is gone is put back and sent again."""
    measured.cluster.ledger.lease = 0.1
    measured.cluster.enqueue("held", [server.url("/good?seed=1&size=10")])
    assert measured.cluster.ledger.claim("held", "1", holder="a worker that is gone")
    measured.cluster.app.control.purge()
    with measured.worker():
        measured.cluster.enqueue("waits", [server.url("/status?code=503&retry=8&fails=1")])
        measured.await_number(2, "trawl_urls_total", "", "ok")
        found = measured.scrape()

    assert found["trawl_urls_handed_off_total", ("later",)] >= 1
    assert found["trawl_batches_put_back_total", ()] >= 2, "the one whose lease ran out, and the one that came due"
    assert found["trawl_messages_sent_again_total", ()] >= 1


def test_a_lost_lease_is_counted(measured: Measured, server: MisbehavingServer) -> None:
    with measured.worker(lease=3.0):
        measured.cluster.enqueue("job", [server.url("/silence?after=head")])
        server.log.wait_for_requests(1)
        measured.cluster.ledger.remove("job")
        measured.await_number(1, "trawl_leases_lost_total")


def test_no_metrics_are_served_by_default(measured: Measured) -> None:
    with measured.cluster.worker(TMPDIR=str(measured.temporary)), pytest.raises(OSError, match="refused"):
        measured.scrape()

    assert measured.folders() == []


def test_a_port_alone_means_loopback(measured: Measured) -> None:
    with measured.worker():
        listening = Path("/proc/net/tcp").read_text("ascii").splitlines()

    assert [line.split()[1] for line in listening if f":{measured.port:04X} 00000000:0000 0A" in line] == [
        f"0100007F:{measured.port:04X}"
    ]


def test_a_second_worker_on_the_same_port_is_refused_in_one_sentence(measured: Measured) -> None:
    with measured.worker() as first:
        second = ran(
            sys.executable, "-m", "worker", "-c", "1", env={**first._env, "TRAWL_METRICS": f"127.0.0.1:{measured.port}"}
        )
        assert measured.scrape()["trawl_batches_total", ()] == 0
        assert len(measured.folders()) == 1

    assert second.returncode == 2
    lines = [line for line in second.stderr.splitlines() if line.startswith("TRAWL_METRICS")]
    assert len(lines) == 1
    assert f"cannot listen on 127.0.0.1 port {measured.port}" in lines[0]
    assert "Traceback" not in second.stderr


def holders(port: int, pids: list[int]) -> list[int]:
    """Return those of the processes that have the listening socket of a port open (proc_net(5))."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]]
    wanted = {f"socket:[{line[9]}]" for line in lines if line[1] == f"0100007F:{port:04X}" and line[3] == "0A"}
    assert len(wanted) == 1
    return [pid for pid in pids if wanted & open_files(pid)]


def open_files(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):  # it ended, or closed one, meanwhile
        for number in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/fd/{number}"))
    return found


def test_a_killed_worker_leaves_neither_port_nor_folder_behind(measured: Measured) -> None:
    """Protects that pool processes close the port, including those forked while it was open."""
    with measured.worker(concurrency=2) as first:
        (young, *_) = first.children()
        send(young, signal.SIGKILL)
        await_condition(
            lambda: len(first.children()) == 2 and young not in first.children(), within=20, what="another child"
        )
        # A child that has just been forked takes a moment to close it.
        await_condition(
            lambda: holders(measured.port, [first.pid, *first.children()]) == [first.pid],
            within=5,
            what="one holder of the port",
        )
        send(first.pid, signal.SIGKILL)
        await_condition(lambda: not first.is_running, within=10, what="the worker's end")
        left = measured.folders()
        for child in first.survivors():
            send(child, signal.SIGKILL)
        await_condition(lambda: not first.survivors(), within=10, what="the end of its children")

        with measured.worker():
            assert measured.scrape()["trawl_batches_total", ()] == 0
            kept = measured.folders()

    assert len(left) == len(kept) == 1
    assert left != kept


def test_an_invalid_setting_ends_the_worker_at_once(tmp_path: Path, cluster: Cluster) -> None:
    """Protects the check of the settings when the worker is imported: or its first task would find the mistake."""
    mistakes = (("TRAWL_METRICS", ":9108"), ("TRAWL_EGRESS_PROXY", "proxy.test"), ("TRAWL_CA_FILE", "/nowhere/ca.pem"))
    for variable, value in mistakes:
        log = tmp_path / f"{variable}.log"
        with log.open("wb") as file:
            worker = begin(
                [sys.executable, "-m", "worker", "-c", "1", "-l", "INFO"],
                env={**cluster.environment, variable: value, "PATH": "/usr/bin:/bin"},
                cwd=PROJECT,
                stderr=file,
            )
        await_condition(
            lambda worker=worker, log=log: worker.poll() is not None or re.search(READY, log.read_text()),  # type: ignore[misc]
            within=60,
            what="a worker that ends or starts",
        )

        assert worker.poll() == 2
        told = log.read_text()
        assert told.startswith(f"trawl: {variable} ")
        assert told.count("\n") == 1
