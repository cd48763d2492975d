"""Where broker and backend come from, and what is reported if they cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.cluster.service_urls import redacted
from contract.cluster.settings import ClusterSettings, describe, first_line, is_configured, size, whole
from contract.errors import SettingError

REDIS = "redis://localhost:6379/0"


@pytest.mark.parametrize("variable", ["TRAWL_BROKER_URL", "CELERY_BROKER_URL", "REDIS_URL"])
def test_a_redis_broker_is_also_the_result_backend(variable: str) -> None:
    settings = ClusterSettings.from_environment({variable: REDIS})

    assert (settings.broker_url, settings.result_backend) == (REDIS, REDIS)
    assert is_configured({variable: REDIS})


def test_any_other_broker_needs_a_redis_backend() -> None:
    with pytest.raises(SettingError, match="TRAWL_RESULT_BACKEND"):
        ClusterSettings.from_environment({"TRAWL_BROKER_URL": "amqp://localhost"})

    settings = ClusterSettings.from_environment(
        {"TRAWL_BROKER_URL": "amqp://localhost", "CELERY_RESULT_BACKEND": REDIS}
    )

    assert settings.result_backend == REDIS


def test_conflicting_variables_are_refused() -> None:
    # Celery would follow its own variable and the ledger ours: the cluster would be split.
    with pytest.raises(SettingError, match="differ: unset one"):
        ClusterSettings.from_environment({"TRAWL_BROKER_URL": REDIS, "CELERY_BROKER_URL": "redis://other/0"})


@pytest.mark.parametrize("url", ["foo://x", "localhost:6379", "http://localhost/"])
def test_an_unknown_broker_is_one_sentence(url: str) -> None:
    with pytest.raises(SettingError, match="names no broker"):
        ClusterSettings.from_environment({"TRAWL_BROKER_URL": url, "TRAWL_RESULT_BACKEND": REDIS})


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"TRAWL_BROKER_URL": "sentinel://a:26379/0;sentinel://b:26379/0"}, "cannot be found through Sentinels"),
        ({"REDIS_URL": REDIS, "TRAWL_RESULT_BACKEND": "sentinel://a:26379/0"}, "cannot be found through Sentinels"),
        ({"REDIS_URL": REDIS, "TRAWL_BACKEND_OPTIONS": '{"global_keyprefix": "x:"}'}, "must not hold global_keyprefix"),
        ({"REDIS_URL": f"{REDIS}?global_keyprefix=x"}, "cannot hold the option global_keyprefix"),
        ({"REDIS_URL": f"{REDIS}?db="}, "cannot hold the option db"),
        ({"REDIS_URL": REDIS, "TRAWL_RESULT_BACKEND": f"{REDIS}?ssl_cert_reqs=none"}, "hold the option ssl_cert_reqs"),
        ({"REDIS_URL": "rediss://localhost/0?key_prefix=x"}, "cannot hold the option key_prefix"),
        ({"REDIS_URL": "redis+socket:///redis.sock?virtual_host=0&prefix=x"}, "cannot hold the option prefix"),
    ],
)
def test_backends_the_ledger_cannot_use_are_refused(variables: dict[str, str], said: str) -> None:
    # Celery would store and read results elsewhere than the ledger's scripts do, or could not connect at all.
    with pytest.raises(SettingError, match=said) as refused:
        ClusterSettings.from_environment(variables)
    assert refused.value.code == "setting"


@pytest.mark.parametrize("url", ["rediss://h/0?ssl_cert_reqs=none", "redis+socket:///r.sock?virtual_host=3", REDIS])
def test_allowed_options_of_a_redis_url_are_kept(url: str) -> None:
    assert ClusterSettings.from_environment({"REDIS_URL": url}).result_backend == url


def test_a_missing_broker_is_reported_with_what_to_set() -> None:
    with pytest.raises(SettingError, match="set TRAWL_BROKER_URL"):
        ClusterSettings.from_environment({})
    assert not is_configured({"REDIS_URL": "  "})


@pytest.mark.parametrize(
    ("variable", "text"),
    [("TRAWL_LEASE", "soon"), ("TRAWL_LEASE", "0"), ("TRAWL_KEEP", "nan"), ("TRAWL_BROKER_OPTIONS", "[1]")],
)
def test_a_bad_value_is_one_sentence_that_names_its_variable(variable: str, text: str) -> None:
    with pytest.raises(SettingError, match=f"{variable} must be"):
        ClusterSettings.from_environment({"REDIS_URL": REDIS, variable: text})


def test_the_password_comes_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("p@ss/word\n")

    settings = ClusterSettings.from_environment(
        {"REDIS_URL": "redis://trawl@db:6379/0", "TRAWL_REDIS_PASSWORD_FILE": str(secret)}
    )

    assert settings.broker_url == settings.result_backend == "redis://trawl:p%40ss%2Fword@db:6379/0"
    assert redacted(settings.broker_url) == "redis://***@db:6379/0"


def test_a_named_file_may_be_endless(tmp_path: Path) -> None:
    """Guards _LONGEST_FIRST_LINE: /dev/zero was read until memory was exhausted."""
    (tmp_path / "long").write_text("x" * 1_000_000)

    assert len(first_line(str(tmp_path / "long"), variable="TRAWL_REDIS_PASSWORD_FILE")) < 100_000


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), ("10M", 10 * 1024**2), ("1.5g", 1536 * 1024**2), ("2GiB", 2 * 1024**3)]
)
def test_sizes_may_have_units(text: str, expected: int) -> None:
    assert size(text) == expected


@pytest.mark.parametrize("text", ["", "M", "-1", "1x", "one"])
def test_an_invalid_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must"):
        size(text)


def test_whole_numbers_have_a_least_value() -> None:
    assert whole(1)("3") == 3
    with pytest.raises(ValueError, match="at least 1"):
        whole(1)("0")


def test_every_setting_has_a_meaning() -> None:
    docs = describe(ClusterSettings)

    assert {"TRAWL_BROKER_URL", "TRAWL_LEASE", "TRAWL_BROKER_OPTIONS"} <= {doc.variable for doc in docs}
    assert all(doc.meaning.endswith(".") for doc in docs)
