"""A list fetched by `trawl run` from a site of fates, watched until what is good of it is stored."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO, Any

from benchmarks.client import REPOSITORY
from benchmarks.meter import cpu_seconds, tree_below
from benchmarks.slow import site
from contract.folders import PRIVATE

_LOOK = 0.2  # seconds between two looks at the output folder
_REDIS, _HIGHEST = re.compile(rb"(valkey|redis)-server"), re.compile(r"VmHWM:\s*(\d+)")
_END = 30.0  # seconds a command may take to stop


@dataclass(frozen=True, slots=True)
class Asked:
    """What a site was asked since it was asked last: requests by fate, answers by status, Unix seconds by fate."""

    requests: Mapping[str, int]
    answers: Mapping[str, int]
    times: Mapping[str, Sequence[float]]


class RunningSite:
    """A site in a process of its own, and how to reach it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._questions: IO[str] = process.stdin
        self._answers: IO[str] = process.stdout
        self.ports: dict[str, int] = json.loads(self._answers.readline())

    def url(self, host: int, fate: str, *, wait: int = 0, size: int = 500, name: object = 0, port: str = "port") -> str:
        """Return a URL of the n-th host; ``wait`` is in milliseconds, ``port`` leads where there may be no answer."""
        return f"http://{address_of(host)}:{self.ports[port]}/{fate}/{wait}/{size}/{name}"

    def asked(self) -> Asked:
        """Return what was asked since this was called last."""
        return self._ask("clear")

    def seen(self) -> Asked:
        """The same, and go on counting."""
        return self._ask("look")

    def _ask(self, question: str) -> Asked:
        self._questions.write(question + "\n")
        self._questions.flush()
        return Asked(**json.loads(self._answers.readline()))


@contextlib.contextmanager
def running_site(limits: site.Limits | None = None) -> Iterator[RunningSite]:
    argv = [sys.executable, "-P", site.__file__, "--limits", json.dumps(limits or {})]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield RunningSite(process)
    finally:
        process.kill()
        process.communicate()


def address_of(host: int) -> str:
    return f"127.{2 + host // 40_000}.{host // 200 % 200}.{host % 200 + 1}"


@dataclass(slots=True)
class Trial:
    """How a run went; times in seconds from its start, ``None`` where it did not come so far.

    ``done`` are the moments at which good bodies got their names, in order; ``cpu`` is what the whole tree of processes
    had used when the last of them had. A ``code`` of None: stopped by us.
    """

    folder: Path
    good: int
    done: list[float] = field(default_factory=list)
    wall: float = 0.0
    code: int | None = None
    cpu: float = 0.0
    redis_peak: int = 0  # bytes, all of its process
    batches: int = 0  # that the producer cut, as far as was seen
    successors: int = 0  # opened in place of others

    @property
    def stored(self) -> int:
        return len(self.done)

    @property
    def took(self) -> float | None:
        """Return when the last good body was there; None: not all of them were."""
        return self.done[-1] if self.good and self.stored == self.good else None

    @property
    def rate(self) -> float:
        """Return good URLs per second: of all, or of the second half of a run that did not come so far."""
        if self.took is not None:
            return self.stored / self.took
        half = self.wall / 2
        return sum(moment > half for moment in self.done) / half

    @property
    def longest_gap(self) -> float:
        """Return the longest time without a good body, from the first one on; to the end where some are missing."""
        moments = self.done if self.stored == self.good else [*self.done, self.wall]
        return max((later - earlier for earlier, later in pairwise(moments)), default=0.0)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return rows_of(self.folder / "out")


