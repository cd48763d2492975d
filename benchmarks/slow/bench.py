"""What every scenario is given, and what it says: figures beside their limits."""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.slow.trial import Trial, fetch


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure of a scenario. ``is_time`` tells one that a busy machine, or a small scale, makes worthless."""

    text: str
    is_right: bool
    is_time: bool = False


Scenario = Callable[["Bench"], Iterator[Finding]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """``scale`` is the part of each list that is fetched, ``rounds`` how often baseline and scenario take turns."""

    folder: Path
    seed: int = 1
    scale: float = 1.0
    rounds: int = 1
    tries: int = 60  # of what is done once per try, as stopping a worker
    descriptors: int = 0  # `ulimit -n` of the runs; 0: ours
    is_whole: bool = False  # runs go on to their end where the good URLs would do

    def random(self, name: str) -> random.Random:
        return random.Random(f"{self.seed} {name}")

    def some(self, count: int, least: int = 1) -> int:
        return max(least, round(count * self.scale))

    def tell(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def fetch(
        self, name: str, urls: Sequence[str], good: Sequence[str], *options: str, limit: float, whole: bool = False
    ) -> Trial:
        trial = fetch(
            urls,
            good,
            *options,
            folder=self.folder / name,
            limit=limit,
            to_the_end=whole or self.is_whole,
            descriptors=self.descriptors,
        )
        took = "not all" if trial.took is None else f"{trial.took:.1f} s"
        ended = "stopped" if trial.code is None else f"exit {trial.code} after {trial.wall:.1f} s"
        self.tell(
            f"  {name}: {trial.stored} of {trial.good} good in {took}, CPU {trial.cpu:.1f} s,"
            f" longest gap {trial.longest_gap:.1f} s, {ended}"
        )
        return trial


def all_stored(name: str, trials: Sequence[Trial]) -> Finding:
    worst = min(trials, key=lambda trial: trial.stored - trial.good)
    return Finding(f"{name}: {worst.stored} of {worst.good} good URLs stored", worst.stored == worst.good)


def in_proportion(
    name: str, trials: Sequence[Trial], bases: Sequence[Trial], factor: float, more: float = 0.0
) -> Finding:
    """Compare when the good URLs were stored with the same without what is slow, turn by turn; the median counts."""
    pairs = [(trial.took or trial.wall, base.took or base.wall) for trial, base in zip(trials, bases, strict=True)]
    took, base = sorted(pairs, key=lambda pair: pair[0] / pair[1])[len(pairs) // 2]
    limit = factor * base + more
    allowed = f"{factor:g} x" + (f" + {more:g} s" if more else "")
    missing = any(trial.took is None for trial in trials)
    text = f"{name}: {'more than ' if missing else ''}{took:.1f} s against {base:.1f} s alone = {took / base:.2f} x"
    return Finding(f"{text} (at most {allowed})", took <= limit and not missing, is_time=True)


def never_idle(name: str, trials: Sequence[Trial]) -> Finding:
    longest = max(trial.longest_gap for trial in trials)
    return Finding(f"{name}: at most {longest:.1f} s without a good URL (at most 10 s)", longest <= 10.0, True)


def cpu_of(name: str, trials: Sequence[Trial], bases: Sequence[Trial]) -> Finding:
    """Say what it cost; there is no limit to keep."""
    cpu, base = (statistics.median(trial.cpu for trial in each) for each in (trials, bases))
    return Finding(f"{name}: {cpu:.1f} CPU-s against {base:.1f}", True, True)
