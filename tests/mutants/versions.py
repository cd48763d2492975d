"""The guards of HTTP/2 and HTTP/3: which is used, on how many connections, and that QUIC is judged like TCP."""

from __future__ import annotations

from tests.mutants.guard import Guard, tested_in

_EXCHANGES = "worker/adapters/http/exchanges.py"
_HANDLE = "worker/adapters/http/handle.py"


def _breakages(text: str, instead: str = "") -> Guard:
    tests = ("tests/unit/worker/adapters/http/test_breakages.py",)
    return Guard("worker/adapters/http/breakages.py", text, tests, instead)


def _streams(text: str, instead: str = "pass") -> Guard:
    tests = ("tests/unit/worker/adapters/http/test_streams.py",)
    return Guard("worker/adapters/http/streams.py", text, tests, instead)


_bodies = tested_in("integration/multiplexed/test_bodies.py")
_connections = tested_in("integration/multiplexed/test_connections.py")
_refused = tested_in("integration/multiplexed/test_refused_addresses.py")

_VERSION = "pycurl.CURL_HTTP_VERSION_3 if common.http3 else pycurl.CURL_HTTP_VERSION_2TLS"

GUARDS = (
    _bodies(_HANDLE, _VERSION, "test_bodies_come_whole[3]", "pycurl.CURL_HTTP_VERSION_2TLS"),
    _bodies(_HANDLE, _VERSION, "test_bodies_come_whole[2]", "pycurl.CURL_HTTP_VERSION_1_1"),
    _connections(_HANDLE, _VERSION, "test_http_2_is_used_if_datagrams_vanish", "pycurl.CURL_HTTP_VERSION_3ONLY"),
    _connections(_HANDLE, "self._setopt(pycurl.PIPEWAIT, int(is_tls))", "test_many_transfers_share_few_connections[2]"),
    _connections(_HANDLE, "self._setopt(pycurl.PIPEWAIT, int(is_tls))", "test_many_transfers_share_few_connections[3]"),
    _refused(_HANDLE, "            if not verdict.allowed:", "test_a_refused_address_gets_no_datagram",
        "            if False:"),
    _refused(_HANDLE, "            if not verdict.allowed:", "test_a_redirect_to_a_refused_address_sends_nothing[3]",
        "            if False:"),
    _refused(_HANDLE, "            if not verdict.allowed:", "test_of_two_addresses_only_the_allowed_one_is_tried[3]",
        "            if False:"),
    _refused(_HANDLE, "curl.setopt(pycurl.PREREQFUNCTION, self.permit)",
        "test_a_pooled_connection_is_judged_again[3]"),
    _refused(_HANDLE, 'curl.setopt(pycurl.PROXY, "")  # proxy variables would bypass the address check',
        "test_proxy_variables_change_nothing"),
    # What broke the rules.
    _connections(_EXCHANGES, "if is_of_connection(code, message):",
        "test_urls_that_shared_a_faulty_connection_are_not_blamed", "if False:"),
    _connections(_EXCHANGES, "self._shared = connection", "test_urls_that_shared_a_faulty_connection_are_not_blamed",
        "return pycurl.E_RECV_ERROR, ''"),
    Guard("worker/engine/http/verdict.py", ", tries=2)", ("tests/unit/worker/engine/http/test_verdict.py",), ")"),
    _breakages('    ("received invalid frame: FRAME[DATA", Breakage.CUT),  # a body of another length\n'),
    _breakages("not _MAY_PASS.search(tls[\"reason\"])", "True"),
    _breakages('(code == pycurl.E_SSL_CONNECT_ERROR or " alert " in tls["reason"])', "True"),
    _breakages('code == pycurl.E_SSL_CONNECT_ERROR or', ""),
    _breakages("98: Breakage.DISAGREEMENT", "980: Breakage.DISAGREEMENT"),
    _breakages("if _COMPLAINT.search(message):", "if False:"),
    _breakages('.partition(", name: [")[0]', ""),
    # Streams that were reset.
    _bodies(_HANDLE, "curl.setopt(pycurl.DEBUGFUNCTION, self.hear)", "test_a_quiet_reset_costs_its_own_stream_only"),
    _bodies(_HANDLE, "self._common.streams.connected(self)", "test_bodies_without_a_length_are_requested_once[2]"),
    _bodies(_HANDLE, 'broken, detail = Breakage.RESET, "its stream was reset"',
        "test_a_quiet_reset_costs_its_own_stream_only"),
    _bodies(_EXCHANGES, "            self._streams.settle(self._busy.values())",
        "test_bodies_without_a_length_are_requested_once[2]", "            pass"),
    _bodies("worker/engine/exchange.py", "self.is_unseen = not ended.is_watched and self._ends_unseen(head)",
        "test_a_quiet_reset_is_noticed_after_bodies_with_lengths[2-0]"),
    _bodies("worker/engine/exchange.py", "if not is_watched and self._ends_unseen(head):",
        "test_a_quiet_reset_is_noticed_after_bodies_with_lengths[2-1000]", "if False:"),
    _bodies("worker/engine/transfer.py", "            self._must_watch = True\n",
        "test_a_quiet_reset_is_noticed_after_bodies_with_lengths[2-1000]", "            pass\n"),
    Guard("worker/engine/exchange.py", 'head.framing not in (None, "close")',
        ("tests/integration/test_transfers.py", "-k", "tls-close-framed-1"), "head.framing is not None"),
    Guard("worker/engine/http/verdict.py", "case Breakage.RESET if reception.length is not None:",
        ("tests/unit/worker/engine/http/test_verdict.py",), "case Breakage.RESET:"),
    _streams("and closed[1] in reset.groups()", ""),
    _streams("_RESET.match(before)", "_RESET.search(before)"),
    _streams("_CLOSED.fullmatch(text)", "_CLOSED.search(text)"),
    _streams('request.url.scheme == "https"', "True"),
    _streams("            _have_listen(origin, busy)\n", "            pass\n"),
    _streams("handle.listen(False)"),
    _streams("handle.is_watched or not handle.lines", "True"),
    _streams("handle.is_watched = handle.listens"),
    _streams("if not each.sockets", ""),
    _streams("(each for each in busy if not each.sockets)", "()"),
    _streams("handle.is_watched = not handle.lines", "handle.is_watched = True"),
    _streams("and _origin(handle.request) == origin", ""),
    _streams("head.status < 300 and", ""),
    _streams("and self._origins.get(origin) is not _Origin.STREAMS", ""),
    _streams("self._origins.clear()"),
)  # fmt: skip
