"""The supervisor ends what a run started, however the run ends."""

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import producer.cluster.supervisor
from benchmarks.meter import PR_SET_CHILD_SUBREAPER
from tests.support.processes import await_condition, descendants, is_alive

SLEEPER = [sys.executable, "-c", "import os, time; os.fork(); print(os.getpid(), flush=True); time.sleep(300)"]


@pytest.fixture
def supervisor() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", producer.cluster.supervisor.__file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    yield process
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        pipe.close()
    process.kill()
    process.wait()


@pytest.fixture
def nobody_reaps() -> Iterator[None]:
    """Have orphans come to this process, which does not look after them."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def order(supervisor: subprocess.Popen[bytes], **command: Any) -> None:
    assert supervisor.stdin is not None
    supervisor.stdin.write(json.dumps(command).encode() + b"\n")
    supervisor.stdin.flush()


def event(supervisor: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert supervisor.stdout is not None
    found: dict[str, Any] = json.loads(supervisor.stdout.readline())
    return found


def start(supervisor: subprocess.Popen[bytes], log: Path, command: list[str] = SLEEPER) -> dict[str, Any]:
    order(supervisor, start="it", command=command, environment={"PATH": os.environ["PATH"]}, log=str(log))
    return event(supervisor)


@pytest.mark.parametrize("number", [None, signal.SIGTERM])
def test_when_the_run_is_gone_everything_it_started_is_gone(
    supervisor: subprocess.Popen[bytes], tmp_path: Path, number: signal.Signals | None
) -> None:
    private = tmp_path / "private"
    (private / "inner").mkdir(parents=True)
    (private / "inner" / "socket").touch()
    (private / "link").symlink_to(tmp_path)
    order(supervisor, remove=str(private))
    pid = start(supervisor, tmp_path / "log")["pid"]
    family = await_condition(
        lambda: [pid, *found] if (found := descendants(pid)) else None, within=20, what="the child"
    )

    if number is None:
        assert supervisor.stdin is not None
        supervisor.stdin.close()
    else:
        supervisor.send_signal(number)
    supervisor.wait(100)

    assert not any(is_alive(each) for each in family)
    assert not private.exists()
    assert tmp_path.exists()


def test_the_supervisor_reaps_orphans_of_its_programs(
    supervisor: subprocess.Popen[bytes], tmp_path: Path, nobody_reaps: None
) -> None:
    """Guards ``_adopt_orphans``: in a container without an init a grandchild stays, and the supervisor waits for it."""
    pid = start(supervisor, tmp_path / "log")["pid"]
    await_condition(lambda: descendants(pid), within=20, what="the child")

    assert supervisor.stdin is not None
    supervisor.stdin.close()
    supervisor.wait(100)

    with pytest.raises(ProcessLookupError):
        os.killpg(pid, 0)


def test_a_program_that_ends_takes_its_group_along_and_is_reported(
    supervisor: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    pid = start(supervisor, tmp_path / "log")["pid"]
    child = await_condition(lambda: next(iter(descendants(pid)), None), within=20, what="the child")

    os.kill(pid, signal.SIGKILL)

    assert event(supervisor) == {"ended": "it", "status": -9}
    await_condition(lambda: not is_alive(child), within=20, what="the child being gone")


def test_a_missing_program_is_reported(supervisor: subprocess.Popen[bytes], tmp_path: Path) -> None:
    told = start(supervisor, tmp_path / "log", ["/no/such/program"])

    assert (told["ended"], told["status"]) == ("it", 127)


def test_a_signal_goes_to_the_program_alone(supervisor: subprocess.Popen[bytes], tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "trap 'exit 7' TERM; sleep 300 & echo ready; wait"]
    start(supervisor, tmp_path / "log", command)
    await_condition(lambda: (tmp_path / "log").read_text() == "ready\n", within=20, what="the trap")

    order(supervisor, signal="it", number=15)

    assert event(supervisor) == {"ended": "it", "status": 7}
