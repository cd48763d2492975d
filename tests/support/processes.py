"""Child processes a test started: waited for on a condition, ended by their pid, never by name."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Answer = TypeVar("Answer")

#: Seconds between two looks at a condition that nothing announces; short beside any wait it is used for.
LOOK_AGAIN = 0.01


def await_condition(look: Callable[[], Answer | None], *, within: float, what: str) -> Answer:
    """Return the first truthy answer of `look`; raise TimeoutError naming `what` after `within` seconds."""
    give_up_at = time.monotonic() + within
    while True:
        answer = look()
        if answer:
            return answer
        if time.monotonic() >= give_up_at:
            raise TimeoutError(f"{what}: not within {within:g} s")
        time.sleep(LOOK_AGAIN)


def free_port(address: str = "127.0.0.1") -> int:
    """Return a TCP port nobody listens on now; another process may take it before the caller does."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((address, 0))
        port: int = probe.getsockname()[1]
        return port


def is_alive(pid: int) -> bool:
    """Whether `pid` runs: a zombie nobody has waited for yet counts as gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def parents() -> dict[int, int]:
    """Return the parent's pid of every process, from one walk over /proc."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it ended while we looked
        found[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return found


def descendants(pid: int) -> list[int]:
    """Return the pids of all children of `pid` and theirs, nearest first."""
    parent_of = parents()
    family = [pid]
    for member in family:
        family.extend(child for child, parent in parent_of.items() if parent == member)
    return family[1:]


def send(pid: int, sent: signal.Signals) -> bool:
    """Send one signal to one process; False when it is already gone."""
    try:
        os.kill(pid, sent)
    except ProcessLookupError:
        return False
    return True


def end(process: subprocess.Popen[bytes], *, grace: float = 5.0) -> int:
    """End a child: SIGTERM, then SIGKILL after `grace` seconds; return its exit code."""
    if process.poll() is None:
        # A stopped process would not see SIGTERM before it runs again.
        send(process.pid, signal.SIGCONT)
        process.terminate()
        try:
            return process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
    return process.wait()
