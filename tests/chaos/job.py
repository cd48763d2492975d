"""One job under fire: its producer is restarted with the same command until every line has its outcome."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import redis

from contract.errors import JobStateError, UnknownJobError
from contract.ledger import control
from producer.cli.exits import BAD_USAGE
from tests.chaos.checker import rows_of
from tests.chaos.site import Site
from tests.support.celery_worker import PROJECT
from tests.support.processes import send


class Failed(AssertionError):
    """A producer ended as it must not; the message holds its last words."""


class Job:
    """A list on its way through a site; ``is_split`` enqueues and follows it with two commands instead of one."""

    def __init__(
        self,
        site: Site,
        folder: Path,
        urls: Sequence[str],
        *,
        batch_size: int = 20,
        is_split: bool = False,
        options: Sequence[str] = (),
        ends_with: Sequence[int] = (0,),
    ) -> None:
        self.urls = urls
        self.manifest = folder / "manifest.jsonl"
        self.log_path = folder / "producer.log"
        self.begun = time.monotonic()
        self.starts = 0
        self._site = site
        self._folder = folder
        self._ends_with = ends_with
        self.cancelled: list[list[dict[str, Any]]] = []  # the rows of each job of this list that was cancelled
        self._is_cancelled = False
        self._id: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)
        self._list = folder / "urls.txt"
        self._list.write_text("".join(f"{url}\n" for url in urls), "utf-8")
        policy = ("--allow-net", "127.0.0.0/8", "--batch-size", str(batch_size), *options)
        self._run = ("run", str(self._list), "-o", str(folder), *policy)
        self._enqueue = ("enqueue", str(self._list), "--quiet", *policy)
        self._is_split = is_split
        self._start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def is_over(self) -> bool:
        """Look after the producer; True once its last command ended as it should.

        Raises:
            Failed: it ended otherwise, and nobody killed it.
        """
        assert self._process is not None
        code = self._process.poll()
        if code is None:
            return False
        if code in (-signal.SIGKILL, -signal.SIGTERM) or self._found_redis_away(code):
            self._start()
            return False
        if self._is_cancelled and code == 1:
            self._begin_again()
            return False
        if self._is_split and self._id is None and code == 0:
            self._id = (self._folder / "enqueued").read_text("utf-8").strip()
            self._start()
            return False
        if code not in self._ends_with:
            raise Failed(f"{' '.join(self._command()[:1])} ended with {code}:\n{self.log()[-3000:]}")
        return True

    def wait(self, *, within: float) -> None:
        """Wait for the end; raises TimeoutError."""
        until = time.monotonic() + within
        while not self.is_over():
            if time.monotonic() > until:
                self.end()
                raise TimeoutError(f"the job did not end within {within:g} s:\n{self.log()[-3000:]}")
            self._site.tend()
            time.sleep(0.05)

    def _found_redis_away(self, code: int) -> bool:
        """A command that finds no Redis when it starts reports it and exits: its user runs it again."""
        return code == BAD_USAGE and "cannot be reached" in self.log().rsplit("\n", 2)[-2]

    def rows(self) -> int:
        """How many outcomes the manifest holds by now."""
        if not self.manifest.exists():
            return 0
        with self.manifest.open("rb") as file:
            return sum(1 for _ in file)

    def pause(self) -> Callable[[], None] | None:
        """Pause it and return what resumes it; None where there is nothing to pause."""
        name = self._newest()
        try:
            if name is None or not control.pause(self._site.ledger(), name):
                return None
        except (JobStateError, UnknownJobError):
            return None
        return lambda: self._resume(name)

    def cancel(self) -> bool:
        """Cancel it, once in its life; the same command is to fetch what is left. False: there is nothing to cancel."""
        name = self._newest()
        try:
            if self._is_cancelled or self.cancelled or name is None:
                return False
            self._is_cancelled = control.cancel(self._site.ledger(), name)
        except (JobStateError, UnknownJobError):
            return False
        except redis.exceptions.RedisError:
            self._is_cancelled = True  # as far as is known
            raise
        return self._is_cancelled

    def _resume(self, name: str) -> None:
        with suppress(JobStateError, UnknownJobError):
            control.resume(self._site.ledger(), name)

    def _newest(self) -> str | None:
        jobs = self._site.ledger().jobs()
        return jobs[-1] if jobs else None

    def _begin_again(self) -> None:
        """The command ended because its job was cancelled: keep its rows, and give it again."""
        self._is_cancelled = False
        if not self._is_split or self._id is not None:
            self.cancelled.append(rows_of(self.manifest))
        self._id = None
        self._start()

    def kill(self) -> None:
        send(self.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill the producer for good."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def log(self) -> str:
        return self.log_path.read_text("utf-8", errors="replace") if self.log_path.exists() else ""

    def _command(self) -> tuple[str, ...]:
        if not self._is_split:
            return self._run
        if self._id is None:
            return self._enqueue
        return ("follow", self._id, "-o", str(self._folder))

    def _start(self) -> None:
        self.starts += 1
        out = self._folder / ("enqueued" if self._is_split and self._id is None else "producer.out")
        with self.log_path.open("ab") as log, out.open("wb") as printed:
            self._process = subprocess.Popen(
                self._site.command("producer", *self._command()),
                cwd=PROJECT,
                env=self._site.environment,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=log,
            )
