"""No byte goes to a refused address: real libcurl, in a network where every address is local and a sink listens on all.

Each scenario runs in a network namespace of its own; ``python -m tests.support.guarded_probes`` runs all of them and
prints how many probes there were. That it can fail is shown by ``python -m tests.mutants adapters/http``:
without the guarding line, the sink is reached or a URL ends otherwise.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support import guarded_addresses, guarded_command, guarded_names, netbox
from tests.support.guarded_command import Watched
from tests.support.guarded_probes import COMMAND, THROUGH_A_PROXY, WAYS
from tests.support.guarded_world import Found, Proxying, boxed, through_a_proxy
from tests.support.spellings import DENIED_ADDRESSES, name_spellings, spellings

ROOT = Path(__file__).resolve().parents[2]
Result = TypeVar("Result")

ORDINARY = (guarded_names.ordinary_lists, guarded_names.ordinary_https, guarded_names.names_are_asked_once)
NAME_SERVERS = (guarded_names.unknown_names, guarded_names.failing_name_servers)


# ------------------------------------------------------------------------------------------ nothing gets there


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_nothing_reaches_a_refused_address(way: Callable[[], Found], record_property: Callable[..., None]) -> None:
    """Protects every line of the guard at connect, of the pool, of the proxy setting and of what libcurl is given."""
    found = boxed(way)
    record_property("probes", found.probes)
    print(f"{way.__name__}: {found.probes:,} probes {found.counts or ''}")

    assert found.faults == []
    assert (found.connections, found.bytes) == (0, 0)
    assert found.probes >= WAYS[way]


@pytest.mark.parametrize(
    ("kind", "way"), THROUGH_A_PROXY, ids=[f"{kind}-{way.__name__}" for kind, way in THROUGH_A_PROXY]
)
def test_nothing_reaches_a_refused_address_through_an_egress_proxy(
    kind: Proxying, way: Callable[[], Found], record_property: Callable[..., None]
) -> None:
    """Protects the choice of a tunnel's target, and that libcurl and the proxy are given an address and no name."""
    found = boxed(partial(through_a_proxy, kind, way))
    record_property("probes", found.probes)
    print(f"{kind} {way.__name__}: {found.probes:,} probes {found.counts or ''}")

    assert found.faults == []
    assert (found.connections, found.bytes) == (0, 0)
    assert found.probes >= THROUGH_A_PROXY[kind, way]


def test_enough_probes_are_tried() -> None:
    assert len(DENIED_ADDRESSES) >= 60
    assert all(len(spellings(address)) >= 20 for address in DENIED_ADDRESSES)
    assert len(set(name_spellings("a.test", port=80))) >= 20
    assert sum(WAYS.values()) + COMMAND > 60_000
    assert sum(THROUGH_A_PROXY.values()) > 95_000
    security = (ROOT / "SECURITY.md").read_text("utf-8")
    assert "more than 60,000 probes" in security
    assert "More than 95,000 probes" in security


def test_a_hostile_list_harms_neither_us_nor_the_good_urls_in_it() -> None:
    """End to end: ``trawl run`` with its worker, proxy variables set, refused addresses among good URLs."""
    watched = boxed(guarded_command.a_hostile_list)
    found, summary = watched.found, watched.summary
    print(f"trawl run: {found.counts}")

    assert found.is_clean, found
    assert {row["outcome"] for row in watched.rows} == {"ok", "refused"}
    assert summary["ok"] == found.counts["good"]
    assert summary["refused"] + summary["duplicates"] == found.counts["hostile"] >= COMMAND
    assert max(len(row["attempts"]) for row in watched.rows) == 1
    assert_nothing_but_redis_is_connected_to(watched)


def test_a_worker_enforces_what_its_operator_forbids() -> None:
    """Protects the path of the worker's settings from its environment to the guard."""
    watched = boxed(guarded_command.what_a_worker_forbids)

    details = {row["url"].split("/")[2]: row["detail"] for row in watched.rows}
    assert watched.found.is_clean, watched.found
    assert watched.endings == {"ok": 1, "refused": 4}
    assert "operator" in details["10.1.2.3:8080"]
    assert "operator" in details["8.8.8.8:8080"]
    assert "link-local" in details["169.254.169.254:8080"]
    assert "Trawlnet itself" in details["[2606:2800:220:1::1]:8080"]


def test_a_worker_uses_only_the_proxy_of_its_settings() -> None:
    """Protects the path of the proxy from the worker's environment to libcurl; its login is shown nowhere."""
    watched = boxed(guarded_command.through_its_egress_proxy)

    assert watched.found.is_clean, watched.found
    assert watched.summary["ok"] == 20
    assert watched.summary["refused"] + watched.summary["duplicates"] == watched.found.counts["hostile"]
    (itself,) = (row for row in watched.rows if row["url"] == "http://10.200.0.1:3128/")
    assert "no setting opens it" in itself["detail"]
    assert_nothing_but_redis_is_connected_to(watched)


