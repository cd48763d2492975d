"""Enqueue URLs from a script and print each outcome as it arrives.

    .venv/bin/python examples/enqueue.py https://example.com/ https://www.python.org/

With TRAWL_BROKER_URL set, that cluster's workers fetch them; otherwise a local worker runs until they are done.
"""

import sys

import trawlnet

EXERCISE = ["https://twitter.com", "https://facebook.com", "https://instagram.com"]


def main(urls: list[str], allow_nets: tuple[str, ...] = ()) -> None:
    with trawlnet.connect(output="out") as client:
        job = client.enqueue(
            urls, policy=trawlnet.JobPolicy(timeout=60, allow_nets=allow_nets), label="examples/enqueue.py"
        )
        for outcome in job.outcomes():
            if outcome.is_stored:
                print(f"{outcome.url}: {outcome.bytes} bytes in {outcome.timing.total:.2f} s, stored as {outcome.path}")
            else:
                print(f"{outcome.url}: {outcome.ending}, {outcome.error} ({outcome.detail})")


if __name__ == "__main__":
    main(sys.argv[1:] or EXERCISE)
