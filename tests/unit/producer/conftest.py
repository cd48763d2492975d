"""What the producer's tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from producer.storage.journal import Journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal(tmp_path / ".trawl")
    yield opened
    opened.close()
