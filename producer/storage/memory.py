"""What a script remembers of the list it feeds, in memory; a command has a journal instead."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from contract.records.batches import Known
from producer.storage.journal import KeptBatch


class Memory:
    """Answers like the journal of a new job, and keeps no batches: they are in the ledger."""

    keeps_batches = False

    def __init__(self) -> None:
        self._names: set[bytes] = set()
        self._ahead: dict[int, bytes] = {}

    def fact(self, key: str, default: Any = None) -> Any:  # noqa: ARG002  # nothing was noted yet
        return default

    def mark_seen(self, names: Iterable[bytes]) -> set[bytes]:
        new = set(names) - self._names
        self._names |= new
        return new

    def known(self, names: Collection[bytes]) -> Mapping[bytes, Known]:  # noqa: ARG002  # a script has no earlier files
        return {}

    def record_fed(
        self,
        batches: Collection[KeptBatch],
        remainder: bytes | None,
        *,
        ahead: Collection[tuple[int, int, int, bytes]] = (),
        popped: Collection[int] = (),
        **facts: Any,
    ) -> None:
        del batches, remainder, facts
        self._ahead |= {number: entries for number, *_, entries in ahead}
        for number in popped:
            del self._ahead[number]

    def remainder(self) -> None: ...

    def blocks(self) -> list[tuple[int, int, int]]:
        return []

    def block(self, number: int) -> bytes:
        return self._ahead[number]

    def uncollected(self, after: str = "", limit: int = 200) -> list[KeptBatch]:  # noqa: ARG002  # none is kept
        return []

    def count_uncollected(self) -> int:
        return 0

    def backlog(self) -> tuple[int, int]:
        return 0, 0
