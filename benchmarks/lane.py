"""One lane alone: fetch a list in this process with the worker's engine, without Celery, Redis or a manifest."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks import relay
from benchmarks.meter import own_cpu
from contract.records.batches import BatchEntry
from contract.records.outcomes import Outcome
from contract.records.policy import Digest, JobPolicy
from worker.downloader import Downloader
from worker.engine import lane as engine
from worker.lifecycle import calm_collector
from worker.settings import WorkerSettings

BATCH = 500  # URLs per batch, as `trawl run` cuts them
AHEAD = 2  # batches under way at once, so that one's last URLs do not hold up the next


def fetch(
    urls: list[str], output: str, *, in_flight: int, splits: int, digest: Digest = Digest.SHA256
) -> dict[str, float]:
    """Fetch every URL and return seconds and CPU seconds, from the first transfer to the last file settled.

    Raises:
        RuntimeError: a URL did not end well.
    """
    settings = WorkerSettings(output=output, transfers=in_flight, ca_file=os.environ.get("TRAWL_CA_FILE", ""))
    policy = JobPolicy(allow_nets=("127.0.0.0/8", relay.NETWORK), splits=splits, digest=digest)
    downloader = Downloader(settings)
    calm_collector()  # as a worker does
    begun, used = time.monotonic(), own_cpu()
    outcomes: list[Outcome] = []
    running = []
    for start in range(0, len(urls), BATCH):
        entries = [BatchEntry(url=url) for url in urls[start : start + BATCH]]
        running.append(downloader.start(entries, policy, queued=time.time(), worker="lane"))
        while len(running) >= AHEAD:
            running[0].wait()
            outcomes += running.pop(0).outcomes
    for run in running:
        run.wait()
        outcomes += run.outcomes
    took, used = time.monotonic() - begun, own_cpu() - used
    downloader.close()
    endings = Counter((outcome.ending, outcome.error, outcome.detail) for outcome in outcomes if not outcome.is_stored)
    if endings or len(outcomes) != len(urls):
        raise RuntimeError(f"{len(outcomes)} of {len(urls)} outcomes; not stored: {endings.most_common(3)}")
    return {"seconds": took, "cpu": used}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("list", type=Path)
    parser.add_argument("output")
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--splits", type=int, default=1)
    parser.add_argument("--digest", type=Digest, default=Digest.SHA256)
    parser.add_argument("--tick", type=float, default=engine.TICK, help="seconds between two looks at deadlines")
    told = parser.parse_args()
    engine.TICK = told.tick
    urls = told.list.read_text("utf-8").split()
    took = fetch(urls, told.output, in_flight=told.in_flight, splits=told.splits, digest=told.digest)
    json.dump(took, sys.stdout)


if __name__ == "__main__":
    main()
