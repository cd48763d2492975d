"""A long list through the whole stack, killed at half, continued, run again: memory, and what each tenth costs."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import server
from benchmarks.corpora import body
from benchmarks.meter import look, tree_below

HERE = Path(__file__).resolve().parents[1]
BODIES = 512  # of 0.5 to 4 KB
LOOK_EVERY = 0.2  # seconds


@dataclass(slots=True)
class Course:
    """What was seen of one command: peaks in bytes and CPU seconds by kind of process, and when rows were there."""

    peaks: dict[str, int] = field(default_factory=dict)
    cpu: dict[tuple[int, str], float] = field(default_factory=dict)
    rows: list[tuple[float, int, float]] = field(default_factory=list)  # seconds, rows, CPU seconds
    code: int = 0

    def spent(self) -> dict[str, float]:
        """Return the CPU seconds by kind of process."""
        spent: dict[str, float] = {}
        for (_, kind), seconds in self.cpu.items():
            spent[kind] = spent.get(kind, 0.0) + seconds
        return spent

    def cost_of(self, start: int, end: int) -> float:
        """Return the microseconds of CPU of each of these rows."""
        inside = [(rows, cpu) for _, rows, cpu in self.rows if start <= rows <= end]
        if len(inside) < 2 or inside[-1][0] == inside[0][0]:
            return 0.0
        return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0]) * 1e6


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale", description=__doc__)
    parser.add_argument("--urls", type=int, default=1_000_000, help="in the list (default: %(default)s)")
    parser.add_argument("--hosts", type=int, default=2_000, help="loopback addresses (default: %(default)s)")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()), help="where all of it goes")
    told = parser.parse_args(arguments)
    with server.work_folder(told.work) as folder, server.running(folder, late=False) as nginx:
        write_bodies(nginx.corpora / "scale")
        write_list(folder / "list.txt", told.urls, told.hosts, nginx.plain)
        first = watched(folder, until=told.urls // 2)
        say("until half", first)
        rest = watched(folder)
        say("continued", rest)
        tenth = told.urls // 10
        begun, ended = first.cost_of(0, tenth), rest.cost_of(told.urls - tenth, told.urls)
        print(f"first tenth {begun:.1f} us of CPU per URL, last tenth {ended:.1f}: {ended / (begun or 1):.3f} of it")
        print(f"{_unique(folder / 'out' / 'manifest.jsonl'):,} URLs have a row, of {told.urls:,}", flush=True)
        again = watched(folder, after=(folder / "out" / "manifest.jsonl").stat().st_ino)
        say("run again", again)
        print(f"first rows after {again.rows[0][0] if again.rows else 0:.1f} s")
    return first.code or rest.code or again.code


def write_bodies(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(BODIES):
        (folder / f"{number}.bin").write_bytes(body(number, 512 + 7 * number))


def write_list(path: Path, urls: int, hosts: int, port: int) -> None:
    with path.open("w", encoding="ascii") as file:
        for number in range(urls):
            host = number * 7919 % hosts
            address = f"127.2.{host // 250}.{host % 250 + 1}"
            file.write(f"http://{address}:{port}/scale/{number * 31 % BODIES}.bin?n={number}\n")


def watched(folder: Path, until: int | None = None, after: int | None = None) -> Course:
    """Run ``folder/list.txt``, and kill the command (-9) when so many rows are there.

    ``after`` is the last manifest's inode.
    """
    command = [sys.executable, "-P", "-m", "producer", "run", "list.txt", "-o", "out", "--layout", "sharded"]
    options = ["--allow-net", "127.0.0.0/8", "--quiet", "--processes", "2", "--digest", "sha256"]
    environment = {name: value for name, value in os.environ.items() if not name.endswith("BROKER_URL")}
    process = subprocess.Popen(
        [*command, *options], cwd=folder, env={**environment, "PYTHONPATH": str(HERE)}, stdout=subprocess.DEVNULL
    )
    course, begun, manifest = Course(), time.monotonic(), folder / "out" / "manifest.jsonl"
    seen, at = 0, 0
    while process.poll() is None:
        _look(process.pid, course)
        at, more = _lines_since(manifest, at, after)
        seen += more
        if more:
            course.rows.append((time.monotonic() - begun, seen, sum(course.cpu.values())))
        if until is not None and seen >= until:
            os.kill(process.pid, signal.SIGKILL)
            until = None
        time.sleep(LOOK_EVERY)
    course.code = 0 if process.returncode == -signal.SIGKILL else process.returncode
    return course


def _look(pid: int, course: Course) -> None:
    for each in (pid, *tree_below(pid)):
        found = look(each)
        if found is None:
            continue
        kind = _kind(found.command)
        course.peaks[kind] = max(course.peaks.get(kind, 0), found.peak)
        course.cpu[each, kind] = found.cpu


def _kind(command: str) -> str:
    marks: Mapping[str, str] = {"-m producer": "producer", "valkey": "Redis", "redis": "Redis", "-m worker": "worker"}
    return next((kind for mark, kind in marks.items() if mark in command), "other")


def _lines_since(path: Path, start: int, after: int | None) -> tuple[int, int]:
    """Return how long a file is and how many lines it has from ``start`` on; nothing of the one with this inode."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_ino == after:
                return 0, 0
            file.seek(start)
            lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
            return file.tell(), lines
    except FileNotFoundError:
        return 0, 0


def say(what: str, course: Course) -> None:
    """Print what was seen of a command."""
    rows = course.rows[-1][1] if course.rows else 0
    seconds = course.rows[-1][0] if course.rows else 0.0
    print(f"{what}: {rows:,} rows seen, {seconds:.0f} s, exit {course.code}")
    for kind, cpu in sorted(course.spent().items()):
        print(f"  {kind:9} largest {course.peaks[kind] / 1e6:4.0f} MB  {cpu:7.1f} s of CPU", flush=True)


def _unique(manifest: Path) -> int:
    with manifest.open("rb") as rows:
        return len({json.loads(row)["name"] for row in rows})
