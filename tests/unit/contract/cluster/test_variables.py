"""A variable without effect is reported, with the one that was probably meant."""

import pytest

from contract.cluster.variables import VARIABLES, hints, ignored_proxies


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TRAWL_LANE", "TRAWL_LANES"),
        ("TRAWL_BROKER", "TRAWL_BROKER_URL"),
        ("TRAWL_ALLOW_NET", "TRAWL_ALLOW_NETS"),
        ("trawl_lanes", "TRAWL_LANES"),
    ],
)
def test_a_mistyped_variable_is_reported_with_the_nearest_name(name: str, meant: str) -> None:
    assert hints({name: "4", "PATH": "/bin"}) == [f"{name} is not a Trawlnet setting: did you mean {meant}?"]


def test_an_unrecognisable_variable_is_reported_with_the_list() -> None:
    assert hints({"TRAWL_ZZZZ": "4"}) == ["TRAWL_ZZZZ is not a Trawlnet setting: docs/configuration.md lists them all."]


def test_settings_and_what_kubernetes_sets_for_a_service_are_left_alone() -> None:
    links = {"TRAWL_SERVICE_HOST", "TRAWL_REDIS_SERVICE_PORT", "TRAWL_PORT", "TRAWL_REDIS_PORT_6379_TCP_ADDR"}

    assert hints(dict.fromkeys(VARIABLES | links, "x") | {"TRAWL_LANE": " ", "MY_TRAWL_LANE": "x"}) == []


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "all_proxy"])
def test_an_ignored_proxy_is_named_but_its_value_not_shown(name: str) -> None:
    said = ignored_proxies({name: "http://user:s3cret@proxy:3128"})

    assert said.startswith(f"{name} is set and ignored")
    assert "TRAWL_EGRESS_PROXY" in said
    assert "s3cret" not in said
    assert ignored_proxies({name: "http://proxy", "TRAWL_EGRESS_PROXY": "http://proxy:3128"}) == ""
    assert ignored_proxies({name: " ", "no_proxy": "*"}) == ""
