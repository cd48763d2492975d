"""The table of `trawl compare`: what is ideal, and what is gained."""

import os
from pathlib import Path

import pytest

from contract.errors import InputError
from contract.records.outcomes import Ending
from contract.records.policy import JobPolicy
from producer.cli import exit_code
from producer.commands.compare import Measured, compare, ideal, own_time, to_text, ways
from producer.display.console import Console
from producer.display.summary import Summary
from producer.job.tally import Tally
from producer.job_report.rows import Phases, Row, Try
from producer.wiring import Producer


def summary(urls: int, elapsed: float) -> Summary:
    tally = Tally()
    tally.add_batch(started=100.0, finished=100.0 + elapsed, busy=elapsed, worker="w", urls=urls)
    tally.counts["ok"] = urls
    tally.fetched = 1_000_000
    totals = {"lines": urls, "duplicates": 0, "refused": 0, "urls": urls}
    return Summary(job="j", tally=tally, totals=totals, is_finished=True, places={})


def test_ideal_is_whole_rounds_of_one_urls_own_time() -> None:
    one, threads, both, lanes = ways(2, 16)
    first = summary(200, 10.4)

    found = [round(ideal(first, 10.0, way), 3) for way in (one, threads, both, lanes)]  # 50 ms each

    assert found == [10.0, 0.65, 0.35, 0.35]
    assert round(ideal(first, 12.0, one), 3) == 10.4, "names that were looked up beside"


def test_waits_between_attempts_are_not_own_time() -> None:
    """Guards own_time: others are fetched meanwhile, and the ideal came out longer than the measured time."""
    retried = Row(url="u", outcome=Ending.FAILED, attempts=(Try(0.5), Try(0.25)), timing=Phases(total=9.0))
    late = Row(url="u", outcome=Ending.OK, attempts=(Try(0.5),), timing=Phases(total=0.25))

    assert own_time([retried, None, late]) == 1.0


def test_the_table_compares_with_the_first_way() -> None:
    first, second = ways(2, 16)[:2]
    measured = [Measured(first, summary(200, 10.0), 10.0, 10.0), Measured(second, summary(200, 1.0), 11.0, 0.65)]

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
    measured = [Measured(ways(1, 1)[0], summary(1, 1.0), 1.0, 1.0)]
    monkeypatch.setattr("producer.commands.compare.compare", lambda *_: measured)

    code = exit_code(["compare", "urls.txt", *option])

    assert (code, capsys.readouterr().out.startswith("1 URL, 1.0 MB\n")) == (0, shows)


@pytest.mark.parametrize("name", ["-", "fifo"])
def test_a_list_that_can_be_read_only_once_is_not_compared(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    named = name if name == "-" else str(tmp_path / name)

    with pytest.raises(InputError, match="can be read only once"):
        compare([named], JobPolicy(), ways(1, 1), Producer({}), Console(is_quiet=True))
