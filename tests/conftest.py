"""Setup for every tier: no settings, hypothesis without deadlines, and nothing left running by an earlier test."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.support.misbehaving import MisbehavingServer
from tests.support.person import Person
from tests.support.processes import end_all

# Celery reads CELERY_BROKER_URL and CELERY_RESULT_BACKEND by itself and they beat any configuration, libcurl reads the
# proxy variables: tests must not reach what the developer's shell happens to name. Before anything imports Celery.
_PREFIXES = ("TRAWL_", "CELERY_", "FLOWER_", "REDIS_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
for _name in list(os.environ):
    if _name.startswith(_PREFIXES) or _name.lower() in _PROXIES:
        del os.environ[_name]

# A shell that starts the tests in the background has them ignore SIGINT, and so would every program they interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A deadline measures the machine, and so does the check for slow generation. The examples are the same every time, so
# that a red suite is about the change; `--hypothesis-profile=search` looks for new ones.
_THE_MACHINES = [HealthCheck.too_slow]
settings.register_profile("trawlnet", deadline=None, derandomize=True, suppress_health_check=_THE_MACHINES)
settings.register_profile("search", deadline=None, suppress_health_check=_THE_MACHINES)
# For tests/mutants, which ask only whether a test fails: a life of a ledger takes minutes to shrink.
settings.register_profile("unshrunk", settings.get_profile("trawlnet"), phases=[Phase.explicit, Phase.generate])
settings.load_profile("trawlnet")

#: What takes longest begins first, so that a process which ends before the others leaves them little.
_TIERS = ("acceptance", "integration", "ports")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    rank = {tier: number for number, tier in enumerate(_TIERS)}
    items.sort(key=lambda item: rank.get(item.path.relative_to(tests).parts[0], len(_TIERS)))


@pytest.fixture(autouse=True)
def _programs_end_with_their_test() -> Iterator[None]:
    yield
    end_all()


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as running:
        yield running


@pytest.fixture
def person(tmp_path: Path) -> Person:
    return Person(tmp_path)
