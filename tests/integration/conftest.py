"""A Redis, and a user whose commands use it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Bench
from tests.support.redis_server import RedisServer


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with RedisServer(tmp_path / "redis", unix=True) as redis:
        yield Bench(redis, tmp_path)
