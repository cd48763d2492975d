"""The benchmark's arithmetic and its checks: a table that flatters would be worse than none."""

from __future__ import annotations

import os
import struct
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import corpora, machines, plot, relay, table
from benchmarks.corpora import ROWS, Row, Unit
from benchmarks.meter import Process, look, measure
from benchmarks.rounds import Turn

A = ROWS["A"]
SMALL = replace(A, files=3, size=100)


def turn(
    client: str, number: int, rate: float, *, cpu: float = 1.0, row: str = "A", wrong: tuple[str, ...] = ()
) -> Turn:
    return Turn(
        row=row,
        client=client,
        round=number,
        rate=rate,
        wall=1.0,
        cpu=cpu,
        server_cpu=0.0,
        foreign_cpu=0.0,
        processes=(Process("python -m worker", 80_000_000, 1.0),),
        wrong=wrong,
    )


def test_a_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    # In round 2 the machine was slow for both; medians taken apart would say 100 / 80.
    turns = [turn("trawl", 0, 100), turn("curl", 0, 80), turn("trawl", 1, 50), turn("curl", 1, 25)]
    turns += [turn("trawl", 2, 200), turn("curl", 2, 100)]

    assert table.paired_ratio(turns, "A", "trawl", "curl") == 2.0


def test_an_efficiency_is_the_median_of_what_the_rounds_say_of_one_storage() -> None:
    """Guards the pairing: a noisy round would else be held against the quiet one of another."""
    rounds = [(10.0, 5.0, 2.5), (20.0, 11.0, 10.0), (30.0, 20.0, 10.0)]  # seconds of one, two and four workers
    done = [
        machines.Turn(is_shared=is_shared, workers=workers, seconds=seconds, wall=1.0, busy=1.0, faults=())
        for each in rounds
        for is_shared in (False, True)
        for workers, seconds in zip((1, 2, 4), each if not is_shared else (1.0, 1.0, 1.0), strict=True)
    ]

    found = [machines.efficiency(done, workers, is_shared=False) for workers in (1, 2, 4)]

    assert found == [1.0, pytest.approx(20 / 22), 0.75]


def test_a_peer_that_ran_once_is_compared_with_our_median() -> None:
    turns = [turn("trawl", number, rate) for number, rate in enumerate((300, 100, 100))] + [turn("parfive", 0, 10)]

    assert table.paired_ratio(turns, "A", "trawl", "parfive") == 10.0


def test_a_turn_with_a_wrong_file_has_no_speed() -> None:
    turns = [turn("curl", 0, 100), turn("curl", 1, 9_000, wrong=("1 of 3 bodies are missing",))]

    (cell,) = table.cells(ROWS, turns)

    assert (cell.rate, cell.turns, cell.wrong) == (100, 1, ("1 of 3 bodies are missing",))
    assert table.paired_ratio([*turns, turn("trawl", 0, 50)], "A", "trawl", "curl") == 0.5


def test_cpu_is_told_per_thousand_urls_and_per_gigabyte() -> None:
    (cell,) = table.cells({"C": ROWS["C"]}, [turn("curl", 0, 100, cpu=4.0, row="C")])

    assert cell.cpu_per_1000 == pytest.approx(4.0 / 20 * 1000)
    assert cell.cpu_per_gb == pytest.approx(2.0)


def test_a_target_is_met_at_its_value_and_missed_below_it() -> None:
    turns = [turn("trawl", 0, 120), turn("curl", 0, 100), turn("aria2", 0, 90)]
    missed = [turn("trawl", 0, 119), *turns[1:]]

    def rate(among: list[Turn]) -> table.Verdict:
        return table.verdicts([A], among, ours=["trawl"], rivals=["curl", "aria2"])[0]

    assert rate(turns).is_met
    assert rate(turns).target == "rate at least 1.2 x curl"
    assert not rate(missed).is_met


def test_the_row_with_latency_is_judged_against_the_servers_limit() -> None:
    turns = [turn("trawl", 0, 96, row="D"), turn("wrk", 0, 100, row="D"), turn("curl", 0, 200, row="D")]

    verdict = table.verdicts([ROWS["D"]], turns, ours=["trawl"], rivals=["curl"])[0]

    assert (verdict.target, verdict.value, verdict.is_met) == ("rate at least 0.95 x wrk", 0.96, True)


def test_cpu_counts_everything_and_is_judged_against_curl() -> None:
    turns = [turn("trawl", 0, 500, cpu=1.6), turn("curl", 0, 100, cpu=1.0), turn("lane", 0, 100, cpu=0.9)]

    judged = table.verdicts([A], turns, ours=["trawl", "lane"], rivals=["curl"])

    assert [(it.client, it.is_met) for it in judged if it.target.startswith("CPU")] == [
        ("trawl", False),
        ("lane", True),
    ]


