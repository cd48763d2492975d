"""What libcurl's multi handle keeps of an exchange that could not begin: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pycurl
import pytest

from contract.records.policy import JobPolicy
from contract.urls.lines import RefusedUrl, parse
from worker.adapters.http import CurlHttp
from worker.engine.ports import Request
from worker.engine.safety import AddressPolicy


class Untouched:
    def write(self, data: bytes, is_watched: bool) -> int | None:
        raise AssertionError("nothing was begun")


@pytest.fixture
def http() -> Iterator[CurlHttp[Untouched]]:
    made: CurlHttp[Untouched]
    made = CurlHttp(addresses=AddressPolicy(), window=8, ca_file="/nowhere", ipv4_only=False, http3=False)
    yield made
    made.close()


def a_request(*, fields: tuple[str, ...] = (), seconds: float = 30.0) -> Request:
    url = parse("http://site.test/")
    assert not isinstance(url, RefusedUrl)
    return Request(url, ("127.0.0.1",), JobPolicy(), seconds, fields=fields)


def fails(_curl: Any) -> None:
    raise pycurl.error(pycurl.E_OUT_OF_MEMORY, "")


@pytest.mark.parametrize("step", ["its fields cannot be sent", "libcurl takes no more"])
def test_an_exchange_that_cannot_begin_leaves_no_handle_behind(
    http: CurlHttp[Untouched], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Guards the ``except`` of ``begin``: each such URL of a list would cost a handle, and keep its name for ever."""
    handle = http._new_handle()
    http._idle.append(handle)
    is_unsendable = step == "its fields cannot be sent"
    if not is_unsendable:
        monkeypatch.setattr(http, "_add", fails)

    with pytest.raises(UnicodeEncodeError if is_unsendable else pycurl.error):
        http.begin(a_request(fields=("If-None-Match: \N{SNOWMAN}",) if is_unsendable else ()), Untouched())

    assert (http._handles, http._busy, http._handed.in_use) == ({}, {}, 0)
    with pytest.raises(pycurl.error):
        handle.curl.setopt(pycurl.NOSIGNAL, 1)  # it is closed


def test_an_exchange_without_time_left_has_a_limit_even_on_a_new_handle(http: CurlHttp[Untouched]) -> None:
    handle = http._new_handle()
    options: dict[int, Any] = {}
    handle._setopt = options.__setitem__

    handle.prepare(a_request(seconds=0.0), Untouched())

    assert options[pycurl.TIMEOUT_MS] == 1
