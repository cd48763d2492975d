"""A screen fits any width, shows the most important first, and no foreign name can control the terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from producer.display.facts import facts_of
from producer.display.screen import screen
from producer.formatting import cells
from producer.job.hold_up import HoldUp
from producer.job.status import JobStatus
from tests.support.statuses import EVIL, FULL, NEW


def text_of(status: JobStatus, width: int, height: int = 40, *, is_unicode: bool = True) -> list[str]:
    lines = screen(status, width, height, is_unicode=is_unicode)
    return ["".join(text for text, _ in line) for line in lines]


def obeyed(text: str) -> list[str]:
    return [each for each in text if not each.isprintable() and each != "\n"]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("status", [NEW, FULL, EVIL], ids=["new", "full", "evil"])
def test_no_line_is_wider_than_the_terminal(status: JobStatus, width: int) -> None:
    for line in text_of(status, width):
        assert cells(line) <= width, line


@pytest.mark.parametrize("width", [60, 80, 120])
def test_none_of_our_words_is_cut(width: int) -> None:
    """Guards the widths of columns: foreign names may be cut, with a ~, our own words may not."""
    said = "\n".join(text_of(FULL, width))

    assert "~" not in said
    for part in ("534,120 of 1,000,000  53%  about 11:05 left", "702 URLs/s", "failed 21,990 (4.1%)", "http-4xx"):
        assert part in said
    assert "held up by  1 of 5 workers takes no work: The disk" in said


def test_a_long_sentence_is_broken_between_its_words() -> None:
    sentence = "Everything left waits for some-host-of-the-web.example.com, which is asked again at 12:41:07, in 3:20."
    lines = text_of(replace(FULL, hold_up=HoldUp("hosts", sentence)), 60)
    said = [line[12:] for line in lines if line.startswith(("held up by", " " * 12))]

    assert len(said) >= 2
    assert " ".join(said) == sentence


@pytest.mark.parametrize("height", [8, 12, 24])
def test_a_low_terminal_keeps_the_totals_and_the_hold_up(height: int) -> None:
    lines = text_of(FULL, 80, height)

    assert len(lines) < height
    assert "534,120 of 1,000,000" in lines[1]
    assert lines[-1].startswith("held up by")


def test_empty_sections_take_no_line() -> None:
    assert len(text_of(NEW, 80)) == 5
    assert text_of(NEW, 80)[-1] == "held up by  nothing"


def test_a_job_is_at_100_percent_when_everything_is_done() -> None:
    """It was with 3,000 of 3,005."""
    assert " 99%" in text_of(replace(FULL, done=999_999), 80)[1]
    assert " 100%" in text_of(replace(FULL, done=1_000_000), 80)[1]


def test_no_time_left_is_shown_without_a_basis() -> None:
    assert "left" not in text_of(replace(FULL, left=None), 80)[1]
    assert "1,000,000+" in text_of(replace(FULL, is_complete=False, left=None), 80)[1]


def test_a_terminal_without_unicode_gets_ascii() -> None:
    assert all(line.isascii() for line in text_of(FULL, 120, is_unicode=False))


def test_each_host_shows_its_most_important_fact() -> None:
    said = "\n".join(text_of(FULL, 120))

    assert "waits 0:40" in said
    assert "12 silent" in said
    assert "paused      a.example 0:50, b.example 1:30" in said


def test_no_name_controls_the_terminal() -> None:
    """Guards one_line in every view: what comes from hosts, lists and workers is text and nothing else."""
    for width in (60, 80, 120):
        assert obeyed("\n".join(text_of(EVIL, width))) == []
    assert obeyed(facts_of(EVIL, 0.0, 80)) == []
    assert obeyed(facts_of(EVIL, 0.0)) == []
