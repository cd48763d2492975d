"""Progress: a screen on a terminal, occasional lines elsewhere, events for programs, nothing if quiet."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from producer.display.console import Console
from producer.job.hold_up import HoldUp
from producer.job.status import JobStatus
from tests.support.statuses import EVIL, FULL, HOSTILE, NEW


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(clock: Clock, console: Console, seconds: int, status: JobStatus) -> None:
    for _ in range(seconds * 10):
        clock.now += 0.1
        if console.is_due():
            console.show(replace(status, elapsed=clock.now))


def test_without_a_terminal_a_plain_line_comes_every_few_seconds() -> None:
    clock, stream = Clock(), io.StringIO()

    shown(clock, Console(stream=stream, clock=clock), 12, replace(FULL, left=None, hold_up=HoldUp()))

    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("[0:05] 534,120 of 1,000,000 | ok 511,302, failed 21,990, refused 828 | 702 URLs/s | ")
    assert lines[0].endswith("13.9 GB at 18.4 MB/s")
    assert "\x1b" not in stream.getvalue()


def test_a_line_says_what_holds_the_job_up() -> None:
    clock, stream = Clock(), io.StringIO()

    shown(clock, Console(stream=stream, clock=clock), 6, replace(NEW, hold_up=HoldUp("worker", "No worker is there.")))

    assert stream.getvalue() == "[0:05] 0 | No worker is there.\n"


def test_programs_get_one_event_per_line() -> None:
    clock, stream = Clock(), io.StringIO()
    console = Console(stream=stream, clock=clock, is_json=True)

    console.echo("The broker cannot be reached.")
    shown(clock, console, 6, FULL)

    told, progress = map(json.loads, stream.getvalue().splitlines())
    assert told == {"event": "message", "text": "The broker cannot be reached."}
    assert progress["event"] == "progress"
    assert progress["held_up_by"] == "some-workers"
    assert (progress["done"], progress["known"], progress["errors"]["dns"]) == (534_120, 1_000_000, 2_954)


def test_the_first_example_of_each_error_class_is_printed_once() -> None:
    clock, stream = Clock(), io.StringIO()
    console = Console(stream=stream, clock=clock)
    examples = {"refused-address": "http://h/: 127.0.0.1 is loopback: --allow-net 127.0.0.0/8 opens it"}

    clock.now = 100.0  # the worker was slow to start
    console.exemplify(examples)
    assert stream.getvalue() == "", "if the run ends now, its summary says it"
    clock.now = 106.0
    for _ in range(3):
        console.exemplify(examples)
        examples["dns"] = "http://g/: no such name"

    assert [line.partition(", for example ")[0] for line in stream.getvalue().splitlines()] == [
        "refused-address",
        "dns",
    ]


def test_a_quiet_console_prints_only_warnings() -> None:
    clock, stream = Clock(), io.StringIO()
    console = Console(stream=stream, clock=clock, is_quiet=True)

    shown(clock, console, 12, FULL)
    console.mention("nice to know")
    console.exemplify({"dns": "nice to know"})
    console.echo("The broker cannot be reached.")

    assert stream.getvalue() == "The broker cannot be reached.\n"
    assert console.every is None, "and asks the cluster nothing"


def test_rich_is_imported_for_a_terminal_only() -> None:
    code = (
        "import io, sys; from producer.display.console import Console; from tests.support.statuses import FULL;"
        "Console(stream=io.StringIO()).show(FULL); print('rich' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_terminal_shows_a_screen_and_is_left_clean() -> None:
    """Guards ``transient``: a screen that stays shows what is no longer true."""
    clock, stream = Clock(), Terminal()
    console = Console(stream=stream, clock=clock, environment={"TERM": "xterm"})

    shown(clock, console, 2, FULL)
    console.echo("a line above the screen")
    drawn = len(stream.getvalue())
    console.close()

    assert "of 1,000,000" in stream.getvalue()
    assert "a line above the screen" in stream.getvalue()
    last = stream.getvalue()[drawn:]
    assert last.endswith("\x1b[1A\x1b[2K"), "each of its lines is erased, the first one last"
    assert last.count("\x1b[1A\x1b[2K") >= 15


def test_what_a_narrower_terminal_has_wrapped_is_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards ``_erase_wrapped``: the upper halves of wrapped lines stayed on the screen, more at each resize."""
    clock, stream = Clock(), Terminal()
    console = Console(stream=stream, clock=clock, environment={"TERM": "xterm"})
    for variable in ("COLUMNS", "LINES"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((100, 24)))
    console.draw(lambda width, _: [[("x" * width, "")], [("short", "")], [("x" * 61, "")]])

    monkeypatch.setattr(os, "get_terminal_size", lambda *_: os.terminal_size((30, 24)))
    drawn = len(stream.getvalue())
    console.draw(lambda width, _: [[("y" * width, "")]])

    erased, _, _ = stream.getvalue()[drawn:].partition("y")
    assert erased.count("\x1b[A\x1b[2K") == 3 + 0 + 2, "100 columns take four lines, 61 take three"


def test_a_terminal_that_cannot_move_its_cursor_gets_lines() -> None:
    clock, stream = Clock(), Terminal()

    shown(clock, Console(stream=stream, clock=clock, environment={"TERM": "dumb"}), 6, FULL)

    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


def test_without_colours_a_screen_says_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    clock, stream = Clock(), Terminal()

    shown(clock, Console(stream=stream, clock=clock, environment={"TERM": "xterm"}), 1, FULL)

    assert "held up by" in stream.getvalue()
    assert "\x1b[32m" not in stream.getvalue()


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()], ids=["piped", "terminal"])
def test_no_name_controls_the_terminal(stream: io.StringIO) -> None:
    """Guards one_line in echo, and that rich does not read names as markup."""
    clock = Clock()
    console = Console(stream=stream, clock=clock, environment={"TERM": "xterm"})

    shown(clock, console, 6, EVIL)
    console.echo(HOSTILE)
    for _ in range(2):
        console.exemplify({HOSTILE: HOSTILE})
        clock.now += 6.0
    console.show_last(EVIL)

    said = stream.getvalue()
    for steering in ("\x1b[2J", "\x9b", "\u202e", "\u200f", "\x07", "\r["):
        assert steering not in said
    assert ":warning:" in said, "nor an emoji"
    assert "[red]x[/red]" in said
