"""How a client did on row W: when its good bodies were there, what is lost or wrong, and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from benchmarks.web.listing import Line

PARTS = (0.5, 0.9, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Times are seconds since the client was started.

    ``reached`` are when these ``PARTS`` of the list's good bodies were there (None: they never were), ``best`` is when
    the last was that it got, ``last`` its last outcome. CPU seconds are of its whole tree, ``peak`` (bytes) of its
    largest process; ``foreign_cpu`` is what neither it nor the server used.
    """

    client: str
    round: int = 0
    good: int
    lost: int = 0
    wrong: int = 0
    first: float = 0.0
    reached: Sequence[float | None]
    best: float
    last: float
    cpu: float = 0.0
    peak: int = 0
    connections: int = 0
    server_cpu: float = 0.0
    foreign_cpu: float = 0.0
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in a client's folder: ``moments`` (Unix seconds) are when its good bodies were there, in order."""

    moments: Sequence[float]
    lost: int
    wrong: int

    def at(self, part: float) -> float | None:
        """Return when this part of the list's good bodies was there."""
        place = max(0, ceil(part * (len(self.moments) + self.lost)) - 1)
        return self.moments[place] if place < len(self.moments) else None


def look(lines: Sequence[Line], bodies: Path, output: Path) -> Found:
    """Compare each file that has a URL's name with what it must be; a file's last change completes or names it.

    A file that aria2 has a control file beside is unfinished, and known to be.
    """
    moments, wrong = [], 0
    for line in lines:
        path = output / line.name
        if not path.is_file() or path.with_name(path.name + ".aria2").exists():
            continue
        if line.is_happy and path.read_bytes() == (bodies / str(line.number)).read_bytes():
            moments.append(path.stat().st_ctime)
        else:
            wrong += 1
    return Found(sorted(moments), sum(line.is_happy for line in lines) - len(moments), wrong)


def markdown(ideal: Score, scores: Sequence[Score]) -> str:
    """Return a row for each turn, below the ideal's."""
    heads = ["first body", *(f"{part:.0%}" for part in PARTS), "100 % / ideal", "last got", "last outcome"]
    heads += ["good", "lost", "wrong", "CPU s", "largest", "connections", "others' CPU s"]
    lines = [f"| client | {' | '.join(heads)} |", "|---|" + "--:|" * len(heads)]
    return "\n".join([*lines, *(_row(score, ideal) for score in (ideal, *scores))]) + "\n"


def _row(score: Score, ideal: Score) -> str:
    done, whole = score.reached[-1], ideal.reached[-1]
    cells = [f"{score.first:.1f}", *("never" if at is None else f"{at:.1f}" for at in score.reached)]
    cells.append("" if done is None or whole is None else f"{done / whole:.2f}")
    cells += [f"{score.best:.1f}", f"{score.last:.1f}" + ("+" if score.timed_out else "")]
    cells += [f"{score.good:,}", str(score.lost), str(score.wrong), f"{score.cpu:.1f}", f"{score.peak / 1e6:.0f} MB"]
    return f"| {score.client} | {' | '.join(cells)} | {score.connections:,} | {score.foreign_cpu:.1f} |"
