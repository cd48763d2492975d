"""A store in memory: the fake of `worker.engine.ports.Store`, which passes the suite of the real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from contract.urls.naming import Layout, output_path
from worker.engine.digests import starter
from worker.engine.ports import DiskTrouble, Draft, Obstacle, Response

Fault = Callable[[str, int], Exception | None]  # why a call of this name, with so many bytes, fails


class MemoryDraft:
    """Keeps ``worker.engine.ports.Draft``."""

    def __init__(self, store: MemoryStore, name: str) -> None:
        self.name = name
        self.data = bytearray()
        self.known: str | None = None  # the record kept with it, if it is a partial
        self.is_whole = False
        self._store = store
        store.drafts.add(self)

    def write(self, data: bytes, at: int) -> None:
        self._store.expect("write", len(data))
        self.data.extend(bytes(max(0, at - len(self.data))))  # as a file has it: what is left out is zero
        self.data[at : at + len(data)] = data

    def finish(self, size: int) -> None:
        self._store.expect("finish", size)
        self._forget_partial()
        if len(self.data) != size:
            raise DiskTrouble(f"{len(self.data)} of {size} bytes were written.")
        self.is_whole = True

    def digest(self, algorithms: Sequence[str]) -> dict[str, str]:
        self._store.expect("digest", len(self.data))
        if self not in self._store.drafts:
            raise DiskTrouble("A discarded draft.")
        return _digests(bytes(self.data), algorithms)

    def keep_partial(self, known: str) -> None:
        there = self._store.partials.get(self.name)
        if there not in self._store.drafts:  # a draft is at work on what lies there
            self.known, self._store.partials[self.name] = known, self

    def leave(self) -> None:
        if self._store.partials.get(self.name) is not self:
            self.discard()
        self._store.drafts.discard(self)

    def discard(self) -> None:
        self._forget_partial()
        self._store.drafts.discard(self)

    def _forget_partial(self) -> None:
        if self._store.partials.get(self.name) is self:
            del self._store.partials[self.name]


class MemoryStore:
    """Keeps ``worker.engine.ports.Store``; a body's path is its name."""

    def __init__(self) -> None:
        self.bodies: dict[str, bytes] = {}  # by path
        self.drafts: set[MemoryDraft] = set()  # neither published, discarded nor left
        self.partials: dict[str, MemoryDraft] = {}  # by name
        self.fault: Fault = lambda _call, _size: None

    def open(self, name: str, head: Response) -> MemoryDraft:
        self.expect("open", head.length or 0)
        return MemoryDraft(self, output_path(name, Layout.FLAT))

    def resume(self, name: str) -> tuple[MemoryDraft, int, str] | None:
        draft = self.partials.get(name)
        if draft is None or draft in self.drafts or draft.known is None:
            return None
        self.drafts.add(draft)
        return draft, len(draft.data), draft.known

    def publish(self, group: Sequence[Draft], may: Callable[[], bool]) -> Sequence[str | Obstacle] | None:
        self.expect("publish", len(group))
        return [self._publish(draft) for draft in group] if may() else None

    def holds(self, name: str, size: int, digest: str) -> str | None:
        algorithm, _, expected = digest.partition(":")
        body = self.bodies.get(name)
        try:
            is_it = body is not None and len(body) == size
            is_it = is_it and (not expected or _digests(body or b"", [algorithm])[algorithm] == expected)
        except ValueError:
            is_it = False
        return name if is_it else None

    def trouble(self) -> str | None:
        fault = self.fault("trouble", 0)
        return None if fault is None else str(fault)

    def expect(self, call: str, size: int) -> None:
        """Raise what this call is to fail with."""
        if fault := self.fault(call, size):
            raise fault

    def _publish(self, draft: Draft) -> str:
        assert isinstance(draft, MemoryDraft)
        self.expect("name", len(draft.data))
        if draft not in self.drafts or not draft.is_whole:
            raise DiskTrouble("A discarded draft.")
        self.bodies[draft.name] = bytes(draft.data)
        draft.discard()
        return draft.name


def _digests(body: bytes, algorithms: Sequence[str]) -> dict[str, str]:
    found = {}
    for algorithm in algorithms:
        hasher = starter(algorithm)()
        hasher.update(body)
        found[algorithm] = hasher.hexdigest()
    return found
