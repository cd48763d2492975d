"""An output folder, open, and what somebody else has beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.drafts import VICTIM
from worker.adapters.disk import OutputFolder
from worker.engine.ports import Disk


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def folder(out: Path) -> Iterator[OutputFolder]:
    folder = OutputFolder(out)
    yield folder
    folder.close()


@pytest.fixture
def disk(folder: OutputFolder) -> Disk:
    return folder  # by its port: mypy holds it to every method


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of somebody else that planted links point to."""
    path = tmp_path / "victim"
    path.write_bytes(VICTIM)
    return path
