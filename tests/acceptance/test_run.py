"""The main job as a user runs it: the command line, a real Redis, a real worker, real files."""

import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.urls.naming import output_name
from producer.commands.demo import demo_server
from producer.commands.demo_server import file_body
from tests.support.misbehaving import MisbehavingServer
from tests.support.person import ENOUGH, PROJECT, Person, lines_until, ran
from tests.support.processes import await_condition, descendants, is_alive

LOOPBACK = ("--allow-net", "127.0.0.0/8")
SMALL = ("--processes", "1")


def leftovers(person: Person) -> list[str]:
    """Return what a run should have taken away: temporary files, sockets, server data."""
    state = person.folder / "out" / ".trawl"
    left = [str(path) for path in person.temporary.iterdir()]
    left += [str(path) for path in (state / "parts").rglob("*")]
    return left + [str(state / name) for name in ("redis", "journal.sqlite-wal") if (state / name).exists()]


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with demo_server(latency=0.02, spread=0.5) as address:
        yield address


def good(web: MisbehavingServer, count: int) -> list[str]:
    return [web.url(f"/good?n={number}") for number in range(count)]


def held(web: MisbehavingServer, count: int) -> list[str]:
    return [web.url(f"/held?n={number}") for number in range(count)]


def family(process: subprocess.Popen[bytes]) -> list[int]:
    """Return everything the run started, once its worker has its processes."""
    return await_condition(
        lambda: found if len(found := descendants(process.pid)) >= 4 else None,
        within=60,
        what="supervisor, server, worker",
    )


@pytest.mark.parametrize("name", ["a b#c?d%41;e", "t" * 120], ids=["odd characters", "too long for a socket"])
def test_a_run_works_with_any_temporary_folder(person: Person, web: str, name: str) -> None:
    folder = person.folder / name
    folder.mkdir()
    urls = person.write_list(f"{web}/file/1")

    code, _, err = person.trawl("run", urls, "-o", person.folder / name / "out", *LOOPBACK, *SMALL, TMPDIR=str(folder))

    assert (code, sorted(path.name for path in folder.iterdir())) == (0, ["out"]), err


def run_with_descriptors(count: int, person: Person, urls: Path) -> subprocess.CompletedProcess[str]:
    limited = ["sh", "-c", f'ulimit -n {count}; exec "$@"', "sh", sys.executable, "-P", "-m", "producer"]
    return ran(*limited, "run", urls, *LOOPBACK, *SMALL, cwd=person.folder, env=person.environment)


def test_few_descriptors_mean_few_transfers_but_no_failed_url(person: Person, server: MisbehavingServer) -> None:
    ended = run_with_descriptors(64, person, person.write_list(*good(server, 60)))

    assert ended.returncode == 0, ended.stderr
    assert [row["outcome"] for row in person.rows()] == ["ok"] * 60
    assert ended.stderr.count("64 descriptors allow 7 transfers at once per process") == 1


def test_too_few_descriptors_to_work_are_one_sentence(person: Person) -> None:
    ended = run_with_descriptors(48, person, person.write_list("http://127.0.0.1:1/"))

    assert ended.returncode == 2
    assert ended.stderr == "trawl: 48 descriptors are too few for 1 worker process: raise `ulimit -n`.\n"


def test_an_ignored_proxy_variable_is_reported(person: Person, web: str) -> None:
    urls = person.write_list(f"{web}/file/1")

    code, _, err = person.trawl("run", urls, *LOOPBACK, *SMALL, https_proxy="http://127.0.0.1:1")

    assert (code, err.count("https_proxy is set and ignored: TRAWL_EGRESS_PROXY")) == (0, 1), err


def test_a_list_becomes_files_named_by_the_md5_of_their_url(person: Person, web: str) -> None:
    urls = [f"{web}/file/{number}" for number in (1, 2, 97)]
    listed = person.write_list(*urls, f"{web}/missing/1", "ftp://nowhere/", urls[0])

    code, out, err = person.trawl("run", listed, "-o", "out", "--json", *LOOPBACK, *SMALL)

    assert code == 1, err
    assert "Traceback" not in err
    summary = json.loads(out)
    assert [summary[key] for key in ("lines", "ok", "failed", "refused", "duplicates")] == [6, 3, 1, 1, 1]
    for url, number in zip(urls, (1, 2, 97), strict=True):
        body = (person.folder / "out" / output_name(url)).read_bytes()
        assert hashlib.sha256(body).digest() == hashlib.sha256(file_body(number)).digest()
    by_url = {row["url"]: row for row in person.rows()}
    assert by_url[urls[0]]["sha256"] == hashlib.sha256(file_body(1)).hexdigest()
    assert by_url[f"{web}/missing/1"]["error"] == "http-4xx"
    assert sorted(path.name for path in (person.folder / "out").iterdir()) == sorted(
        [".trawl", "manifest.jsonl", *map(output_name, urls)]
    )
    assert leftovers(person) == []
    assert sorted(path.name for path in person.folder.iterdir()) == ["out", "tmp", "urls.txt"]


