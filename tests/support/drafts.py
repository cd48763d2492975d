"""Drafts, names and bodies for tests of an output folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.records.policy import Sync
from contract.urls.naming import Layout, output_name
from tests.support.bodies import body_bytes
from worker.engine.ports import Disk, Draft

NAME = output_name("https://example.com/")
OTHER = output_name("https://example.com/other")
BODY = body_bytes(10_000)
VICTIM = b"of somebody else"

every_layout = pytest.mark.parametrize("layout", Layout)
every_sync = pytest.mark.parametrize("sync", Sync)


def a_draft(disk: Disk, body: bytes = BODY, *, piece: int = 4096) -> Draft:
    draft = disk.draft()
    for at in range(0, len(body), piece):
        draft.write(body[at : at + piece], at)
    draft.finish(len(body))
    return draft


def store(disk: Disk, name: str, body: bytes = BODY, layout: Layout = Layout.FLAT, sync: Sync = Sync.NONE) -> Draft:
    draft = a_draft(disk, body)
    assert disk.publish([(draft, name)], layout, sync, lambda: True)
    return draft


def named_files(out: Path) -> dict[str, bytes]:
    """Return every file that is not ours alone, by its path below the output folder."""
    found = {path.relative_to(out): path for path in out.rglob("*") if path.is_file()}
    return {str(path): file.read_bytes() for path, file in found.items() if path.parts[0] != ".trawl"}


def temporary_files(out: Path) -> list[Path]:
    return [path for path in (out / ".trawl").rglob("*") if not path.is_dir()]
