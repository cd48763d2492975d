"""An open output folder, a job's store in it, and another user's files beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.records.policy import Sync
from contract.urls.naming import Layout
from tests.support.drafts import VICTIM, files_in
from worker.adapters.disk import OutputFolder
from worker.engine.ports import Store


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def folder(out: Path) -> Iterator[OutputFolder]:
    folder = OutputFolder(out)
    yield folder
    folder.close()


@pytest.fixture
def layout() -> Layout:
    """The layout of ``store``, where a test does not name one."""
    return Layout.FLAT


@pytest.fixture
def sync() -> Sync:
    """How ``store`` syncs, where a test does not say it."""
    return Sync.NONE


@pytest.fixture
def store(folder: OutputFolder, layout: Layout, sync: Sync) -> Store:
    return files_in(folder, layout, sync)  # by its port: mypy holds it to every method


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """Another user's file that planted links point to."""
    path = tmp_path / "victim"
    path.write_bytes(VICTIM)
    return path