def test_running_again_fetches_only_lost_files(person: Person, web: str) -> None:
    urls = [f"{web}/file/{number}" for number in range(1, 11)]
    listed = person.write_list(*urls)
    command = ("run", listed, "-o", "out", "--json", *LOOPBACK, *SMALL)

    first = json.loads(person.trawl(*command)[1])
    (person.folder / "out" / output_name(urls[0])).unlink()
    (person.folder / "out" / output_name(urls[1])).write_bytes(b"changed")
    second = json.loads(person.trawl(*command)[1])
    rows = person.rows()
    broken = person.trawl("run", "-", "-o", "out", *LOOPBACK, *SMALL, stdin=b"")

    assert first["ok"] == 10
    assert (broken.code, broken.err) == (2, "trawl: Standard input holds no URLs: put one per line.\n")
    assert person.rows() == rows, "a pipe that brings nothing gives nothing up"
    assert (second["kept"], second["ok"]) == (8, 2)
    compared_by = {row["worker"].split("@")[0] for row in rows if row["outcome"] == "kept"}
    assert "producer" in compared_by, "and on a slow disk the worker"
    assert (person.folder / "out" / output_name(urls[1])).read_bytes() == file_body(2)


def test_settings_without_a_broker_reach_both_sides(person: Person, web: str) -> None:
    listed = person.write_list(f"{web}/file/1", f"{web}/file/2")
    person.environment |= {
        "TRAWL_PREFIX": "mine:", "TRAWL_QUEUE": "mine", "TRAWL_LEASE": "3", "TRAWL_TRANSFERS": "7",
        "TRAWL_ALLOW_NETS": "127.0.0.0/8", "CELERY_RESULT_BACKEND": "redis://127.0.0.1:1/0",
    }  # fmt: skip

    code, out, err = person.trawl("run", listed, "-o", "out", "--json", *SMALL)

    assert code == 0, err
    assert json.loads(out)["ok"] == 2


def gone(pids: list[int]) -> bool:
    """Wait until none of these processes runs: the last ones may be dying while the command has ended."""
    await_condition(lambda: not any(is_alive(pid) for pid in pids), within=20, what="everything being gone")
    return True


def test_the_embedded_server_listens_on_no_port_and_only_we_can_reach_it(
    person: Person, server: MisbehavingServer
) -> None:
    listed = person.write_list(*held(server, 8))
    process = person.start("run", listed, "-o", "out", *LOOPBACK, *SMALL)
    pids = family(process)
    folder = await_condition(
        lambda: next(iter(person.temporary.glob("trawl-*/redis.sock")), None), within=60, what="the socket"
    )

    private = (folder, folder.parent, person.folder / "out/.trawl/redis")  # the last holds a job's logins
    modes = [stat.S_IMODE(path.stat().st_mode) for path in private]
    listening = [pid for pid in pids if _listens(pid)]
    server.log.let_go.set()
    process.communicate(timeout=ENOUGH)

    assert modes == [0o700, 0o700, 0o700]
    assert listening == []
    assert process.returncode == 0
    assert gone(pids)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_ends_leaves_nothing_running_and_resumes_later(
    person: Person, server: MisbehavingServer, sent: signal.Signals
) -> None:
    urls = [*good(server, 10), *held(server, 30)]
    listed = person.write_list(*urls)
    options = ("--transfers", "4", "--batch-size", "10", "--drain", "1")
    command = ("run", listed, "-o", "out", *options, *LOOPBACK, *SMALL)
    process = person.start(*command)
    pids = family(process)
    person.await_rows()

    process.send_signal(sent)
    out, err = process.communicate(timeout=ENOUGH)

    assert gone(pids)
    assert list(person.temporary.iterdir()) == []
    if sent != signal.SIGKILL:
        assert process.returncode == 130
        assert b"not finished" in out
        assert b"Traceback" not in err
        assert leftovers(person) == []
    server.log.let_go.set()
    code, again, err_again = person.trawl(*command, "--json")
    assert code == 0, err_again
    assert "Resuming job" in err_again
    assert json.loads(again)["ok"] == 40
    assert Counter(row["url"] for row in person.rows()) == Counter(urls)
    assert leftovers(person) == []


def test_the_progress_of_an_open_batch_is_shown(person: Person, server: MisbehavingServer) -> None:
    """Guards a snapshot's way from send_snapshot to LiveProgress.add_snapshot: twenty large files are one batch."""
    sizes = [server.url(f"/good?seed={number}&size=1000000") for number in range(3)]
    listed = person.write_list(*sizes, server.url("/status?code=404"), *held(server, 1))
    process = person.start("run", listed, "-o", "out", *LOOPBACK, *SMALL)

    told = lines_until(process, b"4 of 5").splitlines()[-1]
    rows = (person.folder / "out" / "manifest.jsonl").read_text("utf-8")
    server.log.let_go.set()
    process.communicate(timeout=ENOUGH)

    assert b"ok 3, failed 1" in told
    assert rows == ""
    assert process.returncode == 1


