"""From turns to the table: medians, ratios paired by round, targets met or missed."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.corpora import Row, Unit
from benchmarks.ours import CLUSTER, LANE, TRAWL
from benchmarks.rounds import Turn

END_TO_END = (TRAWL, CLUSTER)  # those of ours that the targets of rate and memory are meant for
CPU_ROW, CPU_PEER = "A", "curl"
CPU_AT_MOST = {TRAWL: 1.5, CLUSTER: 1.5, LANE: 1.0}  # our CPU seconds per 1,000 URLs over curl's
PEAK_BELOW = 150  # MB of one process, on every row


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One client on one row: medians over its right turns."""

    row: str
    client: str
    turns: int
    rate: float
    cpu_per_1000: float  # CPU seconds per 1,000 URLs
    cpu_per_gb: float  # CPU seconds per gigabyte
    peak: int  # bytes of the largest process in any turn
    wall: float
    details: Mapping[str, float]
    wrong: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A target, in words, and what came of it."""

    row: str
    client: str
    target: str
    value: float
    is_met: bool


def cells(rows: Mapping[str, Row], turns: Sequence[Turn]) -> list[Cell]:
    """Sum the turns up, one cell per row and client that ran it."""
    groups: dict[tuple[str, str], list[Turn]] = {}
    for turn in turns:
        groups.setdefault((turn.row, turn.client), []).append(turn)
    return [_cell(rows[row], client, group) for (row, client), group in groups.items()]


def _cell(row: Row, client: str, group: Sequence[Turn]) -> Cell:
    # A turn that left a wrong or missing file has no speed.
    right = [turn for turn in group if not turn.wrong]
    names = {name for turn in right for name in turn.details}
    return Cell(
        row=row.key,
        client=client,
        turns=len(right),
        rate=_median(turn.rate for turn in right),
        cpu_per_1000=_median(turn.cpu for turn in right) / row.files * 1000,
        cpu_per_gb=_median(turn.cpu for turn in right) / (row.files * row.size / 1e9),
        peak=max((turn.peak for turn in right), default=0),
        wall=_median(turn.wall for turn in right),
        details={name: _median(turn.details[name] for turn in right if name in turn.details) for name in sorted(names)},
        wrong=tuple(sentence for turn in group for sentence in turn.wrong),
    )


def _median(values: Iterable[float]) -> float:
    found = list(values)
    return statistics.median(found) if found else 0.0


def paired_ratio(turns: Sequence[Turn], row: str, ours: str, rival: str, *, cost: bool = False) -> float | None:
    """Return the median over the rounds of our rate over the rival's in the same round (CPU seconds with ``cost``).

    A rival that ran in the first round only is compared with our median instead. None when either has no right turn.
    """
    mine = {
        turn.round: turn.cpu if cost else turn.rate
        for turn in turns
        if (turn.row, turn.client) == (row, ours) and not turn.wrong
    }
    theirs = {
        turn.round: turn.cpu if cost else turn.rate
        for turn in turns
        if (turn.row, turn.client) == (row, rival) and not turn.wrong
    }
    if not mine or not theirs:
        return None
    common = mine.keys() & theirs.keys()
    if len(common) * 2 < len(mine):
        return statistics.median(mine.values()) / statistics.median(theirs.values())
    return statistics.median(mine[number] / theirs[number] for number in common)


def best_peer(summed: Iterable[Cell], row: str, peers: Iterable[str]) -> str | None:
    """Return the peer with the highest median rate on a row."""
    among = set(peers)
    able = [cell for cell in summed if cell.row == row and cell.client in among and cell.turns]
    return max(able, key=lambda cell: cell.rate).client if able else None


def verdicts(
    rows: Sequence[Row], turns: Sequence[Turn], *, ours: Sequence[str], rivals: Sequence[str]
) -> list[Verdict]:
    """Judge the targets of every one of ours on the rows that ran."""
    summed = cells({row.key: row for row in rows}, turns)
    found: list[Verdict] = []
    for row in rows:
        rival = row.limit if row.against_limit else best_peer(summed, row.key, rivals)
        for client in ours:
            if client in END_TO_END:
                found += _rate_verdict(row, turns, client, rival)
                found += _peak_verdict(row, turns, client)
            if row.key == CPU_ROW and client in CPU_AT_MOST:
                found += _cpu_verdict(row, turns, client)
    return found


def _rate_verdict(row: Row, turns: Sequence[Turn], client: str, rival: str | None) -> list[Verdict]:
    ratio = paired_ratio(turns, row.key, client, rival) if rival else None
    if row.target is None or rival is None or ratio is None:
        return []
    words = f"rate at least {row.target:g} x {rival}"
    return [Verdict(row=row.key, client=client, target=words, value=ratio, is_met=ratio >= row.target)]


def _cpu_verdict(row: Row, turns: Sequence[Turn], client: str) -> list[Verdict]:
    ratio, most = paired_ratio(turns, row.key, client, CPU_PEER, cost=True), CPU_AT_MOST[client]
    if ratio is None:
        return []
    words = f"CPU at most {most:g} x {CPU_PEER}"
    return [Verdict(row=row.key, client=client, target=words, value=ratio, is_met=ratio <= most)]


def _peak_verdict(row: Row, turns: Sequence[Turn], client: str) -> list[Verdict]:
    peak = worker_peak(turns, row.key, client) / 1e6
    words = f"every process below {PEAK_BELOW:g} MB"
    return [Verdict(row=row.key, client=client, target=words, value=peak, is_met=peak < PEAK_BELOW)] if peak else []


def worker_peak(turns: Iterable[Turn], row: str, ours: str) -> int:
    """Return the bytes of our largest process on a row, Redis aside: it holds the queue, not the work."""
    peaks = [
        process.peak
        for turn in turns
        if (turn.row, turn.client) == (row, ours)
        for process in turn.processes
        if not any(name in process.command.split(" ", 1)[0] for name in ("redis-server", "valkey"))
    ]
    return max(peaks, default=0)


def markdown(rows: Sequence[Row], turns: Sequence[Turn], *, ours: Sequence[str], rivals: Sequence[str]) -> str:
    """Return two tables: a line per row and client with the ratios of our rates to it, and the targets."""
    summed = cells({row.key: row for row in rows}, turns)
    able = {*ours, *rivals}
    ratios = "".join(f" {name} / client |" for name in ours)
    lines = [
        "| row | client | rate | CPU-s per 1,000 URLs | CPU-s per GB | largest process | rounds |" + ratios,
        "|---|---|--:|--:|--:|--:|--:|" + "--:|" * len(ours),
    ]
    for row in rows:
        best = best_peer(summed, row.key, rivals)
        shown = sorted(
            (cell for cell in summed if cell.row == row.key), key=lambda cell: (cell.client not in able, -cell.rate)
        )
        lines += [_line(row, cell, turns, ours, best) for cell in shown]
    judged = verdicts(rows, turns, ours=ours, rivals=rivals)
    if judged:
        lines += ["", "| row | client | target | measured | |", "|---|---|---|--:|---|"]
        lines += [
            f"| {it.row} | {it.client} | {it.target} | {it.value:.2f} | {'met' if it.is_met else '**missed**'} |"
            for it in judged
        ]
    faults = [f"- {cell.row}, {cell.client}: {sentence}" for cell in summed for sentence in cell.wrong]
    return "\n".join([*lines, *(["", "Wrong or unfinished:", "", *faults] if faults else []), ""])


def _line(row: Row, cell: Cell, turns: Sequence[Turn], ours: Sequence[str], best: str | None) -> str:
    name = (
        f"**{cell.client}**"
        if cell.client in ours
        else f"{cell.client} (best peer)"
        if cell.client == best
        else cell.client
    )
    if not cell.turns:
        return f"| {row.key} | {name} | no right turn | | | | 0 |" + " |" * len(ours)
    ratios = [paired_ratio(turns, row.key, mine, cell.client) if mine != cell.client else None for mine in ours]
    per_url, per_gb = (f"{cell.cpu_per_1000:.3f}", "") if row.unit is Unit.URLS else ("", f"{cell.cpu_per_gb:.2f}")
    shown = ["" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
    peak = f"{cell.peak / 1e6:,.0f} MB"
    columns = [row.key, name, f"{cell.rate:,.0f} {row.unit}", per_url, per_gb, peak, str(cell.turns), *shown]
    return f"| {' | '.join(columns)} |"
