"""What of a list is to be fetched: each URL once, refused lines apart, with what earlier jobs know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from contract.records.batches import BatchEntry, Known
from contract.records.outcomes import Ending, ErrorClass, Outcome
from contract.urls.lines import Entry, Refusal, intake
from producer import formatting
from producer.intake.sources import STANDARD_INPUT, Chunk


class Memory(Protocol):
    """What a selection asks of the journal."""

    def take(self, names: Sequence[bytes]) -> set[bytes]:
        """Return those of the (distinct) md5 names the job has not come across; now it has."""
        ...

    def known(self, names: Sequence[bytes]) -> Mapping[bytes, Known]:
        """Return what earlier jobs stored under these names."""
        ...


@dataclass(frozen=True, slots=True)
class Selected:
    """A chunk of lines, judged. ``lines`` counts those that ask for something: urls + refused + duplicates."""

    entries: Sequence[BatchEntry]
    refused: Sequence[Outcome]
    duplicates: int

    @property
    def lines(self) -> int:
        return len(self.entries) + len(self.refused) + self.duplicates


def names_in(chunk: Chunk) -> list[bytes]:
    """Return the md5 names of the URLs of a chunk."""
    asked = (intake(raw, line=line) for line, raw in enumerate(chunk.lines, start=chunk.first_line))
    return [bytes.fromhex(entry.name) for entry in asked if isinstance(entry, Entry)]


class Selection:
    """Judges chunks of lines one after another.

    ``is_naming_lists`` says whether a refused row must name its list beside the line; ``is_forced`` whether
    what earlier jobs stored is fetched again.
    """

    def __init__(self, memory: Memory, *, is_naming_lists: bool = False, is_forced: bool = False) -> None:
        self._memory = memory
        self._is_naming_lists = is_naming_lists
        self._is_forced = is_forced

    def judge(self, chunk: Chunk) -> Selected:
        """Return what a chunk asks for."""
        found: dict[str, Entry] = {}
        refused: list[Outcome] = []
        duplicates = 0
        for line, raw in enumerate(chunk.lines, start=chunk.first_line):
            entry = intake(raw, line=line)
            if entry is None:
                continue
            if isinstance(entry, Refusal):
                refused.append(self._refused(entry, chunk.source))
            elif entry.name in found:
                duplicates += 1
            else:
                found[entry.name] = entry
        names = [bytes.fromhex(name) for name in found]
        new = self._memory.take(names)
        known = {} if self._is_forced else self._memory.known(names)
        entries = [
            BatchEntry(url=entry.url, known=known.get(name), expected=entry.expect)
            for name, entry in zip(names, found.values(), strict=True)
            if name in new
        ]
        duplicates += len(names) - len(entries)
        return Selected(entries, refused, duplicates)

    def _refused(self, refusal: Refusal, source: str) -> Outcome:
        place = f"line {refusal.line}"
        if self._is_naming_lists:
            place += " of standard input" if source == STANDARD_INPUT else f" of {formatting.path(source)}"
        return Outcome(
            url=refusal.raw,
            name=refusal.name,
            ending=Ending.REFUSED,
            error=ErrorClass.REFUSED_URL,
            detail=f"{place}: {refusal.reason}",
        )
