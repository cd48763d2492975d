"""A finished list run again, all of its files kept: CPU per row, memory, and when the first rows come."""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import server
from benchmarks.corpora import body
from benchmarks.scale import say, watched
from contract.records.outcomes import Attempt, Ending, Outcome, Timing
from contract.records.wire import to_json_bytes
from contract.urls.naming import Layout, output_name, output_path

SIZE = 1024  # bytes of each file
HOSTS = 2_000


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks kept", description=__doc__)
    parser.add_argument("--files", type=int, default=1_000_000, help="in the list (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()), help="where all of it goes")
    told = parser.parse_args(arguments)
    with server.work_folder(told.work) as folder:
        manifest = write_finished(folder, told.files)
        first = watched(folder, after=manifest.stat().st_ino)
        say("with a manifest to read", first)
        again = watched(folder, after=manifest.stat().st_ino)
        say("run again", again)
        print(f"{sum(again.spent().values()) / told.files * 1e6:.1f} us of CPU per row in all")
        print(f"first rows after {again.rows[0][0] if again.rows else 0:.1f} s")
    return first.code or again.code


def write_finished(folder: Path, files: int) -> Path:
    """Write a list, its files and the manifest of the job that fetched them, which no server has to do; return that."""
    out = folder / "out"
    out.mkdir()
    with (folder / "list.txt").open("w", encoding="ascii") as listed, (out / "manifest.jsonl").open("wb") as manifest:
        for number in range(files):
            host = number * 7919 % HOSTS
            url = f"http://127.2.{host // 250}.{host % 250 + 1}:8080/scale/{number * 31 % 512}.bin?n={number}"
            name, content = output_name(url), body(number, SIZE)
            path = out / output_path(name, Layout.SHARDED)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            listed.write(f"{url}\n")
            manifest.write(to_json_bytes(_outcome(url, name, path.relative_to(out), content)) + b"\n")
    return out / "manifest.jsonl"


def _outcome(url: str, name: str, path: Path, content: bytes) -> Outcome:
    return Outcome(
        url=url, name=name, path=str(path), ending=Ending.OK, http_status=200, bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(), content_type="application/octet-stream", etag='"66f2a1b0-3e8"',
        last_modified="Wed, 25 Sep 2024 10:00:00 GMT", final_url=url, attempts=(Attempt(None, 200, 0.01234),),
        started="2026-11-28T10:00:00.123456Z", remote_ip="127.2.0.1", http_version="1.1", worker="worker@host/12",
        timing=Timing(connect=0.000123, ttfb=0.001234, total=0.001510, queued=0.5),
    )  # fmt: skip