def rows_of(output: Path) -> list[dict[str, Any]]:
    with contextlib.suppress(OSError), (output / "manifest.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.endswith("\n")]
    return []


def name_of(url: str) -> str:
    return hashlib.md5(url.encode()).hexdigest()


def environment(**more: str) -> dict[str, str]:
    """Return this environment without what would change a run."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("TRAWL_", "CELERY_"))}
    kept.pop("REDIS_URL", None)
    return {**kept, "PYTHONPATH": str(REPOSITORY), **more}


def command(listed: Path, output: Path, *options: str) -> list[str]:
    argv = [sys.executable, "-P", "-m", "producer", "run", str(listed), "-o", str(output)]
    return [*argv, "--allow-net", "127.0.0.0/8", *options]


@contextlib.contextmanager
def started(argv: Sequence[str], folder: Path, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in a session of its own, with a log; on leaving it is stopped, and nothing of it is left."""
    with (folder / "log.txt").open("ab") as log:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env=environment(XDG_CACHE_HOME=str(folder / "cache"), **env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process)


@contextlib.contextmanager
def started_list(
    urls: Sequence[str], folder: Path, *options: str, env: Mapping[str, str] | None = None, descriptors: int = 0
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a run of these URLs in a folder of its own, with so many ``descriptors`` (0: as many as we may have)."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    listed = folder / "urls.txt"
    listed.write_text("".join(url + "\n" for url in urls), "utf-8")
    argv = command(listed, folder / "out", *options)
    if descriptors:
        argv = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *argv]
    with started(argv, folder, **(env or {})) as process:
        yield process


def stop(process: subprocess.Popen[bytes]) -> None:
    family = [process.pid, *tree_below(process.pid)]
    if process.poll() is None:
        for _ in range(2):  # the second one ends what is in flight
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_END)
    if process.poll() is None:
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def fetch(
    urls: Sequence[str],
    good: Sequence[str],
    *options: str,
    folder: Path,
    limit: float,
    to_the_end: bool = False,
    descriptors: int = 0,
) -> Trial:
    """Fetch a list until its good URLs are stored (or to its end), for ``limit`` seconds at most."""
    trial, names, is_stored = Trial(folder, len(good)), {name_of(url) for url in good}, False
    with started_list(urls, folder, *options, descriptors=descriptors) as process:
        begun = time.time()  # not before: an earlier round's files may have to be removed
        while process.poll() is None and time.time() < begun + limit:
            if not is_stored:
                is_stored = _count(folder / "out", names) == trial.good
                family = [process.pid, *tree_below(process.pid)]
                trial.cpu, trial.redis_peak = cpu_seconds(family), max(trial.redis_peak, _redis_peak(family))
            trial.batches, trial.successors = _count_batches(folder / "out") or (trial.batches, trial.successors)
            if is_stored and not to_the_end:
                break
            time.sleep(_LOOK if trial.good < 50_000 else 10 * _LOOK)
        trial.wall, trial.code = time.time() - begun, process.poll()
        trial.done = _moments(folder / "out", names, begun)
    return trial


def _redis_peak(family: Sequence[int]) -> int:
    """Return the most memory that the Redis among these processes ever had, in bytes."""
    for pid in family:
        with contextlib.suppress(OSError):
            if _REDIS.search(Path(f"/proc/{pid}/cmdline").read_bytes()):
                return int(_HIGHEST.findall(Path(f"/proc/{pid}/status").read_text())[0]) * 1024
    return 0


def _count_batches(output: Path) -> tuple[int, int] | None:
    """Count the batches in the journal: numbered ones, and those named after the one they took over from."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{output / PRIVATE / 'journal.sqlite'}?mode=ro", uri=True)) as it:
            found = it.execute("SELECT count(*), sum(instr(batch, '.') > 0) FROM batches").fetchone()
    except sqlite3.Error:  # not there yet, or busy
        return None
    return (found[0] - found[1], found[1]) if found[0] else None


def _count(output: Path, names: set[str]) -> int:
    try:
        return len(names.intersection(os.listdir(output)))
    except FileNotFoundError:
        return 0


def _moments(output: Path, names: set[str], begun: float) -> list[float]:
    """Return when the good bodies got their names: a file's last change is its renaming."""
    try:
        with os.scandir(output) as entries:
            return sorted(entry.stat().st_ctime - begun for entry in entries if entry.name in names)
    except FileNotFoundError:
        return []
