"""The guards of an egress proxy: what libcurl and the proxy are given, and where a socket may go."""

from __future__ import annotations

from tests.mutants.guard import Guard

_GUARD = "tests/integration/test_guard.py"
_BEHAVIOUR = "tests/integration/test_egress.py"
_SETTING = "tests/unit/worker/test_settings.py"

_EGRESS = "worker/adapters/egress.py"
_EXCHANGES = "worker/adapters/http/exchanges.py"
_HANDLE = "worker/adapters/http/handle.py"
_DOWNLOADER = "worker/downloader.py"
_SETTINGS = "worker/settings.py"


def _way(file: str, text: str, scenario: str, instead: str = "") -> Guard:
    """A guard that one scenario of the guarded world with a proxy has to miss."""
    return Guard(
        file, text, (f"{_GUARD}::test_nothing_reaches_a_refused_address_through_an_egress_proxy[{scenario}]",), instead
    )


def _does(file: str, text: str, test: str, instead: str = "") -> Guard:
    return Guard(file, text, (f"{_BEHAVIOUR}::{test}",), instead)


GUARDS = (
    # Where a tunnel may end.
    _way(_EGRESS, "if verdicts[address].allowed)", "connect-asked_directly", "if True)"),
    _way(_EGRESS, "if verdicts[address].allowed)", "connect-reached_by_redirect", "if True)"),
    _way(_EGRESS, "if verdicts[address].allowed)", "connect-met_in_the_pool", "if True)"),
    _way(_EGRESS, "if verdicts[address].allowed)", "connect-closed_behind_an_open_connection", "if True)"),
    _way(_EGRESS, "if verdicts[address].allowed)", "connect-named_by_dns", "if True)"),
    _way(_EGRESS, "if verdicts[address].allowed)", "connect-rebound_by_dns", "if True)"),
    _way(_EGRESS, "if verdicts[address].allowed)", "connect-rebound_within_a_transfer", "if True)"),
    _way(_EGRESS, "if verdicts[address].allowed)", "connect-mixed_by_dns", "if True)"),
    _way(_EGRESS, "if verdicts[address].allowed)", "connect-aimed_at_our_own_services", "if True)"),
    _way(_EGRESS, "if verdicts[address].allowed)", "connect-denied_by_the_worker", "if True)"),
    _way(_EGRESS, "if verdicts[address].allowed)", "socks5-asked_directly", "if True)"),
    _way(_EGRESS, "if verdicts[address].allowed)", "socks5-mixed_by_dns", "if True)"),
    _way(_EGRESS, 'curl.setopt(pycurl.URL, "")', "connect-asked_directly", "pass"),
    _way(_EGRESS, 'curl.setopt(pycurl.URL, "")', "socks5-asked_directly", "pass"),
    _does(_EGRESS, "self._judge(address, port, judge)", "test_a_proxys_name_is_looked_up_again",
        "judge(address, port)"),
    Guard("worker/own_services.py", "yield proxy.host, proxy.port",
        ("tests/unit/worker/test_own_services.py::test_metrics_and_egress_proxy_are_own_services",), "pass"),
    # What the proxy is given.
    _way(_EGRESS, 'curl.setopt(pycurl.CONNECT_TO, [f"::{_bracketed(chosen)}:{port}"])', "connect-mixed_by_dns", "pass"),
    _way(_EGRESS, 'curl.setopt(pycurl.CONNECT_TO, [f"::{_bracketed(chosen)}:{port}"])', "socks5-mixed_by_dns", "pass"),
    _does(_EGRESS, "curl.setopt(_SUPPRESS_CONNECT_HEADERS, 1)", "test_a_proxys_status_decides_whose_fault_it_is",
        "pass"),
    # Where a socket may go.
    _way(_EXCHANGES, "judge=aims if egress is None else egress.verdict", "connect-aimed_at_the_egress_proxy",
        "judge=aims"),
    _way(_HANDLE, 'curl.setopt(pycurl.NOPROXY, "")', "connect-reached_through_a_proxy", "pass"),
    _does(_EGRESS, 'in self._accepted:\n            return Verdict(True, "This',
        "test_sockets_go_to_the_proxy_only", 'or True:\n            return Verdict(True, "This'),
    _way(_DOWNLOADER, "egress=self._egress,", "connect-mixed_by_dns"),
    _does(_DOWNLOADER, "reach.http3 and self._egress is None", "test_tls_is_checked_against_the_urls_host",
        "reach.http3"),
    # Whose fault it was.
    _does("worker/adapters/http/handle.py", "if code and self.sockets and self._stopped is None:",
        "test_a_proxys_status_decides_whose_fault_it_is", "if False:"),
    _does("worker/adapters/http/handle.py", "if code and self.sockets and self._stopped is None:",
        "test_a_proxy_that_is_down_is_named_and_not_the_urls_fault", "if False:"),
    _does(_EGRESS, "        if code == pycurl.E_OPERATION_TIMEDOUT:",
        "test_a_host_that_does_not_answer_behind_a_proxy_is_a_timeout", "        if False:"),
    # Its login.
    _does(_EGRESS, "curl.setopt(pycurl.PROXYPASSWORD, password)",
        "test_all_connections_go_through_the_proxy_by_address", "pass"),
    Guard(_SETTINGS, 'if "@" in self.egress_proxy:', (_SETTING,), "if False:"),
    Guard(_SETTINGS, 'login: str = field(default="", repr=False)', (_SETTING,), 'login: str = ""'),
    Guard(_SETTINGS, "(?P<scheme>https?|socks5)", (_SETTING,), "(?P<scheme>https?|socks5h?)"),
)  # fmt: skip
