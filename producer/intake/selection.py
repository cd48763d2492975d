"""Selects what to fetch from a list: each URL once, without refused lines, with what earlier jobs know about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from contract.records.batches import BatchEntry, Known, Listed
from contract.records.outcomes import Ending, ErrorClass, Outcome
from contract.urls.lines import Refusal, intake, is_ordinary
from contract.urls.naming import output_digest
from producer import formatting
from producer.intake.sources import STANDARD_INPUT, Chunk


class Files(Protocol):
    """What is known of the files of earlier jobs."""

    def known(self, listed: Mapping[bytes, Listed]) -> Mapping[bytes, Known | Outcome]:
        """Return the files that earlier jobs stored under the names of these entries, as far as they are known.

        An outcome says that the file was compared and is kept; anything else is compared by a worker.
        """
        ...


class Memory(Files, Protocol):
    """What a selection needs from the journal."""

    def mark_seen(self, names: Iterable[bytes]) -> set[bytes]:
        """Mark distinct md5 names as seen, and return those that are new to this job."""
        ...


@dataclass(frozen=True, slots=True)
class Selected:
    """A chunk of lines, checked: ``entries`` are for the workers, ``refused`` and ``kept`` have their outcome already.

    ``lines`` counts those that are not blank: urls + refused + duplicates.
    """

    entries: Sequence[Listed]
    refused: Sequence[Outcome]
    duplicates: int
    kept: Sequence[Outcome] = ()

    @property
    def urls(self) -> int:
        return len(self.entries) + len(self.kept)

    @property
    def lines(self) -> int:
        return self.urls + len(self.refused) + self.duplicates


def names_in(chunk: Chunk) -> list[bytes]:
    """Return the md5 names of the URLs of a chunk."""
    return list(_judged(chunk)[0])


def _judged(chunk: Chunk) -> tuple[dict[bytes, Listed], list[Refusal], int]:
    """Return the URLs of a chunk by md5 name, each once, the refused lines, and the count of non-blank lines."""
    found: dict[bytes, Listed] = {}
    refused: list[Refusal] = []
    lines = len(chunk.lines)
    for line, raw in enumerate(chunk.lines, start=chunk.first_line):
        if is_ordinary(raw):
            found.setdefault(output_digest(raw), raw.decode())
            continue
        entry = intake(raw, line=line)
        if entry is None:
            lines -= 1
        elif isinstance(entry, Refusal):
            refused.append(entry)
        else:
            listed = BatchEntry(entry.url, expected=entry.expect) if entry.expect else entry.url
            found.setdefault(bytes.fromhex(entry.name), listed)
    return found, refused, lines


def _sorted_out(
    listed: Mapping[bytes, Listed], known: Mapping[bytes, Known | Outcome]
) -> tuple[list[Listed], list[Outcome]]:
    """Return the entries for the workers, with what is known of their files, and the outcomes of the others."""
    entries: list[Listed] = []
    kept: list[Outcome] = []
    for name, entry in listed.items():
        what = known.get(name)
        if isinstance(what, Outcome):
            kept.append(what)
        elif what is None:
            entries.append(entry)
        else:
            entries.append(BatchEntry(entry, what) if isinstance(entry, str) else replace(entry, known=what))
    return entries, kept


class Selection:
    """Checks chunks of lines one after another.

    ``is_naming_lists``: a refused row must name its list as well as its line; ``is_forced``: files that earlier jobs
    stored are fetched again. ``files`` knows of them what the memory does not say.
    """

    def __init__(
        self, memory: Memory, *, files: Files | None = None, is_naming_lists: bool = False, is_forced: bool = False
    ) -> None:
        self._memory = memory
        self._files = files or memory
        self._is_naming_lists = is_naming_lists
        self._is_forced = is_forced

    def judge(self, chunk: Chunk) -> Selected:
        """Return what to fetch of a chunk."""
        found, refusals, lines = _judged(chunk)
        new = self._memory.mark_seen(found.keys())
        listed = found if len(new) == len(found) else {name: entry for name, entry in found.items() if name in new}
        known = {} if self._is_forced else self._files.known(listed)
        entries, kept = list(listed.values()), list[Outcome]()
        if known:
            entries, kept = _sorted_out(listed, known)
        refused = [self._refused(refusal, chunk.source) for refusal in refusals]
        return Selected(entries, refused, lines - len(refused) - len(listed), kept)

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
