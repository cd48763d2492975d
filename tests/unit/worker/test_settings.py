"""Worker settings that need parsing: an address for metrics on this machine, and an egress proxy in full."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.errors import SettingError
from worker.settings import EgressProxy, WorkerSettings

# --- TRAWL_METRICS


@pytest.mark.parametrize(
    ("written", "place"),
    [
        ("9108", ("127.0.0.1", 9108)),
        ("127.0.0.1:9108", ("127.0.0.1", 9108)),
        ("localhost:9108", ("127.0.0.1", 9108)),
        ("[::1]:9108", ("::1", 9108)),
        ("0.0.0.0:9108", ("0.0.0.0", 9108)),
        ("[::]:9108", ("::", 9108)),
    ],
)
def test_metrics_have_an_address_and_a_port(written: str, place: tuple[str, int]) -> None:
    assert WorkerSettings.from_environment({"TRAWL_METRICS": written}).metrics_place() == place


def test_metrics_are_off_unless_set() -> None:
    assert WorkerSettings.from_environment({"TRAWL_METRICS": ""}).metrics_place() is None


@pytest.mark.parametrize(
    "written",
    [":9108", "*:9108", "metrics.test:9108", "0", "65536", "127.0.0.1", "127.0.0.1:", "http://127.0.0.1:1", "on"],
)
def test_an_invalid_metrics_address_is_one_sentence(written: str) -> None:
    """Above all `:9108`, which means every address of the machine to many programs."""
    with pytest.raises(SettingError, match=r"^TRAWL_METRICS must be .*\.$"):
        WorkerSettings(metrics=written).metrics_place()


# --- TRAWL_EGRESS_PROXY, whose login comes from a file and shows nowhere


@pytest.mark.parametrize(
    ("written", "proxy"),
    [
        ("http://proxy.test:3128", EgressProxy("http", "proxy.test", 3128)),
        ("HTTP://PROXY.test.:3128/", EgressProxy("http", "proxy.test", 3128)),
        ("https://10.0.0.1:443", EgressProxy("https", "10.0.0.1", 443)),
        ("socks5://[0:0::1]:1080", EgressProxy("socks5", "::1", 1080)),
    ],
)
def test_a_proxy_is_a_scheme_a_host_and_a_port(written: str, proxy: EgressProxy) -> None:
    assert WorkerSettings.from_environment({"TRAWL_EGRESS_PROXY": written}).proxy() == proxy


def test_there_is_no_proxy_unless_it_is_set_whatever_other_variables_say() -> None:
    others = {"http_proxy": "http://proxy.test:1", "ALL_PROXY": "socks5://proxy.test:1", "TRAWL_EGRESS_PROXY": " "}

    assert WorkerSettings.from_environment(others).proxy() is None


@pytest.mark.parametrize(
    "written",
    [
        "proxy.test:3128",
        "http://proxy.test",
        "http://proxy.test:0",
        "http://proxy.test:65536",
        "http://:3128",
        "http://proxy.test:3128/path",
        "socks5h://proxy.test:1080",  # would be given names
        "socks4://proxy.test:1080",
        "http://bad host:3128",
        "http://256.256.256.256:3128",
        "http://proxy.test:3128\r\nX: y",
    ],
)
def test_an_invalid_proxy_is_one_sentence(written: str) -> None:
    with pytest.raises(SettingError, match=r"^TRAWL_EGRESS_PROXY.*\.$"):
        WorkerSettings(egress_proxy=written).proxy()


def test_a_login_in_the_url_is_refused_and_not_repeated() -> None:
    environment = {"TRAWL_EGRESS_PROXY": "http://somebody:s3cr3t@proxy.test:3128"}

    with pytest.raises(SettingError, match="TRAWL_EGRESS_LOGIN_FILE") as raised:
        WorkerSettings.from_environment(environment).proxy()

    assert "s3cr3t" not in str(raised.value)


def test_the_login_is_the_first_line_of_its_file_and_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "login").write_text("somebody:s3cr3t:and more\nanything\n")

    proxy = WorkerSettings(egress_proxy="http://proxy.test:3128", egress_login_file=str(tmp_path / "login")).proxy()

    assert proxy is not None
    assert proxy.login == "somebody:s3cr3t:and more"
    assert "s3cr3t" not in repr(proxy)


@pytest.mark.parametrize("held", ["", "s3cr3t", ":s3cr3t", "s3cr3t:", "s3c\x01r3t:x", "s3cr3t:" + "x" * 256])
def test_a_file_without_a_login_is_one_sentence(tmp_path: Path, held: str) -> None:
    (tmp_path / "login").write_text(held)

    with pytest.raises(SettingError, match="user:password") as raised:
        WorkerSettings(egress_proxy="http://proxy.test:3128", egress_login_file=str(tmp_path / "login")).proxy()

    assert "s3cr3t" not in str(raised.value)


def test_a_missing_file_and_a_login_without_a_proxy_are_reported(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")

    with pytest.raises(SettingError, match="cannot be read"):
        WorkerSettings(egress_proxy="http://proxy.test:3128", egress_login_file=absent).proxy()
    with pytest.raises(SettingError, match="set both or none"):
        WorkerSettings(egress_login_file=absent).proxy()
