"""The limit of open files determines how many transfers there are, which is reported."""

import resource
from collections.abc import Iterator

import pytest

from contract.open_files import attainable_limit, raise_limit, shortage


def test_fewer_transfers_than_wanted_are_one_sentence() -> None:
    assert shortage(64, 1024, 1) == ""
    assert shortage(64, 64, 1) == "64 descriptors allow 7 transfers at once per process, not 64: raise `ulimit -n`."
    assert shortage(64, 40, 1) == "40 descriptors are too few for 1 worker process: raise `ulimit -n`."
    assert shortage(64, 64, 16) == "64 descriptors are too few for 16 worker processes: raise `ulimit -n`."


@pytest.fixture
def low_limit() -> Iterator[int]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = min(before[1], 512) if before[1] != resource.RLIM_INFINITY else 512
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, before[1]))
    yield low
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_soft_limit_is_raised_to_what_is_attainable(low_limit: int) -> None:
    attainable = attainable_limit()

    assert raise_limit() == attainable >= low_limit
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == attainable
