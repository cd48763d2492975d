"""`python -m benchmarks slow --scenario NAME`: what is slow, and what it costs the rest."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

from benchmarks.server import work_folder
from benchmarks.slow import fair, hangs, hosts, stopping, throttled
from benchmarks.slow.bench import Bench, Finding, Scenario

SCENARIOS: dict[str, Scenario] = {
    **hangs.SCENARIOS,
    **throttled.SCENARIOS,
    **hosts.SCENARIOS,
    **fair.SCENARIOS,
    **stopping.SCENARIOS,
}


def main(arguments: Sequence[str]) -> int:
    told = _parser().parse_args(arguments)
    names = list(SCENARIOS) if told.scenario == "all" else told.scenario.split(",")
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        sys.exit(f"unknown scenarios: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    failed = 0
    for name in names:
        with work_folder(None) as folder:
            bench = Bench(
                folder=folder,
                seed=told.seed,
                scale=told.scale,
                rounds=told.rounds,
                tries=told.tries,
                is_whole=told.whole,
            )
            begun = time.monotonic()
            for finding in SCENARIOS[name](bench):
                failed += _show(finding, judges_times=told.scale >= 1)
            bench.tell(f"{name}: {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


def _show(finding: Finding, *, judges_times: bool) -> bool:
    """Print a figure; True: it is not as it should be."""
    is_judged = judges_times or not finding.is_time
    state = "    " if not is_judged else "ok  " if finding.is_right else "FAIL"
    print(f"{state}  {finding.text}", flush=True)
    return is_judged and not finding.is_right


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks slow", description=__doc__)
    parser.add_argument("--scenario", default="all", help=f"of {', '.join(SCENARIOS)}, by commas (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="part of each list; below 1 only counts are judged")
    parser.add_argument("--seed", type=int, default=1, help="of what is drawn at random (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="turns of baseline and scenario (default: %(default)s)")
    parser.add_argument("--tries", type=int, default=60, help="of what is tried once each (default: %(default)s)")
    parser.add_argument("--whole", action="store_true", help="let runs go on to their end, not to their last good URL")
    return parser
