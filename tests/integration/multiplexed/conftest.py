"""A site that speaks HTTP/2 or HTTP/3, and a worker that trusts its certificate."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.certificates import Certificate, PrivateAuthority
from tests.support.fetching import Bench
from tests.support.multiplexed import ALONE, MultiplexedSite, Version


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> PrivateAuthority:
    return PrivateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: PrivateAuthority) -> Certificate:
    return authority.valid("127.0.0.1", "*.many.test")


@pytest.fixture(params=["2", "3"])
def version(request: pytest.FixtureRequest, certificate: Certificate) -> Iterator[Version]:
    with MultiplexedSite(certificate, **ALONE[request.param]) as site:
        yield Version(request.param, site)


@pytest.fixture
def bench(tmp_path: Path, authority: PrivateAuthority) -> Iterator[Bench]:
    with Bench(tmp_path, ca_file=str(authority.ca_file), look_up=_addresses) as bench:
        yield bench


def _addresses(host: str) -> tuple[str, ...]:
    return {"closed.many.test": ("127.0.0.2",), "both.many.test": ("127.0.0.2", "127.0.0.1")}.get(host, ("127.0.0.1",))
