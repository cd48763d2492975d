"""The textbook exercise on a cluster: first one by one, then concurrently with futures and as_completed.

    .venv/bin/python examples/futures.py https://example.com/ https://www.python.org/

``submit`` returns a ``concurrent.futures.Future``, for the standard library's ``as_completed`` and ``wait``.
"""

import sys
import time
from concurrent.futures import Future, as_completed, wait

import trawlnet

EXERCISE = ["https://twitter.com", "https://facebook.com", "https://instagram.com"]


def main(urls: list[str], allow_nets: tuple[str, ...] = ()) -> None:
    policy = trawlnet.JobPolicy(timeout=60, allow_nets=allow_nets)
    with trawlnet.connect(output="out") as client, trawlnet.Submitter(client, policy=policy) as submitter:
        wait(submitter.map(urls))  # a new worker needs a second to start

        start = time.perf_counter()
        for url in urls:
            print(url, describe(submitter.submit(url)))
        print(f"One by one: {time.perf_counter() - start:.2f} s\n")

        start = time.perf_counter()
        url_of: dict[Future[trawlnet.Outcome], str] = {submitter.submit(url): url for url in urls}
        for future in as_completed(url_of):
            print(url_of[future], describe(future))
        print(f"Concurrently: {time.perf_counter() - start:.2f} s")


def describe(future: Future[trawlnet.Outcome]) -> str:
    try:
        outcome = future.result()
    except trawlnet.UrlError as error:
        return f"failed: {error}"
    return f"{outcome.bytes} bytes in {outcome.timing.total:.2f} s, stored as {outcome.path}"


if __name__ == "__main__":
    main(sys.argv[1:] or EXERCISE)
