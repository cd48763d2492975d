"""The guards between a verdict and the wire: what libcurl is given, what a refusal becomes, which host gets what."""

from __future__ import annotations

from tests.mutants.guard import Guard

_GUARD = "tests/integration/test_guard.py"
_WIRE = "tests/integration/test_credentials_on_the_wire.py"
_PORT = "tests/ports/test_resolver.py"
_AGAIN = "test_names_unknown_to_name_servers_are_asked_of_the_system"
_WAITS = "test_a_lookup_handed_to_the_system_waits_again"
_UNIT = "tests/unit/contract/records/test_credentials.py"


def _way(file: str, text: str, scenario: str, instead: str = "") -> Guard:
    """A guard that one scenario of the guarded world has to miss."""
    return Guard(file, text, (f"{_GUARD}::test_nothing_reaches_a_refused_address[{scenario}]",), instead)


def _names(file: str, text: str, scenario: str, instead: str = "") -> Guard:
    name = "test_ordinary_lists_are_fetched_and_name_servers_may_fail"
    return Guard(file, text, (f"{_GUARD}::{name}[{scenario}]",), instead)


def _asked(module: str, text: str, test: str, instead: str) -> Guard:
    """A guard of the questions to name servers that a test of this name has to miss."""
    return Guard(
        f"worker/adapters/resolver/{module}.py", text, ("tests/integration/test_name_servers.py", "-k", test), instead
    )


def _sent(file: str, text: str, test: str, instead: str = "") -> Guard:
    return Guard(file, text, (f"{_WIRE}::{test}",), instead)


_ADDRESSES = "worker/adapters/http/addresses.py"
_HANDLE = "worker/adapters/http/handle.py"
_RESOLVER = "worker/adapters/resolver/resolver.py"
_DOWNLOADER = "worker/downloader.py"
_INFRASTRUCTURE = "worker/own_services.py"
_EXCHANGE = "worker/engine/exchange.py"
_HOPS = "worker/engine/hops.py"
_TRANSFER = "worker/engine/transfer.py"
_CREDENTIALS = "contract/records/credentials.py"

