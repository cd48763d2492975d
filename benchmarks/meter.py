"""What one command cost: wall time, CPU of its whole process tree, and the peak memory of each process.

Run as a program, it starts the command as its child, becomes the reaper of every orphan below it
(``PR_SET_CHILD_SUBREAPER``, Linux), and so learns from wait4 what each of them used, daemons included.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
SAMPLE_EVERY = 0.05  # seconds between two looks at the memory of the tree
WALK_EVERY = 6  # looks at the memory of known processes for one that finds new ones
ORPHAN_GRACE = 5.0  # seconds the processes a command left behind may take to end by themselves


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a command: its highest resident memory (bytes) and its own CPU (seconds) when last looked at."""

    command: str
    peak: int
    cpu: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a command and everything it started used; times in seconds."""

    wall: float
    user: float
    system: float
    code: int  # exit code; negative: ended by that signal
    processes: tuple[Process, ...]  # the largest first; what lived for less than a look is not among them
    left_behind: int  # processes that outlived the command and had to be killed
    timed_out: bool

    @property
    def cpu(self) -> float:
        """Seconds of CPU, user and system."""
        return self.user + self.system


def measure(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: Path,
    time_limit: float,
    orphan_grace: float = ORPHAN_GRACE,
) -> Cost:
    """Run a command to its end and say what it cost; its output goes to ``log`` (and ``log`` + ``.err``)."""
    verdict = log.with_suffix(".cost.json")
    meter = [sys.executable, "-P", __file__, str(verdict), str(log), str(time_limit), str(orphan_grace), "--", *argv]
    subprocess.run(meter, cwd=cwd, env=dict(env), check=True)
    record = json.loads(verdict.read_text("utf-8"))
    return Cost(**{**record, "processes": tuple(Process(**each) for each in record["processes"])})


def tree_below(pid: int) -> list[int]:
    """Return the pids of all children of a process and theirs."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat", "rb") as file:  # it may end while we look
                stat = file.read()
                parent = int(stat.rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    family = [pid]
    for member in family:
        family.extend(children.get(member, ()))
    return family[1:]


def look(pid: int) -> Process | None:
    """Return what a running process has used so far; None when it has ended."""
    try:
        with open(f"/proc/{pid}/status", "rb") as status, open(f"/proc/{pid}/stat", "rb") as stat:
            _, is_alive, rest = status.read().partition(b"VmHWM:")
            fields = stat.read().rpartition(b")")[2].split()
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return None
    if not is_alive:
        return None
    ticks = int(fields[11]) + int(fields[12])
    # Without folders: they are this machine's.
    shown = " ".join(os.path.basename(word) if word.startswith("/") else word for word in command.split("\0"))
    return Process(shown.strip()[:100], int(rest.split(None, 1)[0]) * 1024, ticks / os.sysconf("SC_CLK_TCK"))


def largest_first(processes: Iterable[Process]) -> tuple[Process, ...]:
    """Return the processes worth keeping."""
    return tuple(sorted(processes, key=lambda process: -process.peak)[:12])


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU seconds that running processes, and the children they waited for, have used so far."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def own_cpu() -> float:
    """Return the CPU seconds, user and system, that this process has used so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def machine_busy() -> float:
    """Return the CPU seconds all cores have spent on anything since boot."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


class _Watch(threading.Thread):
    """Looks at the memory of every process below us until told to stop, and ends them all at the time limit."""

    def __init__(self, time_limit: float) -> None:
        super().__init__(daemon=True)
        self.seen: dict[int, Process] = {}
        self.timed_out = False
        self.done = threading.Event()
        self._give_up_at = time.monotonic() + time_limit

    def run(self) -> None:
        looks = 0
        family: list[int] = []
        while not self.done.wait(SAMPLE_EVERY):
            # Who is there takes a walk over /proc, milliseconds the race would miss; what they hold is cheap to read.
            if looks % WALK_EVERY == 0:
                family = tree_below(os.getpid())
            looks += 1
            for pid in family:
                self._look(pid)
            if time.monotonic() > self._give_up_at:
                self.timed_out = True
                _kill(tree_below(os.getpid()))

    def _look(self, pid: int) -> None:
        process = look(pid)
        if process is not None:
            self.seen[pid] = process


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _reap_orphans(grace: float) -> int:
    """Wait for what the command left behind, kill what stays, and return how many had to be killed."""
    give_up_at = time.monotonic() + grace
    killed: set[int] = set()
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return len(killed)
        if pid == 0:
            if time.monotonic() > give_up_at:
                family = tree_below(os.getpid())
                killed.update(family)
                _kill(family)
            time.sleep(0.01)


def _run(argv: Sequence[str], out: IO[bytes], err: IO[bytes], time_limit: float, orphan_grace: float) -> Cost:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this process cannot become the reaper of its orphans")
    watch = _Watch(time_limit)
    watch.start()
    start = time.monotonic()
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    code = child.wait()
    wall = time.monotonic() - start
    left_behind = _reap_orphans(orphan_grace)
    watch.done.set()
    watch.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(
        wall=wall,
        user=used.ru_utime,
        system=used.ru_stime,
        code=code,
        processes=largest_first(watch.seen.values()),
        left_behind=left_behind,
        timed_out=watch.timed_out,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verdict", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("time_limit", type=float)
    parser.add_argument("orphan_grace", type=float)
    parser.add_argument("argv", nargs="+")
    told = parser.parse_args()
    with told.log.open("wb") as out, told.log.with_name(told.log.name + ".err").open("wb") as err:
        cost = _run(told.argv, out, err, told.time_limit, told.orphan_grace)
    told.verdict.write_text(json.dumps(asdict(cost)), "utf-8")


if __name__ == "__main__":
    main()
