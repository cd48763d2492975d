"""What `trawl enqueue` costs: CPU, bytes written and memory per URL of long lists, one checkout against another."""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import server
from contract.cluster.broker import connect
from producer.cluster.embedded import Embedded

HERE = Path(__file__).resolve().parents[1]
DOUBLES = 0.05  # of the lines


@dataclass(frozen=True, slots=True)
class Turn:
    """One command: microseconds of CPU and bytes written per line, peak memory in MB."""

    cpu: float
    written: float
    peak: float


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks intake", description=__doc__)
    parser.add_argument("--lines", default="300000", help="of the lists, by commas (default: %(default)s)")
    parser.add_argument("--hosts", type=int, default=20_000, help="host names in a list (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each checkout (default: %(default)s)")
    parser.add_argument(
        "--against", type=Path, help="another checkout with its .venv, measured turn by turn beside ours"
    )
    told = parser.parse_args(arguments)
    checkouts = {"this": HERE} | ({"other": told.against.resolve()} if told.against else {})
    # On a disk: what is written to a file system in memory is not counted.
    with (
        server.work_folder(Path(tempfile.gettempdir())) as folder,
        Embedded(folder / "services", environment={}, echo=print) as services,
    ):
        services.wait_until_ready()
        for lines in map(int, told.lines.split(",")):
            write_list(folder / "list.txt", lines, told.hosts)
            turns: dict[str, list[Turn]] = {name: [] for name in checkouts}
            for _ in range(told.rounds):
                for name, checkout in checkouts.items():
                    turns[name].append(_turn(checkout, folder, lines, services.settings.broker_url))
                    connect(services.settings).flushall()
            for name, taken in turns.items():
                cpu, written, peak = (statistics.median(values) for values in zip(*map(_values, taken), strict=True))
                print(
                    f"{name:6} {lines:11,} lines  {cpu:6.2f} us of CPU  {written:7.1f} bytes written  {peak:4.0f} MB",
                    flush=True,
                )
            if told.against:
                pairs = [ours.cpu / other.cpu for ours, other in zip(turns["this"], turns["other"], strict=True)]
                print(f"this / other: {statistics.median(pairs):.3f} of the CPU, pair by pair", flush=True)
    return 0


def write_list(path: Path, lines: int, hosts: int) -> None:
    """Write URLs of about 80 bytes, their hosts in no order, some of them twice."""
    chance = random.Random(lines)
    with path.open("w", encoding="ascii") as file:
        for line in range(lines):
            number = chance.randrange(line + 1) if chance.random() < DOUBLES else line
            host = number * 7919 % hosts
            file.write(f"https://www.host-{host:05}.example/collection/{number % 977}/item-{number:010}.html?page=1\n")


def _turn(checkout: Path, folder: Path, lines: int, broker: str) -> Turn:
    cache = folder / "cache"
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), "TRAWL_BROKER_URL": broker, "PYTHONPATH": str(checkout)}
    python = checkout / ".venv" / "bin" / "python"
    command = [str(python) if python.exists() else sys.executable, "-m", "producer", "enqueue", "list.txt", "--quiet"]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    shutil.rmtree(cache, ignore_errors=True)
    if process.returncode:
        raise SystemExit(f"{checkout} ended with exit code {process.returncode}")
    # ru_oublock is what /proc/PID/io calls write_bytes, in blocks of 512 (kernel/sys.c, task_io_get_oublock).
    return Turn((used.ru_utime + used.ru_stime) * 1e6 / lines, used.ru_oublock * 512 / lines, used.ru_maxrss / 1024)


def _values(turn: Turn) -> tuple[float, float, float]:
    return turn.cpu, turn.written, turn.peak
