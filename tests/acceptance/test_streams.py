"""A run whose output goes nowhere fetches the same and ends the same."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from producer.commands.demo import demo_server
from tests.support.person import ENOUGH, Person
from tests.support.processes import begin

SMALL = ("--allow-net", "127.0.0.0/8", "--processes", "1")


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    with demo_server(latency=0.0, spread=0.0) as address:
        yield address


@pytest.fixture
def full() -> Iterator[int]:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def unread() -> Iterator[int]:
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def run(
    person: Person, *arguments: object, closed: str = "", stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE
) -> tuple[int, str, str]:
    """Run ``trawl``; ``closed`` is in a shell's notation: ``>&- 2>&-``. How far a slow run is after 5 s is left out."""
    process = begin(
        ["sh", "-c", f'exec "$0" "$@" {closed}', sys.executable, "-P", "-m", "producer", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        cwd=person.folder,
        env=person.environment,
    )
    out, err = process.communicate(timeout=ENOUGH)
    said = (err or b"").decode().splitlines(keepends=True)
    told = [line for line in said if not line.startswith(("[", '{"event": "progress"'))]
    return process.returncode, (out or b"").decode(), "".join(told)


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_with_closed_streams_fetches_everything(person: Person, web: str, closed: str) -> None:
    listed = person.write_list(*(f"{web}/file/{number}" for number in range(5)))

    code, _, err = run(person, "run", listed, "-o", "out", *SMALL, closed=closed)

    assert (code, err) == (0, "")
    assert [row["outcome"] for row in person.rows()] == ["ok"] * 5


def test_a_run_whose_output_is_lost_fetches_everything_and_reports_the_loss(
    person: Person, web: str, full: int, unread: int
) -> None:
    """Guards _settled: a lost summary is reported in one sentence; a reader that has seen enough is not."""
    listed = person.write_list(*(f"{web}/file/{number}" for number in range(5)))
    command = ("run", listed, "-o", "out", *SMALL)

    neither = run(person, *command, stdout=full, stderr=unread)
    first = [row["outcome"] for row in person.rows()]
    told = run(person, *command, "--json", stdout=full)
    unheard = run(person, *command, stdout=unread)

    assert (neither, first) == ((0, "", ""), ["ok"] * 5)
    assert told == (0, "", "trawl: Standard output could not be written: no space left on device.\n")
    assert unheard == (0, "", "")


def test_a_command_that_only_prints_fails_if_it_cannot(person: Person, full: int, unread: int) -> None:
    codes = [run(person, "run", "--help", stdout=stdout)[0] for stdout in (full, unread)]

    assert codes == [1, 0]


def test_an_exit_code_is_kept_even_if_nothing_can_be_printed(tmp_path: Path, person: Person, full: int) -> None:
    """Guards the Answer of doctor and gc: 1 would mean that something is broken."""
    (tmp_path / "out").mkdir()

    ended = [run(person, *command, stdout=full) for command in (("doctor",), ("doctor", "--json"), ("gc", "-o", "out"))]

    said = "trawl: Standard output could not be written: no space left on device.\n"
    assert ended == [(0, "", said)] * 3
