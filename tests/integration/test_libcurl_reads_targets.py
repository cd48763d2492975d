"""libcurl connects to the host that our parser found: parsers that disagree are how guards are bypassed."""

from __future__ import annotations

from ipaddress import ip_address

import pycurl
import pytest

from contract.urls.lines import Parsed, parse
from tests.support.spellings import DENIED_ADDRESSES, PUBLIC_ADDRESSES, spellings


def addresses_libcurl_would_open(target: str) -> list[str]:
    asked: list[str] = []

    def refuse(_purpose: int, address: tuple[int, int, int, tuple[str, int]]) -> int:
        asked.append(address[3][0])
        return int(pycurl.SOCKET_BAD)

    curl = pycurl.Curl()
    try:
        curl.setopt(pycurl.URL, target)
        curl.setopt(pycurl.PROXY, "")
        curl.setopt(pycurl.OPENSOCKETFUNCTION, refuse)
        with pytest.raises(pycurl.error):
            curl.perform()
    finally:
        curl.close()
    return asked


@pytest.mark.parametrize("address", DENIED_ADDRESSES + PUBLIC_ADDRESSES)
def test_libcurl_opens_the_address_that_was_judged(address: str) -> None:
    """No socket is opened: the callback refuses each."""
    for spelling in spellings(address, port=8080):
        parsed = parse(spelling.url)
        if isinstance(parsed, Parsed):
            asked = [ip_address(text) for text in addresses_libcurl_would_open(parsed.target)]
            assert asked == [ip_address(parsed.host)], spelling