def test_redis_is_not_a_worker_process() -> None:
    big = replace(
        turn("trawl", 0, 1),
        processes=(Process("/x/valkey-server --port 0", 10**9, 0.1), Process("python -m worker", 7, 0.1)),
    )

    assert table.worker_peak([big], "A", "trawl") == 7


def test_the_table_names_clients_without_a_right_turn_and_why() -> None:
    turns = [turn("trawl", 0, 1, wrong=("exit code 1: no",)), turn("curl", 0, 1000)]

    text = table.markdown([A], turns, ours=["trawl"], rivals=["curl"])

    assert "| A | **trawl** | no right turn |" in text
    assert "- A, trawl: exit code 1: no" in text
    assert "| A | curl (best peer) | 1,000 URL/s |" in text


def test_every_line_of_a_table_has_as_many_columns_as_its_head() -> None:
    turns = [turn("trawl", 0, 1), turn("lane", 0, 2, wrong=("bad",)), turn("curl", 0, 3), turn("wrk", 0, 4)]

    first = table.markdown([A], turns, ours=["trawl", "lane"], rivals=["curl"]).split("\n\n")[0]

    assert len({line.count("|") for line in first.splitlines()}) == 1


def test_the_plot_is_well_formed_and_has_a_bar_per_client() -> None:
    turns = [turn("trawl", 0, 1), turn("a<b", 0, 3), turn("wrk", 0, 400)]

    drawing = ET.fromstring(plot.bars([A], turns, ours=("trawl",)))

    assert len(drawing.findall("{http://www.w3.org/2000/svg}rect")) == 1 + 3


@pytest.fixture
def served(tmp_path: Path) -> Path:
    return corpora.prepare(SMALL, tmp_path / "served")


def fetched(served: Path, output: Path) -> Path:
    output.mkdir()
    for number, body in enumerate(sorted(served.iterdir())):
        (output / f"name-{number}").write_bytes(body.read_bytes())
    return output


def test_bodies_are_right_under_any_name_and_beside_any_other_file(served: Path, tmp_path: Path) -> None:
    output = fetched(served, tmp_path / "out")
    (output / "manifest.jsonl").write_text("{}")

    assert corpora.check(SMALL, served, output).is_right


@pytest.mark.parametrize("damage", ["missing", "short", "changed", "longer", "twice"])
def test_whatever_is_not_as_served_is_found(served: Path, tmp_path: Path, damage: str) -> None:
    output = fetched(served, tmp_path / "out")
    path = output / "name-1"
    body = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "twice":
        (output / "again").write_bytes(body)
    else:
        path.write_bytes(
            {"short": body[:-1], "changed": body[:-1] + bytes([body[-1] ^ 1]), "longer": body + b"x"}[damage]
        )

    assert not corpora.check(SMALL, served, output).is_right


@pytest.mark.skipif(sys.platform != "linux", reason="the race is run on Linux")
def test_the_cost_of_a_command_includes_what_it_left_to_run(tmp_path: Path) -> None:
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
def test_a_command_past_its_time_limit_is_ended_with_all_it_started(tmp_path: Path) -> None:
    argv = ["sh", "-c", "sleep 600 & sleep 600"]

    cost = measure(argv, cwd=tmp_path, env=dict(os.environ), log=tmp_path / "log", time_limit=0.2)

    assert cost.timed_out
    assert cost.code == -9


def test_swapping_addresses_keeps_the_checksum() -> None:
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20, 1, 0, 64, 6, 0, bytes([198, 18, 50, 1]), bytes([198, 18, 50, 2]))

    swapped = relay.swapped(header)

    assert (swapped[12:16], swapped[16:20]) == (header[16:20], header[12:16])
    assert sum(struct.unpack("!10H", header)) == sum(struct.unpack("!10H", swapped))


def test_every_row_says_what_it_counts_and_where_it_is_aimed() -> None:
    def is_plain(row: Row) -> bool:
        return row.files > 0 and row.size > len(corpora.MARK) and row.target is not None

    assert all(is_plain(row) for row in ROWS.values())
    assert {row.unit for row in ROWS.values()} == set(Unit)


def test_a_record_names_programs_and_not_this_machines_folders() -> None:
    seen = look(os.getpid())

    assert seen is not None
    assert seen.command
    assert not any(word.startswith("/") for word in seen.command.split(" "))
