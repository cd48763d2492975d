"""The guards of HTTP/2 and HTTP/3: which is spoken, on how many connections, and that QUIC is judged as TCP is."""

from __future__ import annotations

from tests.mutants.guard import Guard

_EXCHANGES = "worker/adapters/http/exchanges.py"
_HANDLE = "worker/adapters/http/handle.py"


def _of(file: str, text: str, test: str, instead: str = "pass") -> Guard:
    return Guard(file, text, (f"tests/integration/test_multiplexed.py::{test}",), instead)


_VERSION = "pycurl.CURL_HTTP_VERSION_3 if owner.http3 else pycurl.CURL_HTTP_VERSION_2TLS"

GUARDS = (
    _of(_HANDLE, _VERSION, "test_bodies_come_whole[3]", "pycurl.CURL_HTTP_VERSION_2TLS"),
    _of(_HANDLE, _VERSION, "test_bodies_come_whole[2]", "pycurl.CURL_HTTP_VERSION_1_1"),
    _of(_HANDLE, _VERSION, "test_where_datagrams_vanish_http_2_serves", "pycurl.CURL_HTTP_VERSION_3ONLY"),
    _of(_EXCHANGES, "curl.setopt(pycurl.PIPEWAIT, int(is_patient))", "test_many_transfers_share_few_connections[2]"),
    _of(_EXCHANGES, "curl.setopt(pycurl.PIPEWAIT, int(is_patient))", "test_many_transfers_share_few_connections[3]"),
    _of(_HANDLE, "            if not verdict.allowed:", "test_a_refused_address_gets_no_datagram",
        "            if False:"),
    _of(_HANDLE, "            if not verdict.allowed:", "test_a_redirect_to_a_refused_address_sends_nothing[3]",
        "            if False:"),
    _of(_HANDLE, "            if not verdict.allowed:", "test_of_two_addresses_only_the_allowed_one_is_tried[3]",
        "            if False:"),
    _of(_HANDLE, "curl.setopt(pycurl.PREREQFUNCTION, self.permit)",
        "test_a_connection_from_the_pool_is_judged_again[3]"),
    _of(_HANDLE, 'curl.setopt(pycurl.PROXY, "")  # proxy variables would void the guard on addresses',
        "test_proxy_variables_change_nothing"),
)  # fmt: skip
