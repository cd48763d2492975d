"""A variable that is set to no effect is named, with the one that was meant."""

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
def test_a_mistyped_variable_is_told_with_the_nearest_name(name: str, meant: str) -> None:
    assert hints({name: "4", "PATH": "/bin"}) == [f"{name} is not a Trawlnet setting: did you mean {meant}?"]


def test_a_variable_like_no_other_leads_to_the_list_of_them() -> None:
    assert hints({"TRAWL_ZZZZ": "4"}) == ["TRAWL_ZZZZ is not a Trawlnet setting: docs/configuration.md lists them all."]


def test_settings_and_what_kubernetes_sets_for_a_service_are_left_alone() -> None:
    links = {"TRAWL_SERVICE_HOST", "TRAWL_REDIS_SERVICE_PORT", "TRAWL_PORT", "TRAWL_REDIS_PORT_6379_TCP_ADDR"}

    assert hints(dict.fromkeys(VARIABLES | links, "x") | {"TRAWL_LANE": " ", "MY_TRAWL_LANE": "x"}) == []


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "all_proxy"])
def test_a_proxy_that_nothing_goes_through_is_named_but_not_shown(name: str) -> None:
    said = ignored_proxies({name: "http://user:s3cret@proxy:3128"})

    assert said.startswith(f"{name} is set and ignored")
    assert "TRAWL_EGRESS_PROXY" in said
    assert "s3cret" not in said
    assert ignored_proxies({name: "http://proxy", "TRAWL_EGRESS_PROXY": "http://proxy:3128"}) == ""
    assert ignored_proxies({name: " ", "no_proxy": "*"}) == ""
