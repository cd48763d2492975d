"""``trawl demo``: a run against a local web server, and a check of its results."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from contract.errors import FolderError, ServiceError
from contract.records.policy import JobPolicy
from contract.urls.naming import output_name
from producer.commands.demo_server import file_body
from producer.commands.preparation import RunOptions, WorkerOptions
from producer.commands.run import run
from producer.display.console import Console
from producer.display.summary import Summary
from producer.job.plan import JobSpec, prepare_folder
from producer.storage.regular import open_regular
from producer.wiring import Producer

LOOPBACK = "127.0.0.0/8"

_HEAD = "# What trawl demo downloads."
_FILES = 300
_MOVED, _BUSY, _GONE, _MISSING, _BROKEN = 10, 5, 3, 4, 2
_EXPECTED = {"ok": _FILES + _MOVED + _BUSY, "kept": 0, "failed": _GONE + _MISSING + _BROKEN, "refused": 2}


@contextmanager
def demo_server(*, latency: float, spread: float) -> Iterator[str]:
    """Run the demo's web server; yields its address, ``http://127.0.0.1:port``."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "producer.commands.demo_server",
        "--latency",
        str(latency),
        "--spread",
        str(spread),
    ]
    here = str(Path(__file__).resolve().parents[2])
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, env={"PYTHONPATH": here}
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        port = server.stdout.readline().strip().decode()
        if not port:
            raise ServiceError("The demo's web server did not start.")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stdin.close()
        try:
            server.wait(5)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
        server.stdout.close()


def demo_list(address: str) -> list[str]:
    """Return the demo's lines: mostly files, and a few of everything else that a list may hold."""
    lines = [_HEAD, *(f"{address}/file/{number}" for number in range(_FILES))]
    lines += [f"{address}/moved/{number}" for number in range(_MOVED)]
    lines += [f"{address}/busy/{number}" for number in range(_BUSY)]
    lines += [f"{address}/gone/{number}" for number in range(_GONE)]
    lines += [f"{address}/missing/{number}" for number in range(_MISSING)]
    lines += [f"{address}/broken/{number}" for number in range(_BROKEN)]
    lines += [f"{address}/file/7", f"{address}/file/8"]  # again: fetched once
    lines += ["ftp://127.0.0.1/not/http", "http://[not-an-address/", ""]
    return lines


def demo(output: Path, worker: WorkerOptions, producer: Producer, console: Console) -> Summary:
    """Run the demo in a folder.

    Raises:
        TrawlError: it cannot run.
    """
    manifest = (output / "manifest.jsonl").absolute()
    prepare_folder(output, manifest)
    with demo_server(latency=0.05, spread=0.8) as address:
        urls = output / "urls.txt"
        _write_list(urls, demo_list(address))
        console.mention(f"A web server for this demo listens on {address}; its list is in {urls}.")
        spec = JobSpec(lists=[str(urls)], policy=JobPolicy(allow_nets=(LOOPBACK,)), manifest=manifest, is_fresh=True)
        options = RunOptions(spec=spec, output=output, manifest=manifest, worker=worker)
        # No cluster could reach a server that listens on loopback.
        return run(options, producer.without_cluster(), console)


def _write_list(path: Path, lines: Sequence[str]) -> None:
    file = open_regular(path, os.O_RDWR | os.O_CREAT, subject=str(path))
    with os.fdopen(file, "r+", encoding="utf-8", errors="replace") as text:
        if text.read(len(_HEAD)) not in ("", _HEAD):
            raise FolderError(f"{path} is not the demo's list and was left alone; name another folder with -o.")
        text.seek(0)
        text.truncate()
        text.writelines(f"{line}\n" for line in lines)


def faults(output: Path, summary: Summary) -> list[str]:
    """Compare the files with what the server sent; return the differences."""
    found = []
    if summary.tally.counts != _EXPECTED:
        found.append(f"the outcomes should be {_EXPECTED} and are {summary.tally.counts}")
    rows = [json.loads(line) for line in (output / "manifest.jsonl").open()]
    wrong = Counter(_fault_of(output, row) for row in rows)
    found += [f"{count} files {fault}" for fault, count in wrong.items() if fault]
    return found


def _fault_of(output: Path, row: Mapping[str, str]) -> str | None:
    path = output / output_name(row["url"])
    if row["outcome"] != "ok":
        return "should not be there" if path.exists() else None
    if not path.is_file():
        return "are missing"
    expected = file_body(int(row["url"].rpartition("/")[2]))
    if hashlib.sha256(path.read_bytes()).digest() != hashlib.sha256(expected).digest():
        return "differ from what the server sent"
    return None