def test_no_list_reaches_the_flower_of_its_run() -> None:
    """Protects what ``trawl run --flower`` declares as its own service, beside those of the environment."""
    watched = boxed(guarded_command.its_own_flower)

    assert watched.endings == {"refused": 8}
    assert [row for row in watched.rows if "Trawlnet itself" not in row["detail"]] == []


def test_a_machine_without_namespaces_skips_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under CI that is a failure, elsewhere a skip that says why."""
    monkeypatch.setattr(netbox, "why_not", lambda: "none here")

    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="none here"):
        boxed(guarded_command.its_own_flower)
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="none here"):
        boxed(guarded_command.its_own_flower)


# --------------------------------------------------------------------------------------- ordinary lists are not hurt


@pytest.mark.parametrize("scenario", [*ORDINARY, *NAME_SERVERS], ids=lambda scenario: scenario.__name__)
def test_ordinary_lists_are_fetched_and_name_servers_may_fail(scenario: Callable[[], Found]) -> None:
    found = boxed(scenario)

    assert found.faults == []
    assert found.probes > 0


# ------------------------------------------------------------------------------------------------- one way out


def test_every_connection_of_a_fetch_was_judged() -> None:
    """An audit hook sees no connect by Python; libcurl used exactly the sockets that our callback opened."""
    found = boxed(guarded_addresses.every_socket_is_asked_for)

    assert found.is_clean, found
    assert found.counts["connections"] >= 40


def assert_nothing_but_redis_is_connected_to(watched: Watched) -> None:
    connected = {where for _, event, where in watched.events if event.startswith("socket.")}
    connected = {where for where in connected if where[1:2] != (53,)}  # name servers
    others = {event for _, event, _ in watched.events if not event.startswith("socket.")}

    assert any("-m worker" in program for program, _, _ in watched.events), "the worker was not watched"
    assert len(connected) == 1
    assert str(connected.pop()).endswith("/redis.sock")
    assert others <= {"subprocess.Popen"}  # the producer starts server and worker
    assert not any(event == "subprocess.Popen" and "-m worker" in program for program, event, _ in watched.events)


#: Modules that open sockets by themselves, and to where.
OPENERS = {
    "producer/cluster/address.py": "the same socket, to see whether its server is there",
    "producer/cluster/embedded.py": "the private socket of the Redis it started",
    "producer/cluster/socket_folder.py": "none: it tries whether the folder takes a socket",
    "worker/adapters/http/exchanges.py": "none: libcurl keeps those that the handles lent",
    "worker/adapters/http/handle.py": "what the guard allows",
    "worker/adapters/resolver/preference.py": "none: connecting a datagram socket only asks the routes",
    "worker/adapters/resolver/wires.py": "the name servers of this machine's configuration",
    "worker/flower_access.py": "none: it tries whether Flower could listen at its port",
}


def test_no_other_module_opens_sockets() -> None:
    """A module that needs an entry here is a second way out, which no guard checks."""
    opening = {
        str(path.relative_to(ROOT))
        for folder in ("contract", "producer", "trawlnet", "worker")
        for path in (ROOT / folder).rglob("*.py")
        if any(_opens_a_socket(node) for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    }

    assert opening == set(OPENERS)


_OPENING = re.compile(
    r"(socket\.)?(socket|create_connection|fromfd)|(\w+\.)*(open_connection|open_unix_connection|create_datagram_endpoint)"
    r"|(\w+\.)*(HTTPS?Connection|urlopen|urlretrieve|ServerProxy|FTP|FTP_TLS|SMTP|SMTP_SSL|Curl|CurlMulti)"
)


def _opens_a_socket(node: ast.AST) -> bool:
    """Is this a call of, or a class made from, something that opens a socket?"""
    if isinstance(node, ast.Call):
        return _OPENING.fullmatch(ast.unparse(node.func)) is not None
    if isinstance(node, ast.ClassDef):
        return any(_OPENING.fullmatch(ast.unparse(base)) for base in node.bases)
    return False


CLIENTS = ("urllib.request", "http.client", "requests", "httpx", "aiohttp", "urllib3", "tornado.httpclient")


@pytest.mark.parametrize("place", ["contract/new.py", "producer/new.py", "worker/adapters/new.py"])
def test_the_linter_bans_every_other_http_client(place: str) -> None:
    """Protects the list in pyproject.toml that ruff reads."""
    source = "".join(f"import {client}\n" for client in CLIENTS)
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename", place, "-"]

    said = subprocess.run(command, cwd=ROOT, input=source, capture_output=True, text=True, check=False).stdout

    assert [client for client in CLIENTS if f"`{client}` is banned" not in said] == []


def test_only_one_adapter_may_import_libcurl() -> None:
    """Protects the contract that import-linter checks (see tests/architecture/test_layers.py): and its egress."""
    rules = (ROOT / "pyproject.toml").read_text("utf-8")

    assert re.findall(r'"([\w.*]+) -> pycurl"', rules) == ["worker.adapters.egress", "worker.adapters.http.*"]
