"""Drafts, names and bodies for tests of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from contract.records.policy import Sync
from contract.urls.naming import Layout, output_name, output_path
from tests.support.bodies import body_bytes
from worker.adapters.disk import FolderStore, OutputFolder
from worker.engine.ports import Draft, Store

URL = "https://example.com/"
NAME = output_name(URL)
OTHER = output_name("https://example.com/other")
BODY = body_bytes(10_000)
VICTIM = b"of somebody else"

every_layout = pytest.mark.parametrize("layout", Layout)
every_sync = pytest.mark.parametrize("sync", Sync)


class Announced(NamedTuple):
    """Keeps ``worker.engine.ports.Response``."""

    length: int | None = None
    status: int = 200
    fields: Mapping[str, str] = {}


def files_in(folder: OutputFolder, layout: Layout = Layout.FLAT, sync: Sync = Sync.NONE) -> FolderStore:
    """Return a job's store in an output folder."""
    return FolderStore(folder, layout=layout, sync=sync)


def open_draft(store: Store, name: str = NAME) -> Draft:
    return store.open(name, Announced())


def a_draft(store: Store, name: str = NAME, body: bytes = BODY, *, piece: int = 4096) -> Draft:
    """Return a finished draft."""
    draft = open_draft(store, name)
    for at in range(0, len(body), piece):
        draft.write(body[at : at + piece], at)
    draft.finish(len(body))
    return draft


def partial_of(store: Store, body: bytes = BODY) -> Draft:
    """Return an open draft that survives this process, with its first bytes."""
    draft = open_draft(store)
    draft.keep_partial("version 1")
    draft.write(body, 0)
    return draft


def put(store: Store, name: str = NAME, body: bytes = BODY) -> str:
    """Store a body and return its path."""
    paths = store.publish([a_draft(store, name, body)], lambda: True)
    assert paths is not None
    (path,) = paths
    assert isinstance(path, str)
    return path


def named_files(out: Path) -> dict[str, bytes]:
    """Return every file that is not ours alone, by its path below the output folder."""
    found = {path.relative_to(out): path for path in out.rglob("*") if path.is_file()}
    return {str(path): file.read_bytes() for path, file in found.items() if path.parts[0] != ".trawl"}


def expect_whole_or_absent(out: Path, layout: Layout, allowed: Mapping[str, Sequence[bytes]]) -> None:
    """Expect only whole files, and no temporary file once the next owner has started and ended."""
    for path, body in named_files(out).items():
        name = path.rpartition("/")[2]
        assert body in allowed[name], path
        assert path == output_path(name, layout)
    OutputFolder(out).close()
    assert list((out / ".trawl" / "parts").iterdir()) == []


def temporary_files(out: Path) -> list[Path]:
    return [path for path in (out / ".trawl").rglob("*") if not path.is_dir()]
