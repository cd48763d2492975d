"""A rediss:// server's certificate is checked unless its URL says otherwise, by every library."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from contract.cluster.broker import build_app, connect
from contract.cluster.settings import ClusterSettings
from contract.cluster.tls import certificate_trouble, check_authorities, tls_options, without_tls_options
from contract.errors import SettingError
from tests.support.certificates import PrivateAuthority


def test_certificate_and_host_name_are_checked_by_default() -> None:
    assert tls_options("rediss://db:6380/0") == {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    assert tls_options("rediss://db:6380/0", "/etc/ca.pem")["ssl_ca_certs"] == "/etc/ca.pem"


@pytest.mark.parametrize("spelling", ["none", "CERT_NONE"])
def test_options_in_the_url_take_precedence(spelling: str) -> None:
    url = f"rediss://db/0?ssl_cert_reqs={spelling}&ssl_certfile=/etc/me.pem&ssl_keyfile=/etc/me.key"

    assert tls_options(url, "/etc/ca.pem") == {
        "ssl_cert_reqs": "none", "ssl_check_hostname": False, "ssl_ca_certs": "/etc/ca.pem",
        "ssl_certfile": "/etc/me.pem", "ssl_keyfile": "/etc/me.key",
    }  # fmt: skip
    assert without_tls_options(url + "&health_check_interval=5") == "rediss://db/0?health_check_interval=5"


def test_an_unknown_check_is_refused() -> None:
    with pytest.raises(SettingError, match="required, optional, none"):
        tls_options("rediss://db/0?ssl_cert_reqs=maybe")


def test_celery_and_the_ledger_get_the_same_options() -> None:
    settings = ClusterSettings(broker_url="rediss://a/0", result_backend="rediss://b/1", ca_file="/etc/ca.pem")
    expected = {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": "/etc/ca.pem"}

    app, ledger = build_app(settings), connect(settings).connection_pool.connection_kwargs

    assert app.connection_for_write().ssl == app.connection_for_read().ssl == expected
    assert app.conf.redis_backend_use_ssl == expected
    assert {key: ledger[key] for key in expected} == expected


def test_the_password_file_reaches_celery_although_it_reads_its_own_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Protects broker_read_url and broker_write_url: CELERY_BROKER_URL beats broker_url.
    (tmp_path / "password").write_text("secret\n")
    environment = {"CELERY_BROKER_URL": "redis://trawl@db/0", "TRAWL_REDIS_PASSWORD_FILE": str(tmp_path / "password")}
    monkeypatch.setenv("CELERY_BROKER_URL", environment["CELERY_BROKER_URL"])

    app = build_app(ClusterSettings.from_environment(environment))

    assert (app.connection_for_read().password, app.connection_for_write().password) == ("secret", "secret")


def test_a_file_of_authorities_is_checked_before_anything_connects(tmp_path: Path) -> None:
    check_authorities(str(PrivateAuthority(tmp_path).ca_file), variable="TRAWL_REDIS_CA_FILE")

    environment = {"REDIS_URL": "rediss://db/0", "TRAWL_REDIS_CA_FILE": str(tmp_path / "absent.pem")}
    with pytest.raises(SettingError, match="TRAWL_REDIS_CA_FILE cannot be read: there is no file"):
        ClusterSettings.from_environment(environment)


def test_the_reason_is_found_below_other_errors() -> None:
    refused = ssl.SSLCertVerificationError()
    refused.verify_message = "self-signed certificate"
    outer = ConnectionError("Error 1 connecting to db:6380")
    outer.__cause__ = refused

    assert certificate_trouble(outer) == "its certificate is not accepted: self-signed certificate"
    assert certificate_trouble(ConnectionError("refused")) == ""
