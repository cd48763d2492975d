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
ORPHAN_GRACE = 5.0  # seconds the processes a command left behind may take to end by themselves


@dataclass(frozen=True, slots=True)
class Peak:
    """The highest resident memory of one process, in bytes, and what it was."""

    command: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a command and everything it started used; times in seconds."""

    wall: float
    user: float
    system: float
    code: int  # exit code; negative: ended by that signal
    peaks: tuple[Peak, ...]  # the largest first
    left_behind: int  # processes that outlived the command and had to be killed
    timed_out: bool

    @property
    def cpu(self) -> float:
        """Seconds of CPU, user and system."""
        return self.user + self.system


def measure(argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path, time_limit: float) -> Cost:
    """Run a command to its end and say what it cost; its output goes to ``log`` (and ``log`` + ``.err``)."""
    verdict = log.with_suffix(".cost.json")
    meter = [sys.executable, "-P", __file__, str(verdict), str(log), str(time_limit), "--", *argv]
    subprocess.run(meter, cwd=cwd, env=dict(env), check=True)
    record = json.loads(verdict.read_text("utf-8"))
    return Cost(**{**record, "peaks": tuple(Peak(**peak) for peak in record["peaks"])})


def tree_below(pid: int) -> list[int]:
    """Return the pids of all children of a process and theirs."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):  # it ended while we looked
                stat = Path("/proc", entry, "stat").read_bytes()
                parent = int(stat.rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    family = [pid]
    for member in family:
        family.extend(children.get(member, ()))
    return family[1:]


def memory_peak(pid: int) -> Peak | None:
    """Return the highest resident memory of a running process so far; None when it has ended."""
    try:
        _, found, rest = Path(f"/proc/{pid}/status").read_bytes().partition(b"VmHWM:")
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    except OSError:
        return None
    return Peak(command.strip()[:100], int(rest.split(None, 1)[0]) * 1024) if found else None


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU seconds that running processes, and the children they waited for, have used so far."""
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


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
        self.peaks: dict[int, Peak] = {}
        self.timed_out = False
        self.done = threading.Event()
        self._give_up_at = time.monotonic() + time_limit

    def run(self) -> None:
        while not self.done.wait(SAMPLE_EVERY):
            family = tree_below(os.getpid())
            for pid in family:
                self._look(pid)
            if time.monotonic() > self._give_up_at:
                self.timed_out = True
                _kill(family)

    def _look(self, pid: int) -> None:
        peak = memory_peak(pid)
        if peak is not None:
            self.peaks[pid] = peak


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _reap_orphans() -> int:
    """Wait for what the command left behind, kill what stays, and return how many had to be killed."""
    give_up_at = time.monotonic() + ORPHAN_GRACE
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


def _run(argv: Sequence[str], out: IO[bytes], err: IO[bytes], time_limit: float) -> Cost:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this process cannot become the reaper of its orphans")
    watch = _Watch(time_limit)
    watch.start()
    start = time.monotonic()
    child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    code = child.wait()
    wall = time.monotonic() - start
    left_behind = _reap_orphans()
    watch.done.set()
    watch.join()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    peaks = sorted(watch.peaks.values(), key=lambda peak: -peak.bytes)
    return Cost(
        wall=wall,
        user=used.ru_utime,
        system=used.ru_stime,
        code=code,
        peaks=tuple(peaks[:12]),
        left_behind=left_behind,
        timed_out=watch.timed_out,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verdict", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("time_limit", type=float)
    parser.add_argument("argv", nargs="+")
    told = parser.parse_args()
    with told.log.open("wb") as out, told.log.with_name(told.log.name + ".err").open("wb") as err:
        cost = _run(told.argv, out, err, told.time_limit)
    told.verdict.write_text(json.dumps(asdict(cost)), "utf-8")


if __name__ == "__main__":
    main()
