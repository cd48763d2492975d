"""A real Celery worker as a process of its own: started, signalled, killed, and ended with its children."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

from tests.support.processes import PATIENCE, await_condition, descendants, is_alive, send, session_of

#: The folder `-A worker` is imported from.
PROJECT = Path(__file__).resolve().parents[2]

#: Celery logs "celery@host ready." once the worker consumes.
READY = r"\bready\."

#: What a shell may hold that would change the worker under test.
_NOT_INHERITED = re.compile(r"(?i)^(TRAWL_|CELERY_|FLOWER_|COVERAGE_|PYTEST_|(https?|all|no|ftp)_proxy$)")


class WorkerDied(RuntimeError):
    """The worker ended before it was ready; the message holds the end of its log."""


class CeleryWorker:
    """One `celery worker` started as a person would; a context manager that leaves no process behind.

    `left_behind` lists what `stop()` found alive and had to kill although the worker had ended by itself.
    """

    def __init__(
        self,
        folder: Path,
        *,
        env: Mapping[str, str],
        pool: str = "prefork",
        concurrency: int = 2,
        loglevel: str = "INFO",
        gossips: bool = False,
        name: str | None = None,
        cwd: Path = PROJECT,
        python: str = sys.executable,
        ready: str = READY,
        program: Path | None = None,
    ) -> None:
        """Describe the worker without starting it.

        The log goes to `folder`; `env` comes on top of the environment without its TRAWL_, CELERY_ and proxy
        variables; with `gossips` it listens to other workers, and waits a second for them first; `ready` is a pattern
        its log shows when it consumes; `program` is run with Celery's command line as its arguments, not Celery.
        """
        self.name = name or f"w-{uuid.uuid4().hex[:8]}"
        self.log_path = folder / f"{self.name}.log"
        self.left_behind: list[int] = []
        self._ready = ready
        self._cwd = cwd
        self._command = [
            *((python, "-m") if program is None else (python, str(program))),
            *("celery", "-A", "worker", "worker", "--loglevel", loglevel, "--pool", pool),
            *("--concurrency", str(concurrency), "--hostname", f"{self.name}@%h"),
            *(() if gossips else ("--without-gossip", "--without-mingle")),
        ]
        inherited = {key: value for key, value in os.environ.items() if not _NOT_INHERITED.match(key)}
        self._env = {**inherited, "PYTHONUNBUFFERED": "1", **env}
        self._process: subprocess.Popen[bytes] | None = None

    # ---- what it is

    @property
    def pid(self) -> int:
        """The pid of Celery's main process, once it was started."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the main process lives."""
        return self._process is not None and self._process.poll() is None

    def children(self) -> list[int]:
        """Return the pids of the pool's processes and theirs, oldest first; empty once the main process is gone."""
        return sorted(descendants(self.pid))

    def survivors(self) -> list[int]:
        """Return the pids of everything that came from this worker and lives, orphans included."""
        return [pid for pid in session_of(self.pid) if is_alive(pid)]

    def log(self) -> str:
        """Return all it has logged."""
        return self.log_path.read_text("utf-8", errors="replace") if self.log_path.exists() else ""

    # ---- its life

    def start(self, *, within: float = 40.0, wait: bool = True) -> CeleryWorker:
        """Start it and return once it consumes (at once without `wait`); raises WorkerDied or TimeoutError."""
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            # A session of its own is how its orphans are found again, whatever their parent is by then.
            self._process = subprocess.Popen(
                self._command, cwd=self._cwd, env=self._env, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        if wait:
            self.wait_until_ready(within=within)
        return self

    def wait_until_ready(self, *, within: float = 40.0) -> None:
        """Return once it consumes; raises WorkerDied or TimeoutError, and stops it then."""
        try:
            self.wait_for_log(self._ready, within=within)
        except BaseException:
            self.stop(grace=0)
            raise

    def wait_for_log(self, pattern: str, *, within: float = 20.0) -> re.Match[str]:
        """Return the first match in the log; raises WorkerDied if it ends without, or TimeoutError."""

        def look() -> re.Match[str] | None:
            ended = not self.is_running
            found = re.search(pattern, self.log())
            if found is None and ended:
                raise WorkerDied(f"{self.name} ended without logging {pattern!r}:\n{self.log()[-3000:]}")
            return found

        return await_condition(look, within=within, what=f"{pattern!r} in the log of {self.name}")

    def send_signal(self, sent: signal.Signals) -> None:
        """Send a signal to the main process only (TERM: warm, QUIT: cold shutdown, STOP and CONT: freeze and thaw)."""
        send(self.pid, sent)

    def kill(self, *, children_too: bool = True) -> None:
        """SIGKILL the main process, as the kernel's OOM killer would, and its children as a power cut would."""
        family = self.children() if children_too else []
        for pid in (self.pid, *family):
            send(pid, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def wait(self, *, within: float = 60.0) -> int:
        """Return the exit code of the main process once it has ended; raises TimeoutError."""
        assert self._process is not None
        try:
            return self._process.wait(PATIENCE * within)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self.name} still runs after {PATIENCE * within:g} s:\n{self.log()[-3000:]}") from None

    def stop(self, *, grace: float = 60.0) -> None:
        """End it: warm shutdown, SIGKILL after `grace` seconds; then kill what is left and note it."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._end_main_process(grace)
        if self._process.returncode != -signal.SIGKILL:
            # A worker that ended by itself is to take its children along; one that was killed cannot.
            self.left_behind.extend(self._survivors_after(2.0))
        for pid in self.survivors():
            send(pid, signal.SIGKILL)
        await_condition(lambda: not self.survivors(), within=10.0, what=f"the end of {self.name}'s children")

    def _survivors_after(self, seconds: float) -> list[int]:
        try:
            await_condition(lambda: not self.survivors(), within=seconds, what="the children's end")
        except TimeoutError:
            pass
        return self.survivors()

    def _end_main_process(self, grace: float) -> None:
        assert self._process is not None
        if grace > 0:
            self.send_signal(signal.SIGCONT)
            self.send_signal(signal.SIGTERM)
            try:
                self._process.wait(grace)
                return
            except subprocess.TimeoutExpired:
                pass
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> CeleryWorker:
        return self if self._process is not None else self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
