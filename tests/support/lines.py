"""Lines of a list and what is read from them, for tests that know how it ends."""

from __future__ import annotations

import hashlib

from contract.urls.lines import Entry, Parsed, Refusal, intake, parse


def accepted(url: str) -> Parsed:
    parsed = parse(url)
    assert isinstance(parsed, Parsed), parsed
    return parsed


def entry(raw: bytes | str, *, line: int = 2) -> Entry:
    read = intake(raw, line=line)
    assert isinstance(read, Entry), read
    return read


def refusal(raw: bytes | str, *, line: int = 2) -> Refusal:
    read = intake(raw, line=line)
    assert isinstance(read, Refusal), read
    return read


def md5(url: bytes) -> str:
    return hashlib.md5(url).hexdigest()
