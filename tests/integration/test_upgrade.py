"""Workers, producers and folders of the first edition beside this one's: no URL is lost, fetched twice or poison."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from tempfile import gettempdir

import pytest

from contract.cluster.settings import ClusterSettings
from producer.cluster.client import Cluster
from tests.support.celery_worker import CeleryWorker
from tests.support.first_edition import check_out
from tests.support.misbehaving import MisbehavingServer
from tests.support.person import ENOUGH, Person
from tests.support.redis_server import RedisServer

LOOPBACK = ("--allow-net", "127.0.0.0/8")


@pytest.fixture(scope="module")
def first_edition(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return check_out(tmp_path_factory.mktemp("first-edition"))


def environment(redis: RedisServer, folder: Path) -> dict[str, str]:
    return {"TRAWL_BROKER_URL": redis.celery_url(), "TRAWL_OUTPUT": str(folder / "out")}


def somebody(folder: Path, variables: Mapping[str, str], code: Path | None = None) -> Person:
    """Return a person who uses this version, or the code of another."""
    folder.mkdir(exist_ok=True)
    return Person(folder, **variables, **({"PYTHONPATH": str(code)} if code else {}))


def test_new_workers_finish_the_job_of_an_old_producer(
    tmp_path: Path, redis: RedisServer, server: MisbehavingServer, first_edition: Path
) -> None:
    """One old producer waits for its rows all along; another has gone, and its job ends all the same."""
    variables = environment(redis, tmp_path)
    old, new = somebody(tmp_path / "old", variables, first_edition), somebody(tmp_path / "new", variables)
    urls = [server.url(f"/good?size=100&n={number}") for number in range(90)]
    listed, others = old.write_list(*urls[:60]), old.write_list(*urls[60:], name="others.txt")
    run = old.start("run", listed, "-o", "out", "--batch-size", 5, *LOOPBACK)
    sent = old.trawl("enqueue", others, "--batch-size", 5, *LOOPBACK)
    assert sent.code == 0, sent.err
    with CeleryWorker(tmp_path, env=variables):
        ours = new.trawl("run", listed, "-o", "out", "--batch-size", 5, *LOOPBACK)
        _, err = run.communicate(timeout=ENOUGH)
        followed = new.trawl("follow", sent.out.strip(), "-o", "followed")

    assert (run.returncode, ours.code, followed.code) == (0, 0, 0), (err, ours.err, followed.err)
    assert Counter(row["url"] for row in old.rows()) == Counter(row["url"] for row in new.rows()) == Counter(urls[:60])
    assert Counter(row["url"] for row in new.rows("followed")) == Counter(urls[60:])
    assert {row["outcome"] for row in [*old.rows(), *new.rows("followed")]} <= {"ok", "kept"}
    with closing(Cluster(ClusterSettings.from_environment(variables))) as cluster:
        assert cluster.ledger.count_waiting() == 0
        assert cluster.redis.smembers(cluster.ledger.earlier.active) == set()


def test_an_old_worker_claims_nothing_of_ours(
    tmp_path: Path, redis: RedisServer, server: MisbehavingServer, first_edition: Path
) -> None:
    variables = environment(redis, tmp_path)
    person = somebody(tmp_path / "person", variables)
    urls = [server.url(f"/good?size=100&n={number}") for number in range(200)]
    listed = person.write_list(*urls)
    with CeleryWorker(tmp_path, env=variables, cwd=first_edition, name="old") as old:
        run = person.start("run", listed, "-o", "out", "--batch-size", 4, *LOOPBACK)
        old.wait_for_log("nothing to do")
        with CeleryWorker(tmp_path, env=variables, name="new"):
            _, err = run.communicate(timeout=ENOUGH)

    assert run.returncode == 0, err
    rows = person.rows()
    assert Counter(row["url"] for row in rows) == Counter(urls)
    assert {(row["outcome"], len(row["attempts"])) for row in rows} == {("ok", 1)}
    assert {row["worker"].partition("@")[0] for row in rows} == {"new"}
    assert "Traceback" not in old.log()


def test_an_old_and_a_new_worker_share_an_old_producers_batches(
    tmp_path: Path, redis: RedisServer, server: MisbehavingServer, first_edition: Path
) -> None:
    """The server answers only when both have begun some of them."""
    window = 8
    variables = {**environment(redis, tmp_path), "TRAWL_TRANSFERS": str(window)}
    person = somebody(tmp_path / "person", variables, first_edition)
    urls = [server.url(f"/held?n={number}") for number in range(100)]
    listed = person.write_list(*urls)
    with CeleryWorker(tmp_path, env=variables, cwd=first_edition, concurrency=1, name="old"):
        run = person.start("run", listed, "-o", "out", "--batch-size", 4, *LOOPBACK)
        server.log.wait_for_requests(window)
        with CeleryWorker(tmp_path, env=variables, concurrency=1, name="new"):
            server.log.wait_for_requests(window + 1)
            server.log.let_go.set()
            _, err = run.communicate(timeout=ENOUGH)

    assert run.returncode == 0, err
    rows = person.rows()
    assert Counter(row["url"] for row in rows) == Counter(urls)
    assert {row["outcome"] for row in rows} == {"ok"}
    assert {row["worker"].partition("@")[0] for row in rows} == {"old", "new"}


def test_a_killed_old_runs_folder_can_be_resumed(
    tmp_path: Path, server: MisbehavingServer, first_edition: Path
) -> None:
    """Its own Redis holds batches of the first edition: open ones, and those its killed workers held."""
    folder = tmp_path / "person"
    old, new = somebody(folder, {}, first_edition), somebody(folder, {})
    urls = [server.url(f"/thinks?ms=50&n={number}") for number in range(600)]
    command = ("run", old.write_list(*urls), "-o", "out", "--batch-size", 20, *LOOPBACK)
    # Its socket's path would be too long below ours.
    killed = old.start(*command, TRAWL_TRANSFERS="4", TRAWL_LEASE="3", TMPDIR=gettempdir())
    old.await_rows(20)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    before = len(old.rows())
    assert before < len(urls)

    ended = new.trawl(*command, TRAWL_LEASE="3")

    assert ended.code == 0, ended.err
    assert Counter(row["url"] for row in new.rows()) == Counter(urls)
    assert {row["outcome"] for row in new.rows()} == {"ok"}