def test_a_second_interrupt_ends_a_run_at_once(person: Person, server: MisbehavingServer) -> None:
    listed = person.write_list(*held(server, 200))
    process = person.start("run", listed, "-o", "out", "--transfers", "1", "--drain", "3600", *LOOPBACK, *SMALL)
    pids = family(process)
    server.log.wait_for_requests(1, 60)
    process.send_signal(signal.SIGINT)
    lines_until(process, b"Stopping")

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=ENOUGH)

    assert process.returncode == 130
    assert gone(pids)
    assert leftovers(person) == []


@pytest.mark.parametrize(("module", "named"), [("worker", "worker"), ("server", "Redis server")])
def test_services_of_a_run_that_die_are_restarted(
    person: Person, server: MisbehavingServer, module: str, named: str
) -> None:
    """The worker's batches run again, and the server has kept what it held."""
    urls = [*good(server, 6), *held(server, 24)]
    listed = person.write_list(*urls)
    person.environment["TRAWL_LEASE"] = "2"
    process = person.start("run", listed, "-o", "out", "--batch-size", "6", *LOOPBACK, *SMALL)
    person.await_rows()
    pid = await_condition(lambda: _pid_of(process, module), within=60, what=f"the {named}")

    os.kill(pid, signal.SIGKILL)
    lines_until(process, f"The {named} ended (signal 9); starting it again.\n".encode())
    server.log.let_go.set()  # not before: a worker's processes outlive it by a moment, and could end the job in it
    _, err = process.communicate(timeout=ENOUGH)

    assert process.returncode == 0, err
    assert b"Traceback" not in err
    assert Counter(row["url"] for row in person.rows()) == Counter(urls)


def test_a_disk_below_the_floor_is_reported_on_the_terminal(person: Person, server: MisbehavingServer) -> None:
    listed = person.write_list(*good(server, 3))
    process = person.start("run", listed, "-o", "out", "--min-free", "1000T", "--drain", "0", *LOOPBACK, *SMALL)

    told = lines_until(process, b"takes no work").splitlines()[-1]

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=ENOUGH)
    assert re.match(
        rb"The worker takes no work: The disk has \d+ MiB free, less than the 1048576000 MiB to be kept", told
    )


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("REDIS_SERVER", "/bin/false", "Redis server ended"),
        ("TRAWL_CA_FILE", "/nowhere/ca.pem", "TRAWL_CA_FILE cannot be read: there is no file /nowhere/ca.pem."),
    ],
)
def test_a_server_or_worker_that_cannot_start_is_one_sentence(
    person: Person, web: str, variable: str, value: str, said: str
) -> None:
    """Guards ``_MISTAKE``, and the look at certificates when a worker starts: the job went on for ever."""
    person.environment[variable] = value

    code, out, err = person.trawl("run", person.write_list(f"{web}/a"), "-o", "out", *LOOPBACK, *SMALL)

    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert said in err
    assert err.count("trawl: ") == 1, "the worker's own is left out where its log is quoted"


def test_the_demo_checks_itself(person: Person) -> None:
    code, out, err = person.trawl("demo", "-o", "out", *SMALL)

    assert code == 0, err
    assert "328 lines = 315 ok + 0 kept + 9 failed + 2 refused + 2 duplicates" in out
    assert "Every file was compared" in out
    assert leftovers(person) == []


def test_compare_prints_a_table_and_a_chart(person: Person, web: str) -> None:
    listed = person.write_list(*(f"{web}/file/{number}" for number in range(1, 25)))

    code, out, err = person.trawl("compare", listed, "--threads", "6", *LOOPBACK, *SMALL)

    assert code == 0, err
    lines = [line for line in out.splitlines() if line.startswith(("one after another", "6 threads"))]
    assert len(lines) == 4  # each in the table and in the chart
    assert "ideal" in out
    assert list(person.temporary.iterdir()) == []


def test_help_needs_neither_celery_nor_redis() -> None:
    # Start-up time is not asserted: what would make it long is.
    code = (
        "import sys; from producer.cli import exit_code; exit_code(['run', '--help']);"
        "print(sorted({'celery', 'kombu', 'redis', 'rich', 'sqlite3', 'pycurl'} & set(sys.modules)), file=sys.stderr)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=True)

    assert done.stderr.strip() == "[]"
    assert "--allow-net" in done.stdout


def _listens(pid: int) -> bool:
    """Has this process a listening TCP socket? One that has ended has none."""
    try:
        inodes = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}
        tables = [Path(f"/proc/{pid}/net/{table}").read_text() for table in ("tcp", "tcp6")]
    except OSError:
        return False
    for table in tables:
        for line in table.splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                return True
    return False


def _pid_of(process: subprocess.Popen[bytes], module: str) -> int | None:
    """Return the run's first process that runs this module; the server calls itself ``...-server unixsocket:...``."""
    for pid in descendants(process.pid):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"-server unixsocket", b"\0server\0").split(b"\0")
        except OSError:
            continue
        if module.encode() in words:
            return pid
    return None
