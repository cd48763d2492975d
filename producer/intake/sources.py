"""Lists of URLs as they come: files, standard input and what scripts give, read as lines of bytes with flat memory."""

from __future__ import annotations

import os
import re
import select
import shlex
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from contract.errors import InputError
from contract.named_files import in_words
from producer.intake.formats import fault_of_head

STANDARD_INPUT = "-"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_LIST_BY_URL = (
    "A list cannot be a URL: download it first (curl -fLO URL) and name the file;"
    " to fetch the URL itself: echo URL | trawl run -."
)
_HEAD = 4096  # bytes by which a file's kind is recognised

READ_AT_ONCE = 256 * 1024  # bytes: some thousand lines
_LINES_AT_ONCE = 1000  # of a script
_MOST_LINES = 4096  # lines in a chunk, however short
_READS_AT_ONCE = 64  # reads before yielding to other work, if no line ends
_LOOK = 0.2  # seconds to wait for the beginning of a slow list
_LONGEST_TAIL = 32 * 1024  # bytes kept of an endless line; intake accepts far less


@dataclass(frozen=True, slots=True)
class Position:
    """How far the lists have been read, always between two lines.

    ``offset`` counts the bytes of list number ``source``, ``line`` its lines; ``checksum`` is the CRC-32 of
    those bytes, which reveals whether a list has changed since.
    """

    source: int = 0
    offset: int = 0
    line: int = 0
    checksum: int = 0

    @property
    def place(self) -> tuple[int, int]:
        """Sorts positions in the order in which they are read."""
        return self.source, self.offset

    def to_record(self) -> dict[str, int]:
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Position:
        return cls(**{key: int(value) for key, value in record.items()})