GUARDS = (
    # What libcurl is given.
    _way(_HANDLE, "curl.setopt(pycurl.OPENSOCKETFUNCTION, self.open_socket)", "asked_directly", "pass"),
    _way(_HANDLE, "curl.setopt(pycurl.OPENSOCKETFUNCTION, self.open_socket)", "asked_by_http_3", "pass"),
    _way(_HANDLE, "            if not verdict.allowed:", "asked_directly", "            if False:"),
    _way(_HANDLE, "            if not verdict.allowed:", "asked_by_http_3", "            if False:"),
    _way(_HANDLE, "            if not verdict.allowed:", "reached_by_redirect", "            if False:"),
    _way(_HANDLE, "            if not verdict.allowed:", "named_by_dns", "            if False:"),
    _way(_HANDLE, "            if not verdict.allowed:", "rebound_by_dns", "            if False:"),
    _way(_HANDLE, "            if not verdict.allowed:", "rebound_within_a_transfer", "            if False:"),
    _way(_HANDLE, "            if not verdict.allowed:", "mixed_by_dns", "            if False:"),
    _way(_HANDLE, "curl.setopt(pycurl.PREREQFUNCTION, self.permit)", "closed_behind_an_open_connection", "pass"),
    _way(_HANDLE, "            if verdict.allowed:", "closed_behind_an_open_connection", "            if True:"),
    _way(_HANDLE, 'curl.setopt(pycurl.PROXY, "")', "reached_through_a_proxy", "pass"),
    _way(_HANDLE, "curl.setopt(pycurl.FOLLOWLOCATION, 0)", "reached_by_redirect",
        "curl.setopt(pycurl.FOLLOWLOCATION, 1)"),
    _way(_ADDRESSES, "!= addresses or (self.unread and name in self.unread)", "rebound_by_dns", "!= addresses"),
    _names(_ADDRESSES, "!= addresses or (self.unread and name in self.unread)", "names_are_asked_once", "!= addresses"),
    _names(_ADDRESSES, '(host, f"{host}.")', "names_are_asked_once", "(host,)"),
    # What a refusal becomes.
    _way(_HANDLE, "self._refusals += (verdict.reason,)", "asked_directly", "pass"),
    _way(_EXCHANGE, "_refusal(ended) or stopped", "asked_directly", "stopped"),
    _way(_EXCHANGE, "if len(ended.refusals) < ended.sockets:", "mixed_by_dns", "if False:"),
    _way("worker/engine/http/retry.py", "not failure.is_transient or", "asked_directly"),
    _way("worker/engine/rows.py", "and transfer.failure.kind is Kind.REFUSED", "asked_directly", "and False"),
    _way(_HOPS, "Kind.REFUSED if hop.error is ErrorClass.REFUSED_URL else Kind.PERMANENT", "reached_by_redirect",
        "Kind.PERMANENT"),
    # Whose verdict it is.
    _way(_DOWNLOADER, "self._lanes.pop(reach, None)", "met_in_the_pool",
        "self._lanes.pop(next(iter(self._lanes), reach), None)"),
    _way(_DOWNLOADER, "worker_deny=self._worker_deny,", "denied_by_the_worker"),
    _way(_DOWNLOADER, "own=self._own,", "aimed_at_our_own_services"),
    _way(_INFRASTRUCTURE, '*cluster.broker_url.split(";"), ', "aimed_at_our_own_services", "*(), "),
    _way(_INFRASTRUCTURE, ", cluster.result_backend):", "aimed_at_our_own_services", ",):"),
    Guard("worker/wiring.py", "own=own,", (f"{_GUARD}::test_a_worker_enforces_what_its_operator_forbids",),
        "own=frozenset()"),
    Guard("producer/commands/preparation.py", "127.0.0.1:{worker.flower_port}\".strip()",
        (f"{_GUARD}::test_no_list_reaches_the_flower_of_its_run",), '".strip()'),
    # Name servers.
    _names(_RESOLVER, "or found_at > after", "unknown_names", "or True"),
    _names(_RESOLVER, "or found_at > after", "failing_name_servers", "or True"),
    Guard(_RESOLVER, "(known is not None and known[0].is_doubtful)", (f"{_PORT}::{_AGAIN}",), "False"),
    Guard(_RESOLVER, "self._asked[host].begun = None", (f"{_PORT}::{_WAITS}",), "pass"),
    _asked("questions", "            self.on_time -= 1\n        asked.resends", "dead_names",
        "            pass\n        asked.resends"),
    _asked("questions", "self._best = server ", "the_second_name_server", "pass "),
    _asked("questions", "elif reply is None or reply.code != Code.SERVFAIL:", "a_failure_of_all", "elif True:"),
    _asked("questions", "return was_graced and reaches_ipv4()", "unroutable", "return was_graced"),
    _asked("questions", "            asked.is_graced = True", "do_not_wait_for_ever", "            pass"),
    _asked("questions", "elif reply.asked == asked.asked[kind]:", "garbage_is", "else:"),
    _asked("questions", "        if reply.is_cut:", "unusual_names", "        if False:"),
    _asked("name_servers", "                self._is_broken = True", "a_bug_leaves", "                pass"),
    Guard("worker/adapters/resolver/messages.py", "if name in found or name not in aliases:",
        ("tests/unit/worker/adapters/resolver/test_messages.py::test_aliases_are_followed_in_any_order",),
        "if True:"),
    Guard("worker/adapters/resolver/messages.py", "found.setdefault(owner, [])",
        ("tests/unit/worker/adapters/resolver/test_messages.py::test_records_of_other_names_are_ignored",),
        "found.setdefault(name, [])"),
    _names("worker/engine/lookups.py", "tries=2 if answer.is_final else None", "unknown_names", "tries=None"),
    # One way out.
    Guard("pyproject.toml", '"httpx".msg = "only worker.adapters.http sends requests"\n',
        (f"{_GUARD}::test_the_linter_bans_every_other_http_client",)),
    Guard("worker/batch/lease.py", "from __future__ import annotations\n",
        (f"{_GUARD}::test_no_other_module_opens_sockets",),
        "import socket\n\nsocket.create_connection\ndial = lambda: socket.create_connection(('there', 80))\n"),
    # Credentials.
    _sent(_HANDLE, "self.curl.unsetopt(pycurl.HTTPHEADER)", "test_a_recycled_handle_carries_nothing_over", "pass"),
    _sent(_TRANSFER, "if credentials.headers and not (hops is not None and hops.is_downgraded):",
        "test_no_header_follows_from_https_to_http", "if credentials.headers:"),
    _sent(_HOPS, "self.is_downgraded = self.is_downgraded or hop.downgraded",
        "test_no_header_follows_from_https_to_http", "self.is_downgraded = hop.downgraded"),
    _sent(_TRANSFER, "credentials, url, hops = self.terms.credentials, self.url, self.hops\n",
        "test_a_header_is_not_sent_when_a_redirect_leaves_its_origin",
        "credentials, hops = self.terms.credentials, self.hops\n"
        "        url = hops.start if hops else self.url\n"),
    _sent(_CREDENTIALS, 'return self.headers.get(f"{scheme}://{_bracketed(host)}:{port}", ())',
        "test_a_header_goes_to_its_host_and_port_only",
        "return tuple(pair for pairs in self.headers.values() for pair in pairs)"),
    _sent(_CREDENTIALS, 'return self.headers.get(f"{scheme}://{_bracketed(host)}:{port}", ())',
        "test_a_host_alone_means_https_on_its_default_port",
        'return self.headers.get(f"https://{_bracketed(host)}:{443 if port == 80 else port}", ())'),
    _sent(_CREDENTIALS, '(match["scheme"] or "https").lower()', "test_a_host_alone_means_https_on_its_default_port",
        '(match["scheme"] or "http").lower()'),
    Guard(_CREDENTIALS, '(match["scheme"] or "https").lower()', (_UNIT,), '(match["scheme"] or "http").lower()'),
    Guard(_CREDENTIALS, 'return f"[{host}]" if ":" in host else host', (_UNIT,), "return host"),
    Guard(_CREDENTIALS, "if mode & (stat.S_IRWXG | stat.S_IRWXO):", (_UNIT,), "if False:"),
    Guard(_CREDENTIALS, "if not _FIELD_VALUE.fullmatch(value):", (_UNIT,), "if False:"),
    Guard(_CREDENTIALS, "if len(name) + len(value) > _LONGEST:", (_UNIT,), "if False:"),
    Guard(_CREDENTIALS, "for name, value in pairs) > _MOST:", (_UNIT,), "for name, value in pairs) < 0:"),
    Guard(_CREDENTIALS, "if len(read) > _LARGEST_FILE:", (_UNIT,), "if False:"),
    Guard(_CREDENTIALS, 'text.split("\\n")', (_UNIT,), "text.splitlines()"),
    Guard(_CREDENTIALS, '"utf-8-sig"', (_UNIT,), '"utf-8"'),
    Guard(_CREDENTIALS, "    if not headers:", (_UNIT,), "    if False:"),
    Guard(_CREDENTIALS, 'value = name.strip(" \\t"), value.strip(" \\t")', (_UNIT,),
        "value = name.strip(), value.strip()"),
    Guard(_CREDENTIALS, "if name.lower() in _FRAMING:", (_UNIT,), "if False:"),
    Guard(_CREDENTIALS, "field(default_factory=dict, repr=False)", (_UNIT,), "field(default_factory=dict)"),
)  # fmt: skip
