"""Every store, including the fake, and how to see its contents: what the port's suite runs against."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from contract.records.policy import Sync
from contract.urls.naming import Layout
from tests.support.drafts import files_in, named_files, temporary_files
from tests.support.memory_store import MemoryStore
from worker.adapters.disk import OutputFolder
from worker.engine.ports import Store


class Kept:
    """A store and what lies in it. ``other`` is the same store as another process knows it."""

    store: Store
    other: Store

    def bodies(self) -> dict[str, bytes]:
        """Return every body by its path."""
        raise NotImplementedError

    def left_behind(self) -> int:
        """Return how many drafts there are, kept partials among them."""
        raise NotImplementedError

    def close(self) -> None:
        """End both processes."""


class KeptInFolder(Kept):
    def __init__(self, out: Path, layout: Layout, sync: Sync) -> None:
        self._out = out
        self._folders = OutputFolder(out), OutputFolder(out)
        self.store, self.other = (files_in(folder, layout, sync) for folder in self._folders)

    def bodies(self) -> dict[str, bytes]:
        return named_files(self._out)

    def left_behind(self) -> int:
        return sum(path.suffix != ".json" for path in temporary_files(self._out))

    def close(self) -> None:
        for folder in self._folders:
            folder.close()


class KeptInMemory(Kept):
    def __init__(self) -> None:
        self.store = self.other = self._store = MemoryStore()

    def bodies(self) -> dict[str, bytes]:
        return self._store.bodies

    def left_behind(self) -> int:
        return len(self._store.drafts | set(self._store.partials.values()))


STORES: dict[str, Callable[[Path], Kept]] = {
    "memory": lambda _out: KeptInMemory(),
    **{
        f"{layout}-{sync}": lambda out, layout=layout, sync=sync: KeptInFolder(out, layout, sync)  # type: ignore[misc]  # defaults bind now
        for layout in Layout
        for sync in Sync
    },
}
