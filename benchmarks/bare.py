"""The floor: libcurl driven from Python, and nothing done but fetching, hashing and naming files.

No checks of addresses, headers or bodies, no deadlines, no retries, no outcomes, no second thread. What Trawlnet adds
to this is what its promises cost; what this is behind a peer is what Python costs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pycurl

from benchmarks.meter import own_cpu

_BUFFER = 512 * 1024  # bytes; as the worker sets it


class _Fetch:
    """An easy handle and the file it fills."""

    def __init__(self, folder: int, authorities: str, *, is_secure: bool) -> None:
        self.url = ""
        self._folder = folder
        self._file, self._part, self._hash = -1, f"{id(self):x}.part", hashlib.sha256()
        self._lines: list[bytes] = []
        self.curl: Any = pycurl.Curl()
        self.curl.fetch = self  # type: ignore[attr-defined]  # pycurl objects take attributes; its stub does not say so
        self.curl.setopt(pycurl.NOSIGNAL, 1)
        self.curl.setopt(pycurl.CAINFO, authorities)
        self.curl.setopt(pycurl.BUFFERSIZE, _BUFFER)
        self.curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        self.curl.setopt(pycurl.PIPEWAIT, int(is_secure))  # with HTTP/2 few connections, as the worker has it
        self.curl.setopt(pycurl.WRITEFUNCTION, self._take)

    def begin(self, url: str) -> None:
        self.url, self._lines, self._hash = url, [], hashlib.sha256()
        self._file = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, dir_fd=self._folder)
        self.curl.setopt(pycurl.URL, url)
        self.curl.setopt(pycurl.HEADERFUNCTION, self._lines.append)

    def _take(self, data: bytes) -> None:
        os.write(self._file, data)
        self._hash.update(data)

    def end(self) -> None:
        os.close(self._file)
        self._hash.hexdigest()
        name = hashlib.md5(self.url.encode(), usedforsecurity=False).hexdigest()
        os.rename(self._part, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)


def fetch(urls: list[str], output: str, *, in_flight: int) -> dict[str, float]:
    """Fetch every URL and return seconds and CPU seconds.

    Raises:
        RuntimeError: a transfer did not end well.
    """
    folder = os.open(output, os.O_RDONLY | os.O_DIRECTORY)
    multi: Any = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, max(256, 2 * in_flight))
    multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
    begun, used = time.monotonic(), own_cpu()
    left = iter(urls)
    authorities = os.environ["TRAWL_CA_FILE"]
    is_secure = urls[0].startswith("https:")
    flying = sum(_begin(multi, _Fetch(folder, authorities, is_secure=is_secure), left) for _ in range(in_flight))
    while flying:
        multi.select(0.5)
        multi.perform()
        _, done, broken = multi.info_read()
        if broken:
            raise RuntimeError(str(broken[0][1:]))
        for curl in done:
            multi.remove_handle(curl)
            curl.fetch.end()
            flying += _begin(multi, curl.fetch, left) - 1
    return {"seconds": time.monotonic() - begun, "cpu": own_cpu() - used}


def _begin(multi: Any, handle: _Fetch, left: Iterator[str]) -> int:
    url = next(left, None)
    if url is None:
        return 0
    handle.begin(url)
    multi.add_handle(handle.curl)
    return 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("list", type=Path)
    parser.add_argument("output")
    parser.add_argument("--in-flight", type=int, default=64)
    told = parser.parse_args()
    json.dump(fetch(told.list.read_text("utf-8").split(), told.output, in_flight=told.in_flight), sys.stdout)


if __name__ == "__main__":
    main()
