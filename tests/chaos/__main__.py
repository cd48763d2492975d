"""``python -m tests.chaos --kills 60 [--seed 1] [--no-sweep]``: kill at random; exit code 1 when anything was lost."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from tests.chaos.site import Site
from tests.chaos.source import Source
from tests.chaos.stories import NAMES, play
from tests.chaos.storm import Storm

HOSTS = 4  # that the URLs are of


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=60, help="kill -9 so often in all")
    parser.add_argument("--seed", type=int, default=None, help="for the same faults in the same order")
    parser.add_argument(
        "--urls", type=int, default=2000, help="URLs per job; job follows job until the kills are spent"
    )
    parser.add_argument(
        "--pause", type=float, default=0.6, help="longest time left alone before the next fault, seconds"
    )
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--only", action="append", default=[], help="deal this fault only (repeatable)")
    parser.add_argument("--delay", type=float, default=0.1, help="seconds every answer of the web server takes")
    parser.add_argument("--no-sweep", action="store_true", help="show what is lost when nobody sends it again")
    parser.add_argument("--report", type=Path, help="append one JSON line per job")
    parser.add_argument("--story", action="append", default=[], choices=[*NAMES, "all"], help="play this instead")
    parser.add_argument("--folder", type=Path, help="where to work, and to leave the logs")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else int(time.time())
    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        report = stack.enter_context(options.report.open("a", encoding="utf-8")) if options.report else None
        print(f"seed {seed}, logs in {folder}", flush=True)
        begun = time.monotonic()
        if options.story:
            return tell_stories(NAMES if "all" in options.story else options.story, folder)
        source = stack.enter_context(Source(delay=options.delay, hosts=HOSTS))
        site = stack.enter_context(Site(folder, sweeps=not options.no_sweep, flower=not options.no_sweep))
        storm = Storm(
            site,
            source,
            kills=options.kills,
            seed=seed,
            urls=options.urls,
            batch_size=options.batch_size,
            pause=options.pause,
            only=options.only,
            report=report,
            tell=lambda line: print(line, flush=True),
        )
        tally = storm.run(folder)
        storm.settle()
        print("\n".join([*tally.lines(), f"in {time.monotonic() - begun:.0f} s"]))
    return 0 if tally.is_good else 1


def tell_stories(names: Iterable[str], folder: Path) -> int:
    """Play them one after another; 1 when one went wrong."""
    bad = 0
    for name in names:
        try:
            story = play(name, folder)
        except (AssertionError, TimeoutError) as error:
            bad += 1
            print(f"{name}: {type(error).__name__}: {error}", flush=True)
        else:
            bad += not story.verdict.is_good
            print(story, flush=True)
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
