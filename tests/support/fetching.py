"""A downloader in a temporary folder, and batches of URLs fetched with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from contract.records.batches import BatchEntry
from contract.records.credentials import NO_CREDENTIALS, Credentials
from contract.records.outcomes import Outcome
from contract.records.policy import JobPolicy
from tests.support.processes import PATIENCE
from worker.downloader import Downloader
from worker.engine.ports import Clock
from worker.engine.run import Run
from worker.settings import WorkerSettings

#: Loopback is where test servers live.
OPEN = JobPolicy(allow_nets=("127.0.0.0/8", "::1/128"), timeout=20.0)


class Bench:
    """Starts runs and shows what they left in the output folder."""

    def __init__(
        self,
        folder: Path,
        *,
        look_up: Callable[[str], tuple[str, ...]] | None = None,
        clock: Clock | None = None,
        **settings: object,
    ) -> None:
        self.folder = folder
        worker = replace(WorkerSettings(output=str(folder), min_free=0), **settings)  # type: ignore[arg-type]  # the settings' own names
        self.downloader = Downloader(worker, look_up=look_up, clock=clock)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(
        self, urls: Iterable[str | BatchEntry], policy: JobPolicy = OPEN, credentials: Credentials = NO_CREDENTIALS
    ) -> Run:
        entries = [BatchEntry(url=url) if isinstance(url, str) else url for url in urls]
        return self.downloader.start(entries, policy, queued=time.time(), worker="test", credentials=credentials)

    def fetch(self, urls: Iterable[str | BatchEntry], policy: JobPolicy = OPEN, *, within: float = 30.0) -> Run:
        """Run a batch to its end; fails after PATIENCE times `within` seconds."""
        run = self.start(urls, policy)
        assert run.wait(PATIENCE * within), run.progress
        return run

    def outcomes(
        self, urls: Sequence[str], policy: JobPolicy = OPEN, credentials: Credentials = NO_CREDENTIALS
    ) -> list[Outcome]:
        """Run a batch to its end; return its outcomes in the order of the URLs, of which no two are the same."""
        run = self.start(urls, policy, credentials)
        assert run.wait(PATIENCE * 30.0), run.progress
        found = {outcome.url: outcome for outcome in run.outcomes}
        return [found[url] for url in urls]

    def files(self) -> set[str]:
        """Return the paths of all named files, relative to the output folder."""
        found = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        return {str(path) for path in found if path.parts[0] != ".trawl"}

    def temporary_files(self) -> list[Path]:
        return [path for path in (self.folder / ".trawl").rglob("*") if path.is_file()]

    def close(self) -> None:
        self.downloader.close()
