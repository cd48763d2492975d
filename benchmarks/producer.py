"""What a local run costs beside its lanes: CPU by thread per URL of row A, one checkout against another."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from benchmarks import corpora, server
from benchmarks.corpora import ROWS, file_name
from benchmarks.meter import WALK_EVERY, tree_below
from benchmarks.server import Server

HERE = Path(__file__).resolve().parents[1]
ROW = ROWS["A"]
LOOK_EVERY = 0.03  # seconds: at the end of a process, less than that is missed of each of its threads


class Part(StrEnum):
    """Whose CPU time it is."""

    PRODUCER = "producer, main thread"
    PRODUCER_BESIDE = "producer, other threads"
    POOL = "pool processes, main threads"
    LANES = "pool processes, lanes and other threads"
    CELERY = "Celery's main process"
    REDIS = "Redis"
    REST = "supervisor"


_UNKNOWN = (Part.REST, Part.REST)  # or not yet what it is going to be


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks producer", description=__doc__)
    parser.add_argument("--urls", type=int, default=52_000, help="in the list (default: %(default)s)")
    parser.add_argument(
        "--less", type=int, default=520, help="in the list whose cost is deducted (default: %(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns of each checkout (default: %(default)s)")
    parser.add_argument(
        "--against", type=Path, help="another checkout with its .venv, measured turn by turn beside ours"
    )
    told = parser.parse_args(arguments)
    checkouts = {"this": HERE} | ({"other": told.against.resolve()} if told.against else {})
    turns: dict[str, list[Mapping[str, float]]] = {name: [] for name in checkouts}
    with server.work_folder(None) as folder, server.running(folder, late=False) as nginx:
        corpora.prepare(ROW, nginx.corpora)
        for _ in range(told.rounds):
            for name, checkout in checkouts.items():
                less = _spent(checkout, folder, nginx, told.less)
                spent = _spent(checkout, folder, nginx, told.urls)
                per_url = {key: (spent[key] - less[key]) / (told.urls - told.less) * 1e6 for key in spent}
                turns[name].append(per_url)
                print(name, "  ".join(f"{key} {value:.2f}" for key, value in per_url.items()), flush=True)
    _report(turns)
    return 0


def _report(turns: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    print("\nus per URL, medians" + ("; this / other: the median of the pairs" if len(turns) > 1 else ""))
    for key in turns["this"][0]:
        columns = [f"{key:40}"]
        columns += [f"{name} {statistics.median(turn[key] for turn in taken):7.2f}" for name, taken in turns.items()]
        if "other" in turns:
            pairs = [ours[key] / other[key] for ours, other in zip(*turns.values(), strict=True) if other[key]]
            columns += [f"{statistics.median(pairs):.3f}"] if pairs else []
        print("  ".join(columns))


def _spent(checkout: Path, folder: Path, nginx: Server, urls: int) -> Mapping[str, float]:
    """Run a list of so many URLs, and return the CPU seconds of each part, and the seconds it took."""
    place = folder / "turn"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    base = f"{nginx.base(ROW)}/{ROW.bodies}"
    lines = (f"{base}/{file_name(number % ROW.files)}?n={number}\n" for number in range(urls))
    (place / "list.txt").write_text("".join(lines), "ascii")
    python = checkout / ".venv" / "bin" / "python"
    command = [
        str(python) if python.exists() else sys.executable,
        "-P",
        "-m",
        "producer",
        "run",
        "list.txt",
        "-o",
        "out",
    ]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = subprocess.Popen(
        [*command, "--quiet", "--allow-net", "127.0.0.0/8"], cwd=place, env={**kept, "PYTHONPATH": str(checkout)}
    )
    begun = time.monotonic()
    seen = _watch(process)
    took = time.monotonic() - begun
    rows = (place / "out" / "manifest.jsonl").read_bytes().count(b"\n")
    if process.returncode or rows != urls:
        raise SystemExit(f"{checkout} ended with exit code {process.returncode} and {rows} rows of {urls}")
    return {**{part: seen[part] for part in Part}, "wall time": took}


def _watch(process: subprocess.Popen[bytes]) -> Mapping[Part, float]:
    """Wait for the end of a run, and return the CPU seconds of each part."""
    threads: dict[tuple[int, int], tuple[Part, float]] = {}
    parts: dict[int, tuple[Part, Part]] = {}
    looks = 0
    while process.poll() is None:
        if looks % WALK_EVERY == 0:
            for pid in (process.pid, *tree_below(process.pid)):
                if parts.get(pid, _UNKNOWN) == _UNKNOWN:  # else its parent may have ended meanwhile
                    parts[pid] = _parts_of(pid, process.pid)
        looks += 1
        for pid, (main, others) in parts.items():
            for thread, seconds in _seconds_by_thread(pid):
                threads[pid, thread] = (main if thread == pid else others, seconds)
        time.sleep(LOOK_EVERY)
    seen = dict.fromkeys(Part, 0.0)
    for part, seconds in threads.values():
        seen[part] += seconds
    return seen


def _parts_of(pid: int, producer: int) -> tuple[Part, Part]:
    """Return what a process' main thread and its other threads are."""
    if pid == producer:
        return Part.PRODUCER, Part.PRODUCER_BESIDE
    command, parent = _about(pid)
    if b"-m\0worker" in command:
        is_pool = b"-m\0worker" in _about(parent)[0]
        return (Part.POOL, Part.LANES) if is_pool else (Part.CELERY, Part.CELERY)
    is_redis = any(name in command for name in (b"redis", b"valkey"))
    return (Part.REDIS, Part.REDIS) if is_redis else _UNKNOWN


def _about(pid: int) -> tuple[bytes, int]:
    """Return a process' command line and its parent; of one that has ended, nothing."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return command, int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return b"", 0


def _seconds_by_thread(pid: int) -> Iterator[tuple[int, float]]:
    """Yield the threads of a process and the CPU seconds each has used; nothing once it has ended."""
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            nanoseconds, _, _ = Path(f"/proc/{pid}/task/{thread}/schedstat").read_bytes().split()
            yield int(thread), int(nanoseconds) / 1e9
