"""Which name servers are asked for which names, according to the machine's files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from worker.adapters.resolver.configuration import Configuration, is_overruled, read, signature

PLAIN = "nameserver 192.0.2.53\n"


def _read(folder: Path, resolv: str | None = PLAIN, **files: str) -> Configuration | None:
    if resolv is not None:
        (folder / "resolv.conf").write_text(resolv)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return read(folder)


@pytest.fixture(autouse=True)
def linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")


def test_a_plain_machine_asks_its_name_servers(tmp_path: Path) -> None:
    found = _read(tmp_path, "# a note\nnameserver 192.0.2.53\nnameserver fd00::53 ; inside\nnameserver nonsense\n")

    assert found is not None
    assert found.servers == (("192.0.2.53", 53), ("fd00::53", 53))
    assert (found.ndots, found.search, found.seconds) == (1, (), 10.0)


@pytest.mark.parametrize(
    ("resolv", "candidates"),
    [
        (PLAIN, ["api.prod"]),
        (f"{PLAIN}search corp.test lan", ["api.prod", "api.prod.corp.test", "api.prod.lan"]),
        (f"{PLAIN}search corp.test\noptions ndots:5 edns0", ["api.prod.corp.test", "api.prod"]),
        (f"{PLAIN}search one.test\ndomain Two.test.", ["api.prod", "api.prod.two.test"]),
        (f"{PLAIN}search .", ["api.prod"]),
    ],
)
def test_search_domains_are_tried_in_the_systems_order(tmp_path: Path, resolv: str, candidates: list[str]) -> None:
    found = _read(tmp_path, resolv)

    assert found is not None
    assert found.candidates("api.prod") == candidates


@pytest.mark.parametrize("host", ["printer.local", "localhost", "x.localhost", "db.internal", "alias", "_gateway"])
def test_names_the_machine_knows_are_left_to_the_system(tmp_path: Path, host: str) -> None:
    found = _read(tmp_path, hosts="10.0.0.5 DB.internal alias # not.this\n")

    assert found is not None
    assert found.candidates(host) == []
    assert found.candidates("not.this") == ["not.this"]


@pytest.mark.parametrize(
    ("options", "seconds"), [("timeout:1 attempts:1", 1.0), ("timeout:1 attempts:3", 3.0), ("timeout:30", 10.0)]
)
def test_a_query_has_the_systems_timeout_within_bounds(tmp_path: Path, options: str, seconds: float) -> None:
    found = _read(tmp_path, f"{PLAIN}options {options}")

    assert found is not None
    assert found.seconds == seconds


@pytest.mark.parametrize(
    ("hosts", "is_asked"),
    [
        ("hosts: files dns", True),
        ("hosts:files mdns4_minimal [NOTFOUND=return] dns", True),
        ("passwd: files\nhosts: files [!UNAVAIL=return success=return] dns myhostname", True),
        ("hosts: files ldap dns", False),
        ("hosts: files", False),
        ("hosts: files wins dns", False),
        ("hosts: mymachines resolve [!UNAVAIL=return] files dns", False),  # systemd-resolved asks others
    ],
)
def test_other_sources_of_names_are_asked_by_the_system(tmp_path: Path, hosts: str, is_asked: bool) -> None:
    assert (_read(tmp_path, nsswitch_conf=hosts) is not None) == is_asked


def test_systemd_resolved_is_asked_where_it_is_the_name_server(tmp_path: Path) -> None:
    found = _read(tmp_path, "nameserver 127.0.0.53\n", nsswitch_conf="hosts: resolve [!UNAVAIL=return] dns\n")

    assert found is not None


@pytest.mark.parametrize(
    ("resolv", "files"),
    [
        (None, {}),
        ("search lan\n", {}),
        (f"{PLAIN}options use-vc", {}),
        (f"{PLAIN}options ndots:many", {}),
        (PLAIN, {"gai_conf": "#precedence ::1/128 50\nprecedence ::ffff:0:0/96 100\n"}),
    ],
)
def test_unclear_configurations_are_left_to_the_system(
    tmp_path: Path, resolv: str | None, files: dict[str, str]
) -> None:
    assert _read(tmp_path, resolv, **files) is None


@pytest.mark.parametrize("variable", ["RES_OPTIONS", "HOSTALIASES", "LOCALDOMAIN"])
def test_a_variable_of_the_systems_resolver_leaves_every_name_to_it(variable: str) -> None:
    assert is_overruled({variable: "set"})
    assert not is_overruled({variable: "", "PATH": "/bin"})


def test_other_operating_systems_use_their_own_resolvers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    assert _read(tmp_path) is None


def test_a_change_of_any_file_is_noticed(tmp_path: Path) -> None:
    seen = [signature(tmp_path)]
    for name in ("resolv.conf", "nsswitch.conf", "gai.conf", "hosts"):
        (tmp_path / name).write_text("x")
        seen.append(signature(tmp_path))

    assert len(set(seen)) == 5
