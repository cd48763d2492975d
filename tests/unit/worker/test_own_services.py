"""Our own services are recognised by address and port, however they are configured."""

from __future__ import annotations

import pytest

from contract.cluster.settings import ClusterSettings
from contract.errors import SettingError
from contract.urls.networks import parse_networks
from worker.engine.safety import AddressPolicy
from worker.own_services import endpoints
from worker.settings import WorkerSettings

EMPTY = WorkerSettings()
_cluster = ClusterSettings.from_environment


def test_every_server_of_a_list_is_an_own_service() -> None:
    environment = {
        "TRAWL_BROKER_URL": "sentinel://127.0.0.1:26379;sentinel://127.0.0.2:26380",
        "TRAWL_RESULT_BACKEND": "redis://127.0.0.3",
    }

    own = endpoints(EMPTY, _cluster(environment))

    assert own == {("127.0.0.1", 26379), ("127.0.0.2", 26380), ("127.0.0.3", 6379)}


def test_a_unix_socket_needs_no_guard() -> None:
    cluster = _cluster({"TRAWL_BROKER_URL": "redis+socket:///run/redis.sock?virtual_host=0"})

    assert endpoints(EMPTY, cluster) == frozenset()


def test_flower_and_metrics_are_named_by_the_operator() -> None:
    settings = WorkerSettings(own_services=("127.0.0.1:5555", "[::1]:9540", "no-such-host.invalid:1"))

    own = endpoints(settings, None)

    assert own == {("127.0.0.1", 5555), ("::1", 9540)}


def test_metrics_and_egress_proxy_are_own_services() -> None:
    settings = WorkerSettings(metrics="9108", egress_proxy="http://[::1]:3128")

    assert endpoints(settings, None) == {("127.0.0.1", 9108), ("::1", 3128)}


def test_metrics_on_every_address_close_their_port_everywhere() -> None:
    everywhere = AddressPolicy(own=endpoints(WorkerSettings(metrics="0.0.0.0:9108"), None))

    assert not everywhere.verdict("8.8.8.8", 9108).allowed
    assert everywhere.verdict("8.8.8.8", 80).allowed


def test_own_services_stay_closed_when_their_network_is_open() -> None:
    own = endpoints(EMPTY, _cluster({"TRAWL_BROKER_URL": "redis://127.0.0.1:6390/0"}))
    policy = AddressPolicy(allow=parse_networks("127.0.0.0/8", setting="test"), own=own)

    assert not policy.verdict("127.0.0.1", 6390).allowed
    assert not policy.verdict("127.5.5.5", 6390).allowed
    assert policy.verdict("127.0.0.1", 8080).allowed


@pytest.mark.parametrize("service", ["flower", ":5555", "flower:", "flower:99999"])
def test_a_service_without_an_address_is_one_sentence(service: str) -> None:
    with pytest.raises(SettingError, match="TRAWL_OWN_SERVICES must name"):
        endpoints(WorkerSettings(own_services=(service,)), None)
