"""Child processes of a test: waited for on a condition, and ended with it by their pid, never by name."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Answer = TypeVar("Answer")

#: How much longer than it says a wait may last. What a test names is ample on a machine that has nothing else to do; CI
#: may be ten times slower. A wait ends when its condition holds, so this costs time only where something hangs.
PATIENCE = 6.0

#: Seconds between two looks at a condition that nothing announces; short beside any wait it is used for.
LOOK_AGAIN = 0.01

_held: list[socket.socket] = []  # ports given away, for as long as this process lives
_begun: list[subprocess.Popen[bytes]] = []  # by the test that runs


def await_condition(look: Callable[[], Answer | None], *, within: float, what: str) -> Answer:
    """Return the first truthy answer of `look`; raise TimeoutError naming `what` after PATIENCE times `within`."""
    give_up_at = time.monotonic() + PATIENCE * within
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() >= give_up_at:
            raise TimeoutError(f"{what}: not within {PATIENCE * within:g} s")
        time.sleep(LOOK_AGAIN)


def free_port(address: str = "127.0.0.1") -> int:
    """Return a free TCP port that no other process gets by chance while this one lives.

    A socket that never listens stays bound to it: whoever connects is refused, the kernel passes the port by when it
    looks for a free one, and a server that sets SO_REUSEADDR (all we start do) can bind it by its number.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    holder = socket.socket(family, socket.SOCK_STREAM)
    _held.append(holder)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((address, 0))
    port: int = holder.getsockname()[1]
    return port


def listeners(port: int) -> set[str]:
    """Return the addresses a TCP port is listened on, in hexadecimal (proc_net(5))."""
    lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text("ascii").splitlines()]
    places = [line.split()[1] for line in lines if " 0A " in line]
    return {place.partition(":")[0] for place in places if place.endswith(f":{port:04X}")}


@dataclass(frozen=True, slots=True)
class Status:
    """What /proc/<pid>/stat says of a process (proc_pid_stat(5))."""

    pid: int
    state: str
    parent: int
    session: int

    @property
    def is_alive(self) -> bool:
        """Whether it runs: a zombie that was not waited for yet counts as gone."""
        return self.state not in {"Z", "X"}


def status(pid: int) -> Status | None:
    """Return the status of a process; None when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The second field is the command's name in brackets and may hold anything, brackets and blanks too.
    state, parent, _group, session, *_ = stat.rpartition(")")[2].split()
    return Status(pid, state, int(parent), int(session))


def is_alive(pid: int) -> bool:
    """Whether `pid` runs: a zombie that was not waited for yet counts as gone."""
    found = status(pid)
    return found is not None and found.is_alive


def all_processes() -> list[Status]:
    """Return the status of every process, from one walk over /proc."""
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [found for found in map(status, pids) if found is not None]


def descendants(pid: int) -> list[int]:
    """Return the pids of all living children of `pid` and theirs, nearest first."""
    everybody = [found for found in all_processes() if found.is_alive]
    family = [pid]
    for member in family:
        family.extend(found.pid for found in everybody if found.parent == member)
    return family[1:]


def session_of(leader: int) -> list[int]:
    """Return the pids of the living processes whose session `leader` opened; orphans keep their session."""
    return [found.pid for found in all_processes() if found.session == leader and found.is_alive]


def send(pid: int, sent: signal.Signals) -> bool:
    """Send one signal to one process; False when it is already gone."""
    try:
        os.kill(pid, sent)
    except ProcessLookupError:
        return False
    return True


def begin(command: Sequence[str | Path], **how: Any) -> subprocess.Popen[bytes]:
    """Start a program; `how` is what Popen takes. It ends with the test, also where that fails."""
    process = subprocess.Popen(command, **how)
    _begun.append(process)
    return process


def end_all() -> None:
    """End what was started and still runs, and close its pipes: a failed test does not."""
    while _begun:
        with _begun.pop() as process:
            end(process)


def end(process: subprocess.Popen[bytes]) -> int:
    """End a child: SIGTERM, then SIGKILL after 30 seconds; return its exit code."""
    if process.poll() is None:
        # A stopped process would not see SIGTERM before it runs again.
        send(process.pid, signal.SIGCONT)
        process.terminate()
        try:
            return process.wait(30.0)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
