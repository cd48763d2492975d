"""A transfer costs the same however many names came before it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from contract.records.policy import JobPolicy
from contract.urls.networks import parse_networks
from tests.support.tiny_origin import TinyOrigin
from tests.support.virtual_world import VirtualWorld
from worker.adapters.http import CurlHttp
from worker.adapters.http import addresses as adapter
from worker.adapters.http.addresses import NAMES_KEPT
from worker.engine.exchange import Exchange
from worker.engine.ports import Answer
from worker.engine.safety import AddressPolicy

_NAMES = 10_000
_WINDOW = 32
_POLICY = JobPolicy(timeout=3600.0, first_byte_timeout=0, slowest=0, attempts=1)


@pytest.fixture
def origin() -> Iterator[TinyOrigin]:
    with TinyOrigin() as origin:
        yield origin


@pytest.fixture
def http() -> Iterator[CurlHttp[Exchange]]:
    addresses = AddressPolicy(allow=parse_networks(("127.0.0.0/8",), setting="TRAWL_ALLOW_NETS"))
    http: CurlHttp[Exchange] = CurlHttp(
        addresses=addresses, window=_WINDOW, ca_file="/nowhere", ipv4_only=False, http3=False
    )
    yield http
    http.close()


def _fetch(world: VirtualWorld, port: int, names: range) -> float:
    """Fetch a URL of each name, all at 127.0.0.1, and return the CPU seconds this thread needed."""
    for number in names:
        world.names.answers[f"n{number}.test"] = Answer(("127.0.0.1",))
    began = time.thread_time()
    run = world.fetch([f"http://n{number}.test:{port}/" for number in names], _POLICY)
    spent = time.thread_time() - began
    assert run.progress.ok == len(names), run.outcomes[0]
    return spent


def test_the_last_of_many_names_costs_the_same_as_the_first(origin: TinyOrigin, http: CurlHttp[Exchange]) -> None:
    """Guards DNS_CACHE_TIMEOUT: libcurl would check every name it knows after every transfer; here seven times the CPU
    at the end.
    """
    world = VirtualWorld(http=http, window=_WINDOW)
    tenth = _NAMES // 10
    _fetch(world, origin.port, range(_NAMES, _NAMES + 100))  # what is made once

    spent = [_fetch(world, origin.port, range(start, start + tenth)) for start in range(0, _NAMES, tenth)]

    assert min(spent[-3:]) < 2.5 * max(spent[:3]), [f"{each * 1e6 / tenth:.0f} us" for each in spent]
    assert len(http._handed) <= NAMES_KEPT + 2 * _WINDOW


def test_a_name_is_given_only_after_libcurl_has_processed_its_removal(
    origin: TinyOrigin, http: CurlHttp[Exchange], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards ``is_leaving``: libcurl might process the removal last, and would ask the system for the name."""
    monkeypatch.setattr(adapter, "NAMES_KEPT", 0)
    world = VirtualWorld(http=http, window=_WINDOW)
    use, leaving = http._handed.use, []

    def watched(name: tuple[str, int], addresses: tuple[str, ...]) -> list[str]:
        leaving.append(http._handed.is_leaving(name))
        return use(name, addresses)

    monkeypatch.setattr(http._handed, "use", watched)

    for _ in range(20):
        _fetch(world, origin.port, range(3))

    assert not any(leaving)
