"""Rounds: every client takes its turn at a row before anyone takes a second one; a noisy minute hits all alike."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import corpora
from benchmarks.client import Client, Reading, Run
from benchmarks.corpora import Link, Row, Unit
from benchmarks.meter import Cost, Process, largest_first, machine_busy, measure
from benchmarks.server import Server

_MORE_THAN_RIGHT = 3  # names of wrong files a report shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What one client showed on one row in one round. Seconds, bytes, and rates in the row's unit."""

    row: str
    client: str
    round: int
    rate: float
    wall: float
    cpu: float  # of the client's whole process tree
    server_cpu: float  # of nginx and the relay
    foreign_cpu: float  # of everything else on the machine: noise
    processes: tuple[Process, ...]
    wrong: tuple[str, ...]  # empty: every byte is where it belongs
    command: str = ""
    details: dict[str, float] = field(default_factory=dict)

    @property
    def peak(self) -> int:
        """Bytes of the largest process."""
        return self.processes[0].peak if self.processes else 0


def turns(
    row: Row,
    racers: Sequence[Client],
    server: Server,
    folder: Path,
    *,
    rounds: int,
    in_flight: int | None,
    tell: Callable[[Turn], None],
) -> Iterator[Turn]:
    """Run a row: every client once per round, the order turning by one each time."""
    source = corpora.prepare(row, server.corpora)
    for number in range(rounds):
        order = [racer for racer in racers if number == 0 or row.key not in racer.slow_on]
        shift = number % len(order)
        for racer in order[shift:] + order[:shift]:
            turn = _turn(row, racer, server, folder, source, number, in_flight or racer.open_at_once(row))
            tell(turn)
            yield turn


def reason_to_skip(client: Client, row: Row, server: Server) -> str | None:
    """Return why a client does not run a row, None when it does."""
    if row.link is not Link.LOOPBACK and not server.has_late_link:
        return "needs a TUN device: run as root or under `unshare -rn`"
    if client.is_limit:
        return None if row.limit == client.name else "not this row's limit"
    return client.skips(row)


def _turn(row: Row, client: Client, server: Server, folder: Path, source: Path, number: int, in_flight: int) -> Turn:
    place = folder / "turn"
    shutil.rmtree(place, ignore_errors=True)
    output = place / "out"
    output.mkdir(parents=True)
    run = Run(
        row=row,
        server=server,
        urls=server.urls(row),
        folder=place,
        output=output,
        in_flight=in_flight,
        log=place / "client.log",
    )
    command = client.command(run)
    with client.beside(run) as services:
        env = _environment({**command.env, **services.env})
        before = (server.cpu(), services.cpu(), machine_busy())
        cost = measure(command.argv, cwd=place, env=env, log=run.log, time_limit=row.time_limit)
        served, aided, busy = (
            now - then for now, then in zip((server.cpu(), services.cpu(), machine_busy()), before, strict=True)
        )
        processes = largest_first((*cost.processes, *services.processes()))
    wrong = _faults(client, run, source, cost)
    reading = client.read(run, cost) if not wrong else Reading(0.0, cost.cpu)
    return Turn(
        row=row.key,
        client=client.name,
        round=number,
        rate=reading.rate,
        wall=cost.wall,
        cpu=reading.cpu + aided,
        server_cpu=served,
        foreign_cpu=max(0.0, busy - served - cost.cpu - aided),
        processes=processes,
        wrong=wrong,
        command=_shortened(command.argv, folder),
        details=reading.details,
    )


def _faults(client: Client, run: Run, source: Path, cost: Cost) -> tuple[str, ...]:
    found = []
    if cost.timed_out:
        found.append(f"not done within {run.row.time_limit:g} s")
    elif cost.code != 0:
        said = run.log.with_name(run.log.name + ".err").read_text("utf-8", "replace").strip()
        found.append(f"exit code {cost.code}: {said[-200:]}")
    if cost.left_behind:
        found.append(f"{cost.left_behind} processes were left behind")
    if not (client.is_limit and run.row.unit is Unit.URLS):  # wrk stores nothing
        found.extend(corpora.check(run.row, source, run.output).wrong[:_MORE_THAN_RIGHT])
    return tuple(found)


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    """Return a plain environment: no proxy, no settings of the machine's owner for any of the clients."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "HOME") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", **added}


def _shortened(argv: Sequence[str], folder: Path) -> str:
    """Return a command line for the record: without this machine's folders, and with long lists cut."""
    shown = [word.replace(str(folder / "turn"), "$TURN").replace(str(folder), "$RACE") for word in argv[:40]]
    shown = [Path(word).name if word.startswith("/") else word for word in shown]
    return " ".join(shown) + (" ..." if len(argv) > len(shown) else "")
