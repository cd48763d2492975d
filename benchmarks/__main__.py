"""The race: `python -m benchmarks`; beside it `profile` (a lane) and the other measurements below."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
from pathlib import Path

from benchmarks import (
    corpora,
    intake,
    kept,
    ledger_cost,
    machines,
    ours,
    peers,
    producer,
    profiling,
    record,
    rounds,
    scale,
    server,
    table,
)
from benchmarks.client import version_of
from benchmarks.corpora import ROWS, Row
from benchmarks.rounds import Turn
from benchmarks.slow import command as slow
from benchmarks.web import command as web

MEASUREMENTS = {
    "profile": profiling.main,
    "ledger-cost": ledger_cost.main,
    "intake": intake.main,
    "scale": scale.main,
    "kept": kept.main,
    "producer": producer.main,
    "slow": slow.main,
    "web": web.main,
    "machines": machines.main,
}
QUICK = 10  # a quick race has a tenth of the bodies


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers and folders go with us
    if sys.argv[1:2] and sys.argv[1] in MEASUREMENTS:
        return MEASUREMENTS[sys.argv[1]](sys.argv[2:])
    told = _parser().parse_args()
    rows = [_quick(ROWS[key]) if told.quick else ROWS[key] for key in told.rows.upper().split(",")]
    entered = {client.name: client for client in (*ours.clients(told.against), *peers.peers(told.peers_python))}
    names = told.clients.split(",") if told.clients else list(entered)
    unknown = [name for name in names if name not in entered]
    if unknown:
        sys.exit(f"unknown clients: {', '.join(unknown)}; there are {', '.join(entered)}")
    versions = {name: version_of(entered[name]) for name in names}
    for name in [name for name in names if versions[name] is None]:
        print(f"{name} is not installed: left out", file=sys.stderr)
    racers = [entered[name] for name in names if versions[name] is not None]
    late = any(row.link is not corpora.Link.LOOPBACK for row in rows)
    turns: list[Turn] = []
    skipped: dict[str, str] = {}
    with server.work_folder(told.work) as folder, server.running(folder, late=late) as nginx:
        for row in rows:
            able = []
            for racer in racers:
                reason = rounds.reason_to_skip(racer, row, nginx)
                if reason is None:
                    able.append(racer)
                elif not racer.is_limit:
                    skipped[f"{row.key} {racer.name}"] = reason
            if able:
                turns += rounds.turns(
                    row,
                    able,
                    nginx,
                    folder,
                    rounds=1 if told.quick else told.rounds,
                    in_flight=told.in_flight,
                    tell=_tell,
                )
    rivals = [racer.name for racer in racers if not racer.is_limit and racer.name not in ours.NAMES]
    text = table.markdown(rows, turns, ours=[name for name in ours.NAMES if name in versions], rivals=rivals)
    print(text)
    print(record.noise(turns), file=sys.stderr)
    if told.write:
        kept = {name: version for name, version in versions.items() if version}
        for path in record.write(told.results, rows, turns, versions=kept, skipped=skipped, markdown=text, work=folder):
            print(path)
    return 1 if any(turn.wrong for turn in turns if turn.client in ours.NAMES) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", default="A,B,C,D,E,S,H,SE", help=f"of {','.join(ROWS)} (default: %(default)s)")
    parser.add_argument("--clients", help="names, by commas (default: all that are installed)")
    parser.add_argument("--against", type=Path, help="another checkout, whose trawl takes part as trawl-against")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each client (default: %(default)s)")
    parser.add_argument("--in-flight", type=int, help="transfers at once, instead of each row's own")
    parser.add_argument(
        "--quick", action="store_true", help=f"one round with a {QUICK}th of the bodies: is everything in order?"
    )
    parser.add_argument(
        "--peers-python",
        default=os.environ.get("BENCH_PEERS_PYTHON"),
        help="Python of the environment img2dataset and parfive are in",
    )
    parser.add_argument(
        "--work",
        type=Path,
        help="where bodies and outputs go (default: a new folder in /dev/shm, else the temporary folder)",
    )
    parser.add_argument(
        "--results", type=Path, default=Path(__file__).with_name("results"), help="where the results go"
    )
    parser.add_argument("--no-write", dest="write", action="store_false", help="print only")
    return parser


def _quick(row: Row) -> Row:
    return dataclasses.replace(row, files=max(1, row.files // QUICK))


def _tell(turn: Turn) -> None:
    state = "; ".join(turn.wrong) or "every byte right"
    told = [
        f"{turn.row:2} round {turn.round + 1} {turn.client:13} {turn.rate:10,.1f} {ROWS[turn.row].unit}",
        f"wall {turn.wall:6.2f} s",
        f"CPU {turn.cpu:6.2f} s",
        f"server {turn.server_cpu:5.2f} s",
        f"others {turn.foreign_cpu:5.2f} s",
        f"{turn.peak / 1e6:5.0f} MB",
        state,
    ]
    print("  ".join(told), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
