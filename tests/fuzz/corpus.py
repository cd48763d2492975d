"""The inputs kept for each target: one JSON string per line, one character per byte."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

_FOLDER = Path(__file__).with_name("corpus")


def load(target: str) -> list[bytes]:
    file = _FOLDER / f"{target}.jsonl"
    if not file.exists():
        return []
    return [json.loads(line).encode("latin-1") for line in file.read_text("ascii").splitlines()]


def save(target: str, inputs: Iterable[bytes]) -> None:
    ordered = sorted(set(inputs), key=lambda raw: (len(raw), raw))
    _FOLDER.mkdir(exist_ok=True)
    text = "".join(json.dumps(raw.decode("latin-1")) + "\n" for raw in ordered)
    (_FOLDER / f"{target}.jsonl").write_text(text, "ascii")
