"""Standard streams that are closed, full or not read: output is lost and nothing ends."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.streams import Outlet
from tests.support.person import PROJECT

Pipe = tuple[int, int]


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError:
            pass  # the test has


def fill(writing: int) -> None:
    os.set_blocking(writing, False)
    while True:
        try:
            os.write(writing, b"x" * 4096)
        except BlockingIOError:
            break
    os.set_blocking(writing, True)


def test_a_file_is_written_even_if_select_never_reports_it_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards ``_is_file``: a worker with the eventlet pool could not say why it refuses to start."""
    monkeypatch.setattr("contract.streams.select.select", lambda *_: ([], [], []))
    log = tmp_path / "log"
    with log.open("wb") as file:
        Outlet(file.fileno(), patience=0.0).write(b"said")

    assert log.read_bytes() == b"said"


def test_output_for_a_closed_reader_is_dropped(pipe: Pipe) -> None:
    reading, writing = pipe
    os.close(reading)
    outlet = Outlet(writing)

    assert (outlet.write(b"one"), outlet.write(b"two")) == (3, 3)
    assert outlet.fault is not None
    assert outlet.fault.errno == errno.EPIPE


def test_output_that_does_not_fit_on_the_disk_is_dropped() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    outlet = Outlet(descriptor)

    taken = outlet.write(b"words")
    os.close(descriptor)

    assert taken == 5
    assert outlet.fault is not None
    assert outlet.fault.errno == errno.ENOSPC


@pytest.mark.timeout(60)  # waiting for ever is what it is about
def test_a_stopped_reader_is_waited_for_once_and_served_again_later(pipe: Pipe) -> None:
    """Guards _is_stuck: a display would wait for its terminal at every frame."""
    reading, writing = pipe
    fill(writing)
    outlet = Outlet(writing, patience=0.05)

    outlet.write(b"lost")
    is_stuck = outlet._is_stuck
    os.read(reading, 1 << 20)
    outlet.write(b"heard")

    assert (is_stuck, outlet._is_stuck) == (True, False)
    assert os.read(reading, 100) == b"heard"


@pytest.mark.parametrize("is_blocking", [True, False])
def test_a_slow_reader_gets_everything(pipe: Pipe, is_blocking: bool) -> None:
    """Guards the loop: a non-blocking pipe accepts a part, or raises BlockingIOError."""
    reading, writing = pipe
    os.set_blocking(writing, is_blocking)
    text = bytes(range(256)) * 2000
    heard = bytearray()

    def read() -> None:
        while len(heard) < len(text):
            heard.extend(os.read(reading, 10_000))

    reader = threading.Thread(target=read)
    reader.start()
    outlet = Outlet(writing)
    outlet.write(text)
    reader.join()

    assert (bytes(heard), outlet.fault) == (text, None)


def test_too_little_room_is_waited_for() -> None:
    """Guards BlockingIOError, as on a terminal. An eventfd accepts 8 bytes, up to its limit."""
    counter = os.eventfd(0, os.EFD_NONBLOCK)
    os.eventfd_write(counter, 2**64 - 5)
    outlet = Outlet(counter, patience=0.05)

    outlet.write((100).to_bytes(8, sys.byteorder))
    os.close(counter)

    assert isinstance(outlet.fault, TimeoutError)


SAY = "import os, sys; from contract.streams import harden; harden(); "


def python(
    code: str, *, closed: tuple[int, ...] = (), stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE
) -> subprocess.CompletedProcess[bytes]:
    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=PROJECT, preexec_fn=close, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, check=False
    )


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (1, 2), (0, 1, 2)])
def test_no_file_gets_the_number_of_a_closed_stream(closed: tuple[int, ...]) -> None:
    """Guards fill_gaps: output would be written into that file, also by a child process."""
    child = "import os; os.fstat(0), os.fstat(1), os.fstat(2)"
    code = f"""
import subprocess
file = os.open("pyproject.toml", os.O_RDONLY)
print("words", flush=True)
sys.exit(10 * subprocess.call([sys.executable, "-c", {child!r}]) + (file > 2))
"""

    ended = python(SAY + code, closed=closed)

    assert ended.returncode == 1, ended.stderr


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_python_exits_without_complaint(stream: str) -> None:
    """Guards the streams that harden makes: Python exits with 120 if its buffered output cannot be written."""
    full = os.open("/dev/full", os.O_WRONLY)

    code = SAY + f"sys.{stream}.write('kept back')"
    ended = python(code, stdout=full) if stream == "stdout" else python(code, stderr=full)
    os.close(full)

    assert (ended.returncode, ended.stdout or b"", ended.stderr or b"") == (0, b"", b"")


def test_a_workers_shared_memory_is_not_a_standard_stream() -> None:
    """Guards worker/__init__: the log went into that memory, and a worker with standard output closed took no work."""
    code = "import os, sys, worker.lifecycle; sys.stderr.write(os.readlink('/proc/self/fd/1'))"

    ended = python(code, closed=(1,))

    assert ended.stderr == b"/dev/null"
