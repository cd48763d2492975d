"""The benchmark's arithmetic and its checks: a table that flatters would be worse than none."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import corpora, machines, table
from benchmarks.corpora import ROWS
from benchmarks.meter import Process, measure
from benchmarks.rounds import Turn

A = ROWS["A"]
SMALL = replace(A, files=3, size=100)


def turn(client: str, number: int, rate: float, *, cpu: float = 1.0, wrong: tuple[str, ...] = ()) -> Turn:
    return Turn(
        row="A", client=client, round=number, rate=rate, wall=1.0, cpu=cpu, server_cpu=0.0, foreign_cpu=0.0,
        processes=(Process("python -m worker", 80_000_000, 1.0),), wrong=wrong,
    )  # fmt: skip


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    # In round 2 the machine was slow for both; medians taken apart would say 100 / 80.
    turns = [turn("trawl", 0, 100), turn("curl", 0, 80), turn("trawl", 1, 50), turn("curl", 1, 25)]
    turns += [turn("trawl", 2, 200), turn("curl", 2, 100)]

    assert table.paired_ratio(turns, "A", "trawl", "curl") == 2.0


def test_an_efficiency_is_the_median_of_rounds_on_one_storage() -> None:
    """Guards the pairing: a noisy round would be compared with a quiet one of another."""
    rounds = [(10.0, 5.0, 2.5), (20.0, 11.0, 10.0), (30.0, 20.0, 10.0)]  # seconds of one, two and four workers
    done = [
        machines.Turn(is_shared=is_shared, workers=workers, seconds=seconds, wall=1.0, busy=1.0, faults=())
        for each in rounds
        for is_shared in (False, True)
        for workers, seconds in zip((1, 2, 4), each if not is_shared else (1.0, 1.0, 1.0), strict=True)
    ]

    found = [machines.efficiency(done, workers, is_shared=False) for workers in (1, 2, 4)]

    assert found == [1.0, pytest.approx(20 / 22), 0.75]


def test_a_turn_with_a_wrong_file_has_no_speed() -> None:
    turns = [turn("curl", 0, 100), turn("curl", 1, 9_000, wrong=("1 of 3 bodies are missing",))]

    (cell,) = table.cells(ROWS, turns)

    assert (cell.rate, cell.turns, cell.wrong) == (100, 1, ("1 of 3 bodies are missing",))
    assert table.paired_ratio([*turns, turn("trawl", 0, 50)], "A", "trawl", "curl") == 0.5


def test_a_target_is_met_at_its_value_and_missed_below_it() -> None:
    turns = [turn("trawl", 0, 60), turn("curl", 0, 100), turn("aria2", 0, 90)]
    missed = [turn("trawl", 0, 59), *turns[1:]]

    def rate(among: list[Turn]) -> table.Verdict:
        return table.verdicts([A], among, ours=["trawl"], rivals=["curl", "aria2"])[0]

    assert rate(turns).is_met
    assert rate(turns).target == "rate at least 0.6 x curl"
    assert not rate(missed).is_met


def test_cpu_counts_everything_and_is_judged_against_curl() -> None:
    turns = [turn("trawl", 0, 500, cpu=1.6), turn("curl", 0, 100, cpu=1.0), turn("lane", 0, 100, cpu=0.9)]

    judged = table.verdicts([A], turns, ours=["trawl", "lane"], rivals=["curl"])

    assert [(it.client, it.is_met) for it in judged if it.target.startswith("CPU")] == [
        ("trawl", False),
        ("lane", True),
    ]


def test_the_table_names_clients_without_a_valid_turn_and_why() -> None:
    turns = [turn("trawl", 0, 1, wrong=("exit code 1: no",)), turn("curl", 0, 1000)]

    text = table.markdown([A], turns, ours=["trawl"], rivals=["curl"])

    assert "| A | **trawl** | no right turn |" in text
    assert "- A, trawl: exit code 1: no" in text
    assert "| A | curl (best peer) | 1,000 URL/s |" in text


@pytest.fixture
def served(tmp_path: Path) -> Path:
    return corpora.prepare(SMALL, tmp_path / "served")


def fetched(served: Path, output: Path) -> Path:
    output.mkdir()
    for number, body in enumerate(sorted(served.iterdir())):
        (output / f"name-{number}").write_bytes(body.read_bytes())
    return output


@pytest.mark.parametrize("damage", ["none", "missing", "short", "changed", "longer", "twice"])
def test_every_file_that_differs_from_what_was_served_is_found(served: Path, tmp_path: Path, damage: str) -> None:
    output = fetched(served, tmp_path / "out")
    path = output / "name-1"
    body = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "twice":
        (output / "again").write_bytes(body)
    elif damage != "none":
        path.write_bytes(
            {"short": body[:-1], "changed": body[:-1] + bytes([body[-1] ^ 1]), "longer": body + b"x"}[damage]
        )

    assert corpora.check(SMALL, served, output).is_right == (damage == "none")


@pytest.mark.skipif(sys.platform != "linux", reason="the race is run on Linux")
def test_the_cost_of_a_command_includes_processes_it_left_running(tmp_path: Path) -> None:
    # The orphan burns the CPU, its parent is gone at once: only a reaper of orphans sees it.
    orphan = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-S', '-c', {orphan!r}])"
    argv = [sys.executable, "-S", "-c", parent]

    # 0.3 s of CPU take longer where others want it too.
    cost = measure(argv, cwd=tmp_path, env=dict(os.environ), log=tmp_path / "log", time_limit=300.0, orphan_grace=100.0)

    assert cost.code == 0
    assert cost.cpu >= 0.3
    assert cost.left_behind == 0


@pytest.mark.skipif(sys.platform != "linux", reason="the race is run on Linux")
def test_a_command_past_its_time_limit_is_killed_with_all_it_started(tmp_path: Path) -> None:
    argv = ["sh", "-c", "sleep 600 & sleep 600"]

    cost = measure(argv, cwd=tmp_path, env=dict(os.environ), log=tmp_path / "log", time_limit=0.2)

    assert cost.timed_out
    assert cost.code == -9
