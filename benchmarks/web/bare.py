"""What one writes with libcurl from Python for such a list: many at once, three attempts, Retry-After, md5 names."""

from __future__ import annotations

import argparse
import hashlib
import heapq
import os
import random
import time
from collections import deque
from pathlib import Path
from typing import Any

import pycurl

_AGAIN = frozenset({429, 500, 502, 503, 504})
_BUFFER = 512 * 1024  # bytes; as the worker sets it


class _Fetch:
    """An easy handle, the URL it is about, and its file."""

    def __init__(self, folder: int, authorities: str, timeout: float) -> None:
        self.url, self.tries = "", 0
        self._folder, self._part = folder, f"{id(self):x}.part"
        self._file, self._asked = -1, 0.0
        self.curl: Any = pycurl.Curl()
        self.curl.fetch = self  # type: ignore[attr-defined]  # pycurl objects take attributes; its stub does not say so
        options = {
            pycurl.NOSIGNAL: 1,
            pycurl.CAINFO: authorities,
            pycurl.BUFFERSIZE: _BUFFER,
            pycurl.FOLLOWLOCATION: 1,
            pycurl.TIMEOUT_MS: round(timeout * 1000),
            pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_2TLS,
            pycurl.FAILONERROR: 1,
            pycurl.IPRESOLVE: pycurl.IPRESOLVE_V4,
            pycurl.WRITEFUNCTION: self._take,
            pycurl.HEADERFUNCTION: self._read,
        }
        for option, value in options.items():
            self.curl.setopt(option, value)

    def begin(self, url: str, tries: int) -> None:
        self.url, self.tries, self._asked, self._hash = url, tries + 1, 0.0, hashlib.sha256()
        self._file = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, dir_fd=self._folder)
        self.curl.setopt(pycurl.URL, url)
        self.curl.setopt(pycurl.PIPEWAIT, int(url.startswith("https:")))

    def _take(self, data: bytes) -> None:
        os.write(self._file, data)
        self._hash.update(data)

    def _read(self, line: bytes) -> None:
        if line[:12].lower() == b"retry-after:":
            self._asked = float(line[12:])

    def end(self) -> None:
        os.close(self._file)
        self._hash.hexdigest()
        name = hashlib.md5(self.url.encode(), usedforsecurity=False).hexdigest()
        os.rename(self._part, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)

    def fail(self, attempts: int) -> float | None:
        """Return the seconds to wait before the next attempt; None: it is over."""
        os.close(self._file)
        status = self.curl.getinfo(pycurl.RESPONSE_CODE)
        if self.tries >= attempts or (400 <= status < 500 and status not in _AGAIN):
            return None
        return max(self._asked, random.random() * 0.5 * 2.0 ** (self.tries - 1))


def fetch(urls: list[str], output: str, *, in_flight: int, timeout: float, attempts: int) -> None:
    """Fetch every URL that can be fetched."""
    folder = os.open(output, os.O_RDONLY | os.O_DIRECTORY)
    multi: Any = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, max(256, 4 * in_flight))
    multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
    left, again = deque(urls), list[tuple[float, str, int]]()
    idle = [_Fetch(folder, os.environ["TRAWL_CA_FILE"], timeout) for _ in range(in_flight)]
    while left or again or len(idle) < in_flight:
        now = time.monotonic()
        while idle and (left or (again and again[0][0] <= now)):
            _, url, tries = heapq.heappop(again) if again and again[0][0] <= now else (now, left.popleft(), 0)
            handle = idle.pop()
            handle.begin(url, tries)
            multi.add_handle(handle.curl)
        multi.select(0.05)
        multi.perform()
        _, done, broken = multi.info_read()
        for curl in done:
            multi.remove_handle(curl)
            curl.fetch.end()
            idle.append(curl.fetch)
        for curl, _code, _message in broken:
            multi.remove_handle(curl)
            wait = curl.fetch.fail(attempts)
            if wait is not None:
                heapq.heappush(again, (time.monotonic() + wait, curl.fetch.url, curl.fetch.tries))
            idle.append(curl.fetch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("list", type=Path)
    parser.add_argument("output")
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--timeout", type=float, default=10.0)
    parser.add_argument("--attempts", type=int, default=3)
    told = parser.parse_args()
    urls = told.list.read_text("utf-8").split()
    fetch(urls, told.output, in_flight=told.in_flight, timeout=told.timeout, attempts=told.attempts)


if __name__ == "__main__":
    main()