START = Position()


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some whole lines of one list, in order, and the position after them. ``first_line`` counts from 1."""

    source: str
    first_line: int
    lines: Sequence[bytes]
    position: Position


class Lists:
    """Reads one or more lists, one after another, as chunks of lines."""

    def __init__(self, names: Sequence[str], *, standard_input: int = 0) -> None:
        """``names`` are paths, or ``-`` once for standard input.

        Raises:
            InputError: a list cannot be read; the sentence says which.
        """
        if names.count(STANDARD_INPUT) > 1:
            raise InputError("Standard input (-) can be named once only.")
        for name in names:
            if name != STANDARD_INPUT:
                _check(name)
        self._names = list(names)
        self._standard_input = standard_input
        self._source = 0
        self._file: int | None = None
        self._ahead = b""  # was inspected, and comes next
        self._is_begun = False  # has any of the current list been read?
        self._tail = b""  # the start of an incomplete line
        self._dropped = 0  # bytes of that line that were dropped
        self._dropped_checksum: int | None = None  # checksum up to the end of what was dropped
        self.is_seen_whole = False  #: did ``peek`` come to the end of the only list?
        self.position = START

    def read(self, wait: float = 0.0) -> Chunk | None:
        """Return the next lines; None if none come within ``wait`` seconds, or there are no more.

        An endless line is read in parts, because the caller may have been told to stop.
        """
        for _ in range(_READS_AT_ONCE):
            if self.is_exhausted:
                break
            file = self._open()
            if not self._ahead and not _has_bytes(file, wait):
                return None
            chunk = self._read_lines(READ_AT_ONCE)
            if chunk is not None:
                return chunk
        return None

    def read_to(self, position: Position) -> Iterator[Chunk]:
        """Yield the lines an earlier run read; in unchanged lists, ``position`` is then where it stopped."""
        while not self.is_exhausted and self.position.place < position.place:
            most = READ_AT_ONCE
            if self.position.source == position.source:
                most = min(most, position.offset - self.position.offset - len(self._tail) - self._dropped)
                if not most:
                    return  # within a line
            chunk = self._read_lines(most)
            if chunk is not None:
                yield chunk

    def peek(self, lines: int) -> Sequence[bytes]:
        """Return the first lines of the first list without consuming them; fewer if they have not arrived yet."""
        file = self._open()
        for _ in range(_READS_AT_ONCE):
            if self._ahead.count(b"\n") >= lines or not _has_bytes(file, _LOOK):
                break
            block = self._read_on(file, READ_AT_ONCE)
            self._ahead += block
            if not block:
                self.is_seen_whole = self._source == len(self._names) - 1
                return self._ahead.split(b"\n")[:lines]
        return self._ahead.split(b"\n")[:-1][:lines]

    def await_bytes(self) -> None:
        """Wait for the first bytes of the first list, or for its end."""
        self._ahead = self._ahead or self._read_on(self._open(), READ_AT_ONCE)

    @property
    def comes_to_its_end(self) -> bool:
        """Is the current list a file? Anything else may be endless."""
        return stat.S_ISREG(os.fstat(self._open()).st_mode)

    @property
    def is_exhausted(self) -> bool:
        return self._source >= len(self._names)

    def skip_to(self, position: Position) -> bool:
        """Read up to where an earlier run stopped; False if the lists have changed."""
        while self._source < position.source:
            if self._source >= len(self._names):
                return False
            self._pass_over(None)
            self._next_list()
        if position.source < len(self._names):
            if position.offset and self._pass_over(position.offset) != position.checksum:
                return False
            self.position = position
        return True

    def close(self) -> None:
        if self._file is not None and self._file != self._standard_input:
            os.close(self._file)
        self._file = None

    def _read_lines(self, most: int) -> Chunk | None:
        read = self._read(self._open(), most)
        if read.count(b"\n") > _MOST_LINES:
            rest = len(read.split(b"\n", _MOST_LINES)[-1])
            read, self._ahead = read[:-rest], read[-rest:] + self._ahead
        return self._cut(read) if read else self._end_of_list()

    def _pass_over(self, length: int | None) -> int | None:
        """Read that many bytes (None: all) of the current list and return their checksum; None if it is shorter."""
        file, checksum, left = self._open(), 0, length
        while left is None or left > 0:
            read = self._read(file, READ_AT_ONCE if left is None else min(left, READ_AT_ONCE))
            if not read:
                return checksum if left is None else None
            checksum = zlib.crc32(read, checksum)
            left = None if left is None else left - len(read)
        return checksum

    def _open(self) -> int:
        if self._file is None:
            name = self._names[self._source]
            try:
                self._file = (
                    self._standard_input if name == STANDARD_INPUT else os.open(name, os.O_RDONLY | os.O_CLOEXEC)
                )
            except OSError as error:
                raise InputError(f"{self.shown} cannot be read: {in_words(error)}.") from None
        return self._file

    def _read(self, file: int, most: int) -> bytes:
        if not self._ahead:
            return self._read_on(file, most)
        some, self._ahead = self._ahead[:most], self._ahead[most:]
        if len(some) < most and self.comes_to_its_end:  # else it might wait
            some += self._read_on(file, most - len(some))
        return some

    def _read_on(self, file: int, most: int) -> bytes:
        try:
            read = os.read(file, most)
        except OSError as error:
            raise InputError(f"{self.shown} cannot be read: {in_words(error)}.") from None
        fault = None if self._is_begun else fault_of_head(read)
        self._is_begun = True
        if fault:
            raise InputError(f"{self.shown} {fault}")
        return read

    @property
    def shown(self) -> str:
        """The display name of the current list."""
        name = self._names[self._source]
        return "Standard input" if name == STANDARD_INPUT else f"The list {name}"

    def _cut(self, read: bytes) -> Chunk | None:
        """Return the complete lines and keep the rest for later."""
        end = read.rfind(b"\n") + 1
        if not end:
            self._keep(read)
            return None
        block = self._tail + read[:end]
        checksum = self.position.checksum if self._dropped_checksum is None else self._dropped_checksum
        start = 0 if self._dropped_checksum is None else len(self._tail)
        lines = block.split(b"\n")
        lines.pop()
        before = self.position
        self.position = Position(
            before.source,
            before.offset + len(block) + self._dropped,
            before.line + len(lines),
            zlib.crc32(block[start:], checksum),
        )
        self._tail, self._dropped, self._dropped_checksum = b"", 0, None
        self._keep(read[end:])
        return Chunk(self._names[before.source], before.line + 1, lines, self.position)

    def _keep(self, read: bytes) -> None:
        if self._dropped_checksum is None:
            self._tail += read
            if len(self._tail) > _LONGEST_TAIL:
                self._dropped_checksum = zlib.crc32(self._tail, self.position.checksum)
                self._dropped = len(self._tail) - _LONGEST_TAIL
                self._tail = self._tail[:_LONGEST_TAIL]
        else:
            self._dropped_checksum = zlib.crc32(read, self._dropped_checksum)
            self._dropped += len(read)

    def _end_of_list(self) -> Chunk | None:
        """Continue with the next list; text after the last line break of this one is a line too."""
        before, name, last = self.position, self._names[self._source], self._tail
        self._next_list()
        if not last:
            return None
        return Chunk(name, before.line + 1, [last], self.position)

    def _next_list(self) -> None:
        self.close()
        self._source += 1
        self._is_begun = False
        self._tail, self._dropped, self._dropped_checksum = b"", 0, None
        self.position = Position(source=self._source)


class Lines:
    """Lines from a script, possibly generated while they are read."""

    comes_to_its_end = False  # as far as is known
    position = START

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._first = 1
        self.is_exhausted = False

    def read(self, wait: float = 0.0) -> Chunk | None:  # noqa: ARG002  # however long they take
        lines = [line.encode("utf-8", "surrogatepass") for line in islice(self._lines, _LINES_AT_ONCE)]
        self.is_exhausted = not lines
        chunk = Chunk("list", self._first, lines, self.position)
        self._first += len(lines)
        return chunk if lines else None


def _check(name: str) -> None:
    try:
        mode = os.stat(name).st_mode
    except OSError as error:
        if _URL.match(name):
            raise InputError(_LIST_BY_URL) from None
        raise InputError(f"The list {name} cannot be read: {in_words(error)}.") from None
    if stat.S_ISDIR(mode) or stat.S_ISSOCK(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "socket"
        raise InputError(f"{name} is a {kind}; name a file with one URL per line.")
    if not os.access(name, os.R_OK):
        raise InputError(f"The list {name} cannot be read: permission denied.")
    if stat.S_ISREG(mode):  # all of them, before anything is started
        with open(name, "rb", buffering=0) as file:
            fault = fault_of_head(file.read(_HEAD))
        if fault:
            raise InputError(f"The list {name} {fault.replace('LIST', shlex.quote(name))}")


def _has_bytes(file: int, wait: float) -> bool:
    """Can this be read without blocking? Regular files always can."""
    try:
        return bool(select.select([file], [], [], wait)[0])
    except (OSError, ValueError):
        return True  # reading it reports the error
