"""Where one lane's time goes on a row: Python functions by cProfile, everything by `perf`, or instructions counted."""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import corpora, lane, ours, server
from benchmarks.corpora import ROWS, Link, Row
from worker.engine.lane import Lane

_SHOWN = 45  # lines of a profile
_COUNTED = (500, 1500)  # URLs of the two runs whose difference excludes start-up


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks profile", description=__doc__)
    parser.add_argument("row", type=lambda key: ROWS[key.upper()], help=f"one of {', '.join(ROWS)}")
    parser.add_argument("--in-flight", type=int, help="transfers at once")
    parser.add_argument(
        "--sort", default="tottime", help="of pstats: tottime, cumulative, ncalls (default: %(default)s)"
    )
    parser.add_argument("--perf", action="store_true", help="sample with Linux perf: C code, libcurl and kernel too")
    parser.add_argument("--count", action="store_true", help="count a URL's instructions with Valgrind")
    told = parser.parse_args(arguments)
    row = told.row
    in_flight = told.in_flight or row.in_flight
    with server.work_folder(None) as folder, server.running(folder, late=row.link is not Link.LOOPBACK) as nginx:
        corpora.prepare(row, nginx.corpora)
        os.environ["TRAWL_CA_FILE"] = str(nginx.authorities)
        urls, output = nginx.urls(row), folder / "out"
        if told.perf:
            return _by_perf(ours.lane_argv(row, _listed(urls, folder), output, in_flight), folder)
        if told.count:
            return _by_count(row, urls, folder, in_flight)
        _by_cprofile(urls, str(output), in_flight, told.sort)
    return 0


def _by_cprofile(urls: list[str], output: str, in_flight: int, sort: str) -> None:
    profile = cProfile.Profile()
    drive = Lane.drive

    def profiled(self: Lane) -> None:
        profile.runcall(drive, self)

    Lane.drive = profiled  # type: ignore[method-assign]  # a profile belongs to the thread it was begun in: the lane's own
    try:
        took = lane.fetch(urls, output, in_flight=in_flight, splits=1)
    finally:
        Lane.drive = drive  # type: ignore[method-assign]  # as above
    print(
        f"{len(urls) / took['seconds']:,.0f} URL/s while profiled, {took['cpu'] / len(urls) * 1000:.3f} CPU-s per 1,000"
    )
    pstats.Stats(profile).sort_stats(sort).print_stats(_SHOWN)


def _by_perf(argv: Sequence[str], folder: Path) -> int:
    data = str(folder / "perf.data")
    record = ["perf", "record", "-q", "-F", "999", "-g", "-o", data, "--", *argv]
    subprocess.run(record, env=_environment(), check=True)
    report = ["perf", "report", "-i", data, "--stdio", "--no-children", "-g", "none", "--percent-limit", "0.5"]
    return subprocess.run(report, stderr=sys.stderr, check=False).returncode


def _by_count(row: Row, urls: Sequence[str], folder: Path, in_flight: int) -> int:
    """Leave out what depends on the clock, as periodic checks do, and digests: Valgrind's processor knows no SHA."""
    few, many = (
        _instructions(ours.lane_argv(row, _listed(urls[:number], folder), folder / f"out{number}", in_flight))
        for number in _COUNTED
    )
    print(f"{(many - few) / (_COUNTED[1] - _COUNTED[0]):,.0f} instructions per URL, without digest and periodic checks")
    return 0


def _instructions(argv: Sequence[str]) -> int:
    valgrind = ["valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", "--log-fd=1"]
    command = [*valgrind, *argv, "--digest", "none", "--tick", "3600"]
    said = subprocess.run(command, env=_environment(PYTHONHASHSEED="0"), stdout=subprocess.PIPE, text=True, check=True)
    counted = re.search(r"I +refs: +([0-9,]+)", said.stdout)
    assert counted is not None, said.stdout
    return int(counted[1].replace(",", ""))


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent), **more}


def _listed(urls: Sequence[str], folder: Path) -> str:
    path = folder / "urls.txt"
    path.write_text("\n".join(urls) + "\n", "utf-8")
    return str(path)
