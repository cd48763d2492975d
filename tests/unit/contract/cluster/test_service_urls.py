"""A broker's URL as users paste it: one sentence that repeats nothing of it, or a URL that all libraries read alike."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kombu.utils.url import url_to_parts
from redis.connection import parse_url

from contract.cluster.service_urls import check_url, places, redacted
from contract.cluster.settings import ClusterSettings
from contract.errors import SettingError

REDIS = "redis://localhost:6379/0"
VARIABLES = ("TRAWL_BROKER_URL", "CELERY_BROKER_URL", "REDIS_URL", "TRAWL_RESULT_BACKEND", "CELERY_RESULT_BACKEND")


def read(variable: str, url: str) -> ClusterSettings:
    return ClusterSettings.from_environment({"REDIS_URL": REDIS, variable: url})


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize(
    "url",
    [
        "redis://:Ro3x/x16@127.0.0.1:1/0",
        "redis://:Ro3x?x16@127.0.0.1:1/0",
        "redis://:Ro3x#x16@127.0.0.1:1/0",
        "redis://:Ro3x[x16@127.0.0.1:1/0",
        "redis://:Ro3x]x16@127.0.0.1:1/0",
        "redis://:Ro3x@x16@127.0.0.1:1/0",
        "redis://:Ro3x%x16@127.0.0.1:1/0",
        "redis://:Ro3x x16@127.0.0.1:1/0",
        "redis://:Ro3x\nx16@127.0.0.1:1/0",
        "redis://trawl:6379/x16@127.0.0.1:1/0",  # the password's start looks like a port, its end like a database
        "redis://trawl:6379?x16@127.0.0.1:1/0",
        "redis://:Ro3xx16@127.0.0.1:sixthousand/0",
        "redis://:Ro3xx16@127.0.0.1:65536/0",
        "redis://:Ro3xx16@127.0.0.1:0/0",
        "redis://:Ro3xx16@127.0.0.1:1/zero",
        "redis://:Ro3xx16@:1/0",
        "redis://:Ro3xx16@",
        "redis://$HOST:6379/0",
        "redis://::1:6379/0",
        "redis+socket://:Ro3xx16@",
        "redis+socket://relative/redis.sock",
    ],
)
def test_an_invalid_url_is_one_sentence_that_repeats_nothing_of_it(variable: str, url: str) -> None:
    with pytest.raises(SettingError) as refused:
        read(variable, url)

    said = str(refused.value)
    assert said.startswith(variable)
    assert "%-escapes" in said
    assert "TRAWL_REDIS_PASSWORD_FILE" in said
    assert "Ro3x" not in said
    assert "x16" not in said


@given(password=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12))
@example("12/34")
@example("a@b")
@example("a%41")
@example("a;redis://b")
def test_an_accepted_url_has_one_password_and_one_host_in_every_library(password: str) -> None:
    """Guards ``check_url``: what one library takes for the host is the end of the password to another."""
    url = f"redis://user:{password}@host:6379/3"
    try:
        settings = read("TRAWL_BROKER_URL", url)
    except SettingError as error:
        refused = str(error)
    else:
        refused = ""

    if refused:
        assert not any(piece in refused for piece in re.split(r"\W+", password) if len(piece) > 5)
        return
    theirs = url_to_parts(settings.broker_url)
    assert (theirs.hostname, theirs.port, theirs.password, theirs.path) == ("host", 6379, unquote(password), "3")
    ours: dict[str, object] = parse_url(settings.result_backend)  # type: ignore[no-untyped-call]
    assert (ours["host"], ours["port"], ours["password"], ours["db"]) == ("host", 6379, unquote(password), 3)
    assert redacted(url) == "redis://***@host:6379/3"


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost", "redis://localhost/", "redis://my_redis.svc:6379//1",
        "rediss://u:p%40%2F%25@[::1]:6380/0?ssl_certfile=/etc/trawl.pem",
        "redis+socket:///run/a%20b/redis.sock?virtual_host=0", "sentinel://:pw@a:26379/0",
        "amqp://guest:guest@rabbit:5672//", "amqps://rabbit/vhost?heartbeat=30", "sqs://AKIA:se%2Fcret@",
        "mongodb://a:27017,b:27018/trawl", "memory://",
    ],
)  # fmt: skip
def test_well_formed_urls_are_accepted(url: str) -> None:
    check_url(url, variable="TRAWL_BROKER_URL")


def test_no_url_has_a_fragment() -> None:
    with pytest.raises(SettingError, match="not escaped"):
        check_url("amqp://host/vhost#Ro3x", variable="TRAWL_BROKER_URL")


def test_a_backend_is_a_single_redis() -> None:
    with pytest.raises(SettingError, match="the result backend is a single Redis"):
        read("REDIS_URL", "redis://a/0;redis://b/0")

    brokers = "amqp://a;amqp://b"
    several = ClusterSettings.from_environment({"TRAWL_BROKER_URL": brokers, "TRAWL_RESULT_BACKEND": REDIS})
    assert (several.broker_url, several.result_backend) == (brokers, REDIS)


@pytest.mark.parametrize("name", ["CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL"])
def test_a_variable_that_redirects_celery_is_refused(name: str) -> None:
    with pytest.raises(SettingError, match=f"{name} makes Celery ignore REDIS_URL"):
        read(name, "redis://other/0")


def test_options_that_cannot_be_read_are_not_repeated() -> None:
    with pytest.raises(SettingError) as refused:
        read("TRAWL_BROKER_OPTIONS", '{"sentinel_kwargs": {"password": "Ro3x16"}')
    assert "Ro3x" not in str(refused.value)

    with pytest.raises(SettingError) as refused:
        read("TRAWL_BACKEND_OPTIONS", "Ro3x16")
    assert "Ro3x" not in str(refused.value)


def test_every_broker_of_a_list_is_shown_without_its_login() -> None:
    assert redacted("amqp://u:p@a;amqp://u:q@b/vh") == "amqp://***@a;amqp://***@b/vh"


def test_all_hosts_of_a_url_are_listed() -> None:
    assert list(places("mongodb://u:p@a:27017,b/x")) == [("a", 27017), ("b", None)]
    assert list(places("redis://[::1]:6379/0")) == [("::1", 6379)]
    assert list(places("redis+socket:///run/redis.sock")) == []
