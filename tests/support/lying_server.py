"""A server drawn at random whose one object changes and whose answers to ranges lie, in what they say and how they end.

It tells only lies that can be found out: a version that changes has another ETag, and an answer that brings as many
bytes as it says, under the fields that were asked for, brings the right ones. All others are told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random


class Framing(StrEnum):
    """What says where a body ends."""

    LENGTH = "length"
    CHUNKED = "chunked"
    CLOSE = "close"  #: the end of the connection, so that a cut cannot be told from the end
    STREAM = "stream"  #: a frame of HTTP/2


@dataclass(frozen=True, slots=True)
class Answer:
    """One response: ``body`` is what is sent of it; ``is_cut``: its connection breaks then."""

    status: int
    fields: tuple[tuple[str, str], ...]
    framing: Framing
    body: bytes
    is_cut: bool = False

    def head(self, version: str = "1.1") -> list[bytes]:
        """Return the lines of the header block."""
        lines = [f"HTTP/{version} {self.status} X", *(f"{name}: {value}" for name, value in self.fields)]
        if self.framing is Framing.CHUNKED:
            lines.append("Transfer-Encoding: chunked")
        return [f"{line}\r\n".encode("latin-1") for line in (*lines, "")]


@dataclass(slots=True)
class _Told:
    """What an answer is going to be; a lie changes it."""

    start: int
    end: int
    total: int
    body: bytes
    tag: str
    length: int | None = None  # Content-Length where that is not the body's
    more: list[tuple[str, str]] = field(default_factory=list)
    content_range: str | None = None
    status: int = 206


@dataclass(slots=True)
class LyingServer:
    """``framings`` are those its transport has."""

    dice: Random
    framings: tuple[Framing, ...]
    versions: list[bytes] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)  # the Range of each request
    lies: list[str] = field(default_factory=list)
    largest: int = 20_000  # bytes
    is_strong: bool = True
    is_deaf: bool = False  # to If-Range
    is_honest: bool = False

    def __post_init__(self) -> None:
        self.is_strong = self.dice.random() < 0.9
        self.is_deaf = self.dice.random() < 0.3
        self.is_honest = self.dice.random() < 0.3
        self._change()

    def answer(self, given: dict[str, str]) -> Answer:
        """Answer one request with these fields (names in lower case)."""
        dice = self.dice
        if dice.random() < 0.04:
            self._change()
        asked = given.get("range")
        self.asked.append(asked)
        if dice.random() < 0.04:
            return self._framed(_Told(0, 0, 0, b"", "", status=dice.choice([503, 503, 404]), content_range=""))
        if asked is None or not (self.is_deaf or given.get("if-range") == self._tag()):
            return self._whole()
        first, _, last = asked.removeprefix("bytes=").partition("-")
        return self._part(int(first), int(last) + 1 if last else None)

    def is_right(self, body: bytes, notes: tuple[str, ...]) -> bool:
        """Is this one version whole, or, as far as could be proven, the beginning of one?"""
        if "framing=close" in notes:
            return any(version.startswith(body) for version in self.versions)
        return body in self.versions

    # ------------------------------------------------------------------------------------------------ answers

    def _change(self) -> None:
        is_as_long = bool(self.versions) and self.dice.random() < 0.5
        size = len(self.versions[-1]) if is_as_long else self.dice.randint(1, self.largest)
        self.versions.append(self.dice.randbytes(size))

    def _tag(self) -> str:
        opaque = f'"{len(self.versions)}\xe9"'
        return opaque if self.is_strong else f"W/{opaque}"

    def _whole(self) -> Answer:
        """Answer with everything: as 200, or as an unrequested 206."""
        body = self.versions[-1]
        told = _Told(0, len(body), len(body), body, self._tag(), status=200, content_range="")
        if self.dice.random() < 0.1:
            told.status, told.content_range = 206, None
            if not self.is_honest and self.dice.random() < 0.5:
                self._tell(told, self.dice.choice([_longer, _shorter, _other_total, _begun_later]))
        return self._framed(told)

    def _part(self, start: int, end: int | None) -> Answer:
        body = self.versions[-1]
        if start >= len(body):
            return self._framed(_unsatisfied(len(body), self._tag()))
        end = min(end or len(body), len(body))
        told = _Told(start, end, len(body), body[start:end], self._tag())
        if not self.is_honest and self.dice.random() < 0.4:
            self._tell(told, self.dice.choice(_LIES))
        return self._framed(told)

    def _tell(self, told: _Told, lie: Callable[[LyingServer, _Told], None]) -> None:
        self.lies.append(lie.__name__.strip("_"))
        lie(self, told)

    def _framed(self, told: _Told) -> Answer:
        """Choose how the body ends, and whether its connection breaks before."""
        dice, framing = self.dice, self.dice.choice((*self.framings, Framing.LENGTH, Framing.LENGTH))
        fields = [("ETag", told.tag), ("Accept-Ranges", "bytes")] if told.tag else []
        said = f"bytes {told.start}-{told.end - 1}/{told.total}" if told.content_range is None else told.content_range
        fields += [("Content-Range", said)] if said else []
        if framing is Framing.LENGTH:
            fields.append(("Content-Length", str(len(told.body) if told.length is None else told.length)))
        # Bytes that are missing somewhere within an answer that breaks off as well cannot be told from its rest.
        is_cut = bool(told.body) and "drops" not in self.lies[-1:] and dice.random() < 0.4
        body = told.body[: dice.randrange(len(told.body))] if is_cut else told.body
        return Answer(told.status, (*fields, *told.more), framing, body, is_cut)


def _unsatisfied(total: int, tag: str) -> _Told:
    return _Told(0, 0, 0, b"", tag, content_range=f"bytes */{total}", status=416)


# ---- lies


def _longer(server: LyingServer, told: _Told) -> None:
    told.length = server.dice.choice([None, len(told.body)])
    told.body += server.dice.randbytes(server.dice.choice([1, 7, 500]))


def _shorter(server: LyingServer, told: _Told) -> None:
    told.length = server.dice.choice([None, len(told.body)])
    told.body = told.body[: -min(len(told.body), server.dice.choice([1, 7, 500]))]


def _drops(server: LyingServer, told: _Told) -> None:
    at = server.dice.randrange(len(told.body))
    told.body = told.body[:at] + told.body[at + server.dice.choice([1, 7, 500]) :]


def _moved(server: LyingServer, told: _Told) -> None:
    version = server.versions[-1]
    told.start = max(0, min(told.start + server.dice.choice([-7, -1, 1, 7]), told.end - 1))
    told.body = version[told.start : told.end]


def _begun_later(server: LyingServer, told: _Told) -> None:
    told.start = min(told.start + 1, told.end - 1)
    told.body = server.versions[-1][told.start : told.end]


def _ended_sooner(server: LyingServer, told: _Told) -> None:
    told.end = max(told.start + 1, told.end - server.dice.choice([1, 500]))
    told.body = server.versions[-1][told.start : told.end]


def _everything(server: LyingServer, told: _Told) -> None:
    told.start, told.end, told.body = 0, told.total, server.versions[-1]


def _other_total(server: LyingServer, told: _Told) -> None:
    told.total += server.dice.choice([1, 500])


def _no_total(server: LyingServer, told: _Told) -> None:
    told.content_range = f"bytes {told.start}-{told.end - 1}/*"


def _other_version(server: LyingServer, told: _Told) -> None:
    told.tag = '"another"'
    told.body = server.dice.randbytes(len(told.body))


def _no_tag(server: LyingServer, told: _Told) -> None:
    told.tag = ""
    told.body = server.dice.randbytes(len(told.body))


def _nothing_said(server: LyingServer, told: _Told) -> None:
    told.content_range = ""


def _nonsense(server: LyingServer, told: _Told) -> None:
    told.content_range = server.dice.choice(["bytes the rest", f"lines 0-1/{told.total}", "bytes 9-1/10"])


def _encoded(server: LyingServer, told: _Told) -> None:
    told.more.append(("Content-Encoding", "gzip"))


def _multipart(server: LyingServer, told: _Told) -> None:
    told.more.append(("Content-Type", "multipart/byteranges; boundary=EDGE"))
    told.body = b"--EDGE\r\n\r\n" + told.body + b"\r\n--EDGE--\r\n"


def _refused(server: LyingServer, told: _Told) -> None:
    told.status, told.body, told.content_range = 416, b"", server.dice.choice(["", f"bytes */{told.total + 1}"])


_LIES = (
    *(
        _longer, _longer, _shorter, _shorter, _drops, _drops, _moved, _begun_later, _ended_sooner, _everything,
        _other_total, _no_total,
    ),
    *(_other_version, _no_tag, _nothing_said, _nonsense, _encoded, _multipart, _refused),
)  # fmt: skip
