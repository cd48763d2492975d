"""After a whole run, a secret in a URL and a credential are searched for everywhere: neither has leaked."""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis
from backports import zstd

from contract.metrics import BUILD_INFO, WORKER_METRICS
from tests.support.cases import behaviour_of, serves, with_query
from tests.support.celery_worker import CeleryWorker
from tests.support.flower import Flower
from tests.support.misbehaving import MisbehavingServer
from tests.support.person import ENOUGH, Ended, Person, ran
from tests.support.processes import await_condition, descendants, free_port
from tests.support.redis_server import RedisServer

CANARY = "c4n4ryc4n4ryc4n4ry"
CREDENTIAL = "cr3d3nt14lcr3d3nt14l"
PASSWORD = "p4ssw0rdp4ssw0rdp4ssw0rd"
BASIC = base64.b64encode(f"{CREDENTIAL}:{CREDENTIAL}".encode()).decode()

_BASE64 = re.compile(rb"[A-Za-z0-9+/]{24,}={0,2}")
_ZSTD = b"\x28\xb5\x2f\xfd"  # RFC 8878 section 3.1.1


def layers(found: bytes, depth: int = 3) -> Iterator[bytes]:
    """Yield bytes and what is packed inside them: base64 as kombu uses it, zstd as the ledger does."""
    yield found
    if not depth:
        return
    for run in _BASE64.findall(found):
        yield from layers(base64.b64decode(run[: len(run) // 4 * 4] + b"==="), depth - 1)
    start = found.find(_ZSTD)
    while start >= 0:
        try:
            yield from layers(zstd.ZstdDecompressor().decompress(found[start:]), depth - 1)
        except zstd.ZstdError:
            pass
        start = found.find(_ZSTD, start + 1)


def holds(found: bytes | str, secret: str) -> bool:
    text = found.encode() if isinstance(found, str) else found
    return any(secret.encode() in layer for layer in layers(text))


# -------------------------------------------------------------------------------------------- the server in the list

#: Each handles a URL in another way: bodies, refusals, redirects, lies about lengths.
BEHAVIOURS = ("good", "redirect", "wall", "short-body", "status")

for _name in BEHAVIOURS:
    _behaviour = behaviour_of(f"/{_name}")
    assert _behaviour is not None
    serves(f"/{CANARY}/{_name}")(_behaviour)


def urls_of(site: MisbehavingServer) -> list[str]:
    """Return lines that end in every way a line can."""
    led = (f"/{CANARY}/good?token={CANARY}", f"http://10.9.8.7/{CANARY}?token={CANARY}")
    redirects = [with_query("redirect", to=to) for to in led]
    targets = ["good?size=5", *redirects, "wall?wants=any", "short-body?end=cut", "status?code=404", "status?code=500"]
    lines = [site.url(f"/{CANARY}/{target}&token={CANARY}") for target in targets]
    refused = [
        f"http://10.1.2.3/{CANARY}?token={CANARY}",
        f"http://somebody:{CANARY}@host.test/",
        f"ftp://host.test/{CANARY}",
        site.url(f"/{CANARY}/\x07"),
        f"http://host.test:99999/{CANARY}",
    ]
    silent = [f"http://127.0.0.1:{free_port()}/{CANARY}", f"http://host.invalid/{CANARY}?token={CANARY}"]
    return lines + refused + silent


@pytest.fixture(scope="module")
def site() -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as running:
        yield running


# -------------------------------------------------------------------------------------------------- what was overheard


@dataclass
class Overheard:
    """What every part of the system said, by the part's name, and the folder of the job."""

    folder: Path
    said: dict[str, bytes] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    authorizations: set[str | None] = field(default_factory=set)
    rows: list[dict[str, Any]] = field(default_factory=list)
    scrapes: list[bytes] = field(default_factory=list)
    listener: threading.Thread | None = None

    def add(self, what: str, text: str | bytes) -> None:
        self.said[what] = self.said.get(what, b"") + (text.encode() if isinstance(text, str) else text)


@pytest.fixture(scope="module")
def overheard(site: MisbehavingServer, tmp_path_factory: pytest.TempPathFactory) -> Overheard:
    folder = tmp_path_factory.mktemp("secrets")
    heard = Overheard(folder)
    site.log.clear()  # another run may have asked it already
    (folder / "urls.txt").write_text("\n".join(urls_of(site)) + "\n")
    (folder / "netrc").touch(mode=0o600)
    (folder / "netrc").write_text(f"machine http://127.0.0.1:{site.port} login {CREDENTIAL} password {CREDENTIAL}\n")
    (folder / "password").write_text(PASSWORD + "\n")
    with RedisServer(folder / "redis", password=PASSWORD) as server:
        environment = {
            "TRAWL_BROKER_URL": server.celery_url(password="").replace(":@", ""),
            "TRAWL_REDIS_PASSWORD_FILE": str(folder / "password"),
            "TRAWL_OUTPUT": str(folder / "out"),
            "TRAWL_DRAIN": "0",
            "TRAWL_METRICS": f"127.0.0.1:{free_port()}",
        }
        listen_to(server, heard)
        with (
            CeleryWorker(folder, env=environment, loglevel="DEBUG") as worker,
            Flower(environment, folder, options=("--logging=debug",)) as flower,
        ):
            with scraping(heard, environment["TRAWL_METRICS"]):
                run_job(heard, environment, worker)
            ask_exporter(heard, environment)
            ask_flower(heard, flower, f"{worker.name}@{os.uname().nodename}")
            remember_arguments(heard, worker.pid)
            enqueue_only(heard, environment, server)
        heard.add("the worker's log", worker.log())
        heard.add("Flower's log", (folder / "flower.log").read_bytes())
    assert heard.listener is not None
    heard.listener.join(100)  # the server has ended, and with it the connection
    heard.authorizations = {request.header("authorization") for request in site.log.requests()}
    heard.rows = [json.loads(line) for line in (folder / "out/manifest.jsonl").read_text("utf-8").splitlines()]
    return heard


def listen_to(server: RedisServer, heard: Overheard) -> None:
    """Overhear every command from now on, as MONITOR shows it: `1700000000.1 [0 127.0.0.1:1] "GET" "key"`."""
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(f"AUTH {PASSWORD}\r\nMONITOR\r\n".encode())

    def listen() -> None:
        with connection, connection.makefile("rb") as lines:
            heard.commands.extend(line.partition(b"] ")[2].decode().strip() for line in lines if b'] "' in line)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    heard.listener = thread


def trawl(heard: Overheard, environment: dict[str, str], *arguments: str) -> Ended:
    ended = Person(heard.folder, **environment).trawl(*arguments)
    heard.add(f"what trawl {arguments[0]} said", ended.out + ended.err)
    return ended


@contextmanager
def scraping(heard: Overheard, place: str) -> Iterator[None]:
    """Read the worker's metrics again and again, as Prometheus does, and once more when it is over."""
    is_over = threading.Event()

    def scrape() -> bytes:
        try:
            with urllib.request.urlopen(f"http://{place}/metrics", timeout=60) as response:
                answer = bytes(response.read())
        except OSError:
            answer = b""
        heard.scrapes.append(answer)
        heard.add("the worker's metrics", answer)
        return answer

    def go_on() -> None:
        while not is_over.wait(0.02):
            scrape()

    scrape()
    thread = threading.Thread(target=go_on, name="prometheus")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    # A batch is counted right after its report is stored, and its number last.
    counted = re.compile(rb"trawl_batches_total [1-9]")
    await_condition(
        lambda: b"refused-address" in (seen := scrape()) and counted.search(seen), within=10, what="the job's numbers"
    )
    scrape()


OPTIONS = ("--allow-net", "127.0.0.0/8", "--netrc", "netrc", "--attempts", "2", "--timeout", "10")


def run_job(heard: Overheard, environment: dict[str, str], worker: CeleryWorker) -> None:
    ended = trawl(heard, environment, "run", "urls.txt", "-o", "out", *OPTIONS)
    assert ended.code == 1, ended.err
    remember_arguments(heard, worker.pid)
    trawl(heard, environment, "status")
    trawl(heard, environment, "status", "-o", "out")
    trawl(heard, environment, "report", "-o", "out")
    trawl(heard, environment, "report", "-o", "out", "--html", "report.html")
    heard.add("the report's page", (heard.folder / "report.html").read_bytes())


def enqueue_only(heard: Overheard, environment: dict[str, str], server: RedisServer) -> None:
    """Enqueue without a worker on that queue, and record what is in Redis."""
    apart = {**environment, "TRAWL_QUEUE": "unheard"}
    job = trawl(heard, apart, "enqueue", "urls.txt", *OPTIONS).out.strip()
    trawl(heard, apart, "status", job)
    trawl(heard, apart, "status", job, "--json")
    with server.client() as client:
        for key in client.scan_iter():
            name = key.decode()
            heard.add("the names of keys", name + "\n")
            if name.startswith(("trawl:2:job:", "celery-task-meta-")):
                continue  # the ledger and the reports: they belong to the job's owner
            if held := content(client, key):
                heard.add(f"Redis at {name}", held)


def content(client: redis.Redis, key: bytes) -> bytes:
    kind: Any = client.type(key)
    read: dict[bytes, Any] = {
        b"string": lambda: [client.get(key) or b""],
        b"list": lambda: client.lrange(key, 0, -1),
        b"hash": lambda: [part for pair in client.hgetall(key).items() for part in pair],
        b"set": lambda: client.smembers(key),
        b"zset": lambda: client.zrange(key, 0, -1),
    }
    return b"\n".join(read[kind]()) if kind in read else b""  # none: it has expired meanwhile


def remember_arguments(heard: Overheard, pid: int) -> None:
    for each in [pid, *descendants(pid)]:
        for what in ("cmdline", "environ"):
            try:
                heard.add(f"the worker's processes' {what}", Path(f"/proc/{each}/{what}").read_bytes())
            except OSError:
                pass  # it ended


def ask_exporter(heard: Overheard, environment: dict[str, str]) -> None:
    place = f"127.0.0.1:{free_port()}"
    exporter = Person(heard.folder, **environment).start("metrics", "--listen", place)
    assert exporter.stdout is not None
    heard.add("what trawl metrics said", exporter.stdout.readline())
    with urllib.request.urlopen(f"http://{place}/metrics", timeout=60) as response:
        numbers = bytes(response.read())
    exporter.terminate()
    heard.add("what trawl metrics said", b"".join(exporter.communicate(timeout=ENOUGH)))
    assert b"trawl_claimable_batches 0" in numbers
    heard.add("the cluster's metrics", numbers)


def ask_flower(heard: Overheard, flower: Flower, worker: str) -> None:
    def finished() -> dict[str, Any]:
        tasks = flower.read("/api/tasks")
        return {name: task for name, task in tasks.items() if task["state"] == "SUCCESS"}

    tasks = await_condition(finished, within=30, what="a finished task in Flower")
    paths = ["/api/tasks", "/api/workers?refresh=1", f"/worker/{worker}", "/tasks", "/broker", "/metrics"]
    for path in [*paths, *(f"/task/{name}" for name in tasks), *(f"/api/task/info/{name}" for name in tasks)]:
        heard.add(f"Flower's page {path.partition('?')[0]}", flower.await_page(path))


# ---------------------------------------------------------------------------------------------------------- the tests


def test_the_secrets_were_used(overheard: Overheard) -> None:
    endings = {(row["outcome"], row["error"]) for row in overheard.rows}

    assert len(overheard.rows) == 14
    assert all(CANARY in row["url"] for row in overheard.rows)
    assert {ending for ending, _ in endings} == {"ok", "failed", "refused"}
    assert len(endings) >= 7, endings
    assert overheard.authorizations == {f"Basic {BASIC}"}
    assert len(overheard.commands) > 100


@pytest.mark.parametrize("secret", [CANARY, CREDENTIAL, BASIC, PASSWORD])
def test_no_log_page_queue_or_argument_shows_a_secret(overheard: Overheard, secret: str) -> None:
    assert len(overheard.said) > 12, sorted(overheard.said)
    assert all(overheard.said.values()), [what for what, said in overheard.said.items() if not said]

    telling = [what for what, said in overheard.said.items() if holds(said, secret)]

    assert telling == []


def test_metrics_were_read_during_the_run(overheard: Overheard) -> None:
    """That they show no secret is checked with everything else that was captured."""
    first, last = overheard.scrapes[0].decode(), overheard.scrapes[-1].decode()

    assert 'trawl_urls_total{error="",outcome="ok"} 0.0' in first, "before the job"
    assert 'trawl_urls_total{error="refused-address",outcome="refused"}' in last, "after it"
    labels = set(re.findall(r'(\w+)="', last))
    shown = (*WORKER_METRICS, BUILD_INFO)
    assert labels == {"le", *(label for metric in shown for label in metric.labels)}
    counted = [line for line in last.splitlines() if not line.startswith(BUILD_INFO.name)]
    values = set(re.findall(r'\w+="([^"]*)"', "\n".join(counted)))
    numbers = re.compile(r"[0-9.]+|\+Inf")
    known = {value for metric in shown for series in metric.series for value in series}
    assert {value for value in values if not numbers.fullmatch(value)} <= known


def test_details_of_outcomes_name_no_path_and_no_query(overheard: Overheard) -> None:
    # The row holds its URL, and the one it was redirected to; what is said about it could be quoted anywhere.
    assert [row["detail"] for row in overheard.rows if CANARY in str(row["detail"])] == []


def test_messages_and_events_hold_no_secret(overheard: Overheard) -> None:
    owners = ('"EVALSHA"', '"HSETNX"', '"HSET" "trawl:2:job:', '"SET" "celery-task-meta-')  # the ledger and the reports
    published = [command for command in overheard.commands if not command.startswith(owners)]
    assert any(command.startswith('"LPUSH" "trawl:trawl') for command in published)
    assert any(command.startswith('"PUBLISH" "trawl:/0.celeryev/task') for command in published)
    assert [command[:80] for command in published if holds(command, CANARY) or holds(command, CREDENTIAL)] == []


@pytest.mark.parametrize("secret", [CREDENTIAL, base64.b64encode(f"{CREDENTIAL}:".encode()).decode()[:24], PASSWORD])
def test_the_output_folder_holds_no_credentials(overheard: Overheard, secret: str) -> None:
    files = [path for path in (overheard.folder / "out").rglob("*") if path.is_file()]

    assert any(path.name == "manifest.jsonl" for path in files)
    assert [path.name for path in files if holds(path.read_bytes(), secret)] == []


def test_an_embedded_run_leaves_no_secret_outside_its_folder(
    site: MisbehavingServer, tmp_path: Path, person: Person
) -> None:
    listed = person.write_list(*urls_of(site))

    code, out, err = person.trawl("run", listed, "-o", "out", *OPTIONS[:2])
    again = person.trawl("run", listed, "-o", "out", "--json", *OPTIONS[:2])
    seen = person.trawl("status", "-o", "out", "--watch")

    assert code == 1, err
    assert seen.code == 0
    assert CANARY not in out + err + again.out + again.err + seen.out + seen.err
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and tmp_path / "out" not in path.parents]
    assert [path.name for path in outside if holds(path.read_bytes(), CANARY)] == ["urls.txt"]


@pytest.mark.parametrize(
    "command",
    [("run", "urls.txt"), ("enqueue", "urls.txt"), ("follow", "job"), ("status",), ("gc",), ("doctor",), ("worker",)],
    ids=lambda command: command[0],
)
def test_a_malformed_broker_url_ends_every_command_and_is_not_repeated(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    person = Person(tmp_path, CELERY_BROKER_URL=f"redis://:{PASSWORD}/x#{PASSWORD}@127.0.0.1:1/0")
    person.write_list("http://127.0.0.1:1/")

    if command == ("worker",):
        started = [sys.executable, "-m", "celery", "-A", "worker", "worker"]
        done = ran(*started, env=person.environment)
        ended = Ended(done.returncode, done.stdout, done.stderr)
    else:
        ended = person.trawl(*command)

    assert ended.code == 2, ended.err
    assert (ended.out + ended.err).count("CELERY_BROKER_URL is not a usable URL") == 1
    assert "Traceback" not in ended.err
    found = [
        ended.out.encode(),
        ended.err.encode(),
        *(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()),
    ]
    assert not any(holds(each, PASSWORD) for each in found)
