"""The exercise's table: what is ideal, what is gained."""

import os
from pathlib import Path

import pytest

from contract.errors import InputError
from contract.records.policy import JobPolicy
from producer.cli import exit_code
from producer.commands.compare import Measured, compare, ideal, to_text, ways
from producer.display.console import Console
from producer.display.summary import Summary
from producer.job.tally import Tally
from producer.wiring import Producer


def summary(urls: int, elapsed: float, busy: float) -> Summary:
    tally = Tally()
    tally.add_batch(started=100.0, finished=100.0 + elapsed, busy=busy, worker="w", urls=urls)
    tally.counts["ok"] = urls
    tally.fetched = 1_000_000
    totals = {"lines": urls, "duplicates": 0, "refused": 0, "urls": urls}
    return Summary(job="j", tally=tally, totals=totals, is_finished=True, places={})


def test_ideal_is_whole_rounds_of_one_urls_own_time() -> None:
    one, threads, both, lanes = ways(2, 16)
    first = summary(200, 10.4, 10.0)  # 50 ms each

    found = [round(ideal(first, way), 3) for way in (one, threads, both, lanes)]

    assert found == [10.0, 0.65, 0.35, 0.35]


def test_the_table_compares_with_the_first_way() -> None:
    first, second = ways(2, 16)[:2]
    measured = [Measured(first, summary(200, 10.0, 10.0), 10.0), Measured(second, summary(200, 1.0, 11.0), 0.65)]

    text = to_text(measured, latency=0.05)

    assert "200 URLs, 1.0 MB, 50 ms latency each" in text
    row = next(line for line in text.splitlines() if line.startswith("16 threads"))
    assert row.split()[2:] == ["1.00", "s", "11.0", "s", "10.0", "x", "200", "1.0", "0.65", "s"]
    bars = [line for line in text.splitlines() if "\N{FULL BLOCK}" in line or "##" in line]
    assert len(bars) == 2


@pytest.mark.parametrize(("option", "shows"), [((), True), (("-q",), False)])
def test_a_quiet_comparison_prints_no_table(
    option: tuple[str, ...], shows: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = [Measured(ways(1, 1)[0], summary(1, 1.0, 1.0), 1.0)]
    monkeypatch.setattr("producer.commands.compare.compare", lambda *_: measured)

    code = exit_code(["compare", "urls.txt", *option])

    assert (code, capsys.readouterr().out.startswith("1 URL, 1.0 MB\n")) == (0, shows)


@pytest.mark.parametrize("name", ["-", "fifo"])
def test_a_list_that_can_be_read_only_once_is_not_compared(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    named = name if name == "-" else str(tmp_path / name)

    with pytest.raises(InputError, match="can be read only once"):
        compare([named], JobPolicy(), ways(1, 1), Producer({}), Console(is_quiet=True))
