"""`python -m benchmarks web`: a list as the web is, through a link with latency, each client in turn."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.meter import machine_busy, measure
from benchmarks.record import machine, machine_name
from benchmarks.server import work_folder
from benchmarks.web import site
from benchmarks.web.contestants import Contestant, Place, contestants
from benchmarks.web.ideal import ideal
from benchmarks.web.listing import Listing, draw
from benchmarks.web.score import PARTS, Score, look, markdown
from tests.support import netbox


def main(arguments: Sequence[str]) -> int:
    told = parser().parse_args(arguments)
    if reason := netbox.why_not():
        sys.exit(reason)
    netbox.enter([], nameserver="127.0.0.1")  # whose only name server is the web's
    return race(told)


def race(told: argparse.Namespace) -> int:
    """Let each client take its turns, in a network of our own; return the exit code."""
    entered = {each.name: each for each in contestants(told.against)}
    names = told.clients.split(",") if told.clients else list(entered)
    unknown = [name for name in names if name not in entered]
    if unknown:
        sys.exit(f"unknown clients: {', '.join(unknown)}; there are {', '.join(entered)}")
    racers = [entered[name] for name in names if entered[name].is_there()]
    listing = draw(told.seed, told.scale)
    best = _ideal(listing)
    scores = []
    with work_folder(told.work) as folder, site.running(listing, folder) as web:
        place = Place(listing, web, folder / "turn", folder / "turn" / "out")
        for number in range(told.rounds):
            shift = number % len(racers)
            for racer in racers[shift:] + racers[:shift]:
                scores.append(_turn(racer, number, place, told.limit))
                print(markdown(best, scores[-1:]).splitlines()[-1], file=sys.stderr, flush=True)
    text = markdown(best, scores)
    print(text)
    if told.write:
        for path in _write(told, listing, [best, *scores], text):
            print(path)
    return 1 if any(score.lost or score.wrong for score in scores if score.client.startswith("trawl")) else 0


def _ideal(listing: Listing) -> Score:
    best = ideal(listing)
    return Score(
        client="ideal",
        good=len(best.good),
        first=best.good[0],
        reached=[best.at(part) for part in PARTS],
        best=best.good[-1],
        last=best.last,
        connections=best.connections,
    )


def _turn(racer: Contestant, number: int, place: Place, limit: float) -> Score:
    shutil.rmtree(place.folder, ignore_errors=True)
    place.output.mkdir(parents=True)
    place.site.forget()
    argv, env, log = racer.command(place), racer.environment(place), place.folder / "client.log"
    served, busy, accepted, begun = place.site.cpu(), machine_busy(), place.site.accepted(), time.time()
    cost = measure(argv, cwd=place.folder, env=env, log=log, time_limit=limit)
    served, busy, accepted = place.site.cpu() - served, machine_busy() - busy, place.site.accepted() - accepted - 1
    found = look(place.listing.lines, place.site.bodies, place.output)
    moments = [moment - begun for moment in found.moments] or [0.0]
    reached = [found.at(part) for part in PARTS]
    return Score(
        client=racer.name,
        round=number,
        good=len(found.moments),
        lost=found.lost,
        wrong=found.wrong,
        first=moments[0],
        reached=[None if moment is None else moment - begun for moment in reached],
        best=moments[-1],
        last=cost.wall,
        cpu=cost.cpu,
        peak=max((process.peak for process in cost.processes), default=0),
        connections=accepted,
        server_cpu=served,
        foreign_cpu=max(0.0, busy - served - cost.cpu),
        timed_out=cost.timed_out,
    )


def _write(told: argparse.Namespace, listing: Listing, scores: Sequence[Score], text: str) -> Iterator[Path]:
    """Write ``<date>-<machine>-web`` as .json and .md."""
    described, now = machine(), datetime.now(UTC)
    stem = told.results / f"{now:%Y-%m-%d}-{machine_name(described)}-web"
    told.results.mkdir(parents=True, exist_ok=True)
    list_of = {"seed": told.seed, "scale": told.scale, "urls": len(listing.lines), "hosts": len(listing.hosts)}
    found = {
        "taken": now.isoformat(timespec="seconds"),
        "machine": described,
        "list": list_of,
        "scores": [asdict(score) for score in scores],
    }
    title = f"# Row W of {now:%Y-%m-%d}\n\n{', '.join(described.values())}; {json.dumps(list_of)}\n\n"
    for suffix, page in ((".json", json.dumps(found, indent=1) + "\n"), (".md", title + text)):
        path = stem.with_name(stem.name + suffix)
        path.write_text(page, "utf-8")
        yield path


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks web", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="part of the list, its hosts and its places in flight")
    parser.add_argument("--seed", type=int, default=1, help="of the list (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="turns of each client (default: %(default)s)")
    parser.add_argument("--clients", help="names, by commas (default: all that are installed)")
    parser.add_argument("--limit", type=float, default=120.0, help="seconds of a turn (default: %(default)g)")
    parser.add_argument("--against", type=Path, help="another checkout, whose trawl takes part as trawl-against")
    parser.add_argument("--work", type=Path, help="where bodies and outputs go (default: a new folder in /dev/shm)")
    parser.add_argument("--results", type=Path, default=Path(__file__).parents[1] / "results")
    parser.add_argument("--no-write", dest="write", action="store_false", help="print only")
    return parser
