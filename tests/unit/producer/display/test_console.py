"""Progress: lines now and then where nobody can watch, nothing where nobody wants it."""

import io
import subprocess
import sys

from producer.display.console import Console
from producer.job.tally import Tally

TOTALS = {"lines": 10, "duplicates": 0, "refused": 1, "urls": 9}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(clock: Clock, console: Console, seconds: int, tally: Tally) -> None:
    for _ in range(seconds * 10):
        clock.now += 0.1
        tally.counts["ok"] += 1
        console.show(tally, TOTALS, is_complete=True)


def test_without_a_terminal_a_plain_line_comes_every_few_seconds() -> None:
    clock, stream = Clock(), io.StringIO()

    shown(clock, Console(stream=stream, clock=clock), 12, Tally())

    lines = stream.getvalue().splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("[0:05] ")
    assert "of 10" in lines[0]
    assert "10 URLs/s" in lines[1]
    assert "0 B at 0 B/s" in lines[1]
    assert "\x1b" not in stream.getvalue()


def test_the_first_of_each_error_class_is_told_once_when_it_comes() -> None:
    clock, stream, tally = Clock(), io.StringIO(), Tally()
    console = Console(stream=stream, clock=clock)

    tally.examples["refused-address"] = "http://h/: 127.0.0.1 is loopback: --allow-net 127.0.0.0/8 opens it"
    shown(clock, console, 2, tally)
    tally.examples["dns"] = "http://g/: no such name"
    shown(clock, console, 2, tally)

    assert [line.partition(", for example ")[0] for line in stream.getvalue().splitlines()] == [
        "refused-address",
        "dns",
    ]


def test_a_quiet_console_tells_only_what_matters() -> None:
    clock, stream = Clock(), io.StringIO()
    console = Console(stream=stream, clock=clock, is_quiet=True)

    shown(clock, console, 12, Tally())
    console.mention("nice to know")
    console.tell("The broker cannot be reached.")

    assert stream.getvalue() == "The broker cannot be reached.\n"


def test_rich_is_imported_for_a_terminal_only() -> None:
    code = (
        "import io, sys; from producer.display.console import Console; from producer.job.tally import Tally;"
        "Console(stream=io.StringIO()).show(Tally(), {'urls': 1, 'refused': 0}, is_complete=True);"
        "print('rich' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_terminal_shows_a_bar_and_is_left_clean() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    clock, stream = Clock(), Terminal()
    console = Console(stream=stream, clock=clock)

    shown(clock, console, 2, Tally())
    console.tell("a line above the bar")
    console.close()

    assert "of 10" in stream.getvalue()
    assert "a line above the bar" in stream.getvalue()


def test_what_a_dead_worker_had_is_no_negative_rate() -> None:
    clock, stream, tally = Clock(), io.StringIO(), Tally()
    console = Console(stream=stream, clock=clock)
    tally.fetched = 1_000_000
    shown(clock, console, 4, tally)

    tally.fetched, tally.counts["ok"] = 0, 0
    clock.now += 2
    console.show(tally, TOTALS, is_complete=True)

    assert "0 URLs/s | 0 B at 0 B/s" in stream.getvalue()
