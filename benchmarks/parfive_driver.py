"""Download a list with parfive: LIST OUTPUT IN_FLIGHT SPLITS. Runs in the peers' environment, not in ours."""

import sys

from parfive import Downloader  # type: ignore[import-not-found]  # a peer: installed beside us, never with us

if __name__ == "__main__":
    listed, output, in_flight, splits = sys.argv[1:]
    downloader = Downloader(max_conn=int(in_flight), max_splits=int(splits), progress=False, overwrite=True)
    with open(listed, encoding="utf-8") as lines:
        for line in lines:
            downloader.enqueue_file(line.strip(), path=output, filename=line.strip().rpartition("/")[2])
    results = downloader.download()
    sys.exit(1 if results.errors else 0)
