"""Everything that went in must come out once, whole and right, as in Jepsen's total-queue check."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_SHOWN = 5


@dataclass(slots=True)
class Verdict:
    """What is wrong with a finished job; every list but ``again`` must be empty.

    ``lost`` URLs have no row, ``twice`` more than one, ``strange`` rows were never asked for, ``unexpected`` ended
    otherwise than they should, ``wrong`` files are missing, torn or other bytes than the source's. ``worn`` URLs ended
    as poison and are none: their worker was killed each time.
    """

    urls: int
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    worn: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.twice or self.strange or self.unexpected or self.wrong or self.worn)

    def counts(self) -> dict[str, int]:
        return {key: len(value) if isinstance(value, list) else value for key, value in asdict(self).items()}

    def __str__(self) -> str:
        said = [f"{self.urls} URLs", *(f"{len(v)} {k}" for k, v in asdict(self).items() if k != "urls")]
        shown = [f"  {k}: {v[:_SHOWN]}" for k, v in asdict(self).items() if k != "urls" and v]
        return "\n".join([", ".join(said), *shown])


def rows_of(manifest: Path) -> list[dict[str, Any]]:
    """Return the manifest's rows; a torn line is a fault and raises ValueError."""
    if not manifest.exists():
        return []
    return [json.loads(line) for line in manifest.read_text("utf-8").splitlines()]


def judge(
    urls: Sequence[str],
    rows: Sequence[dict[str, Any]],
    files: Path,
    *,
    sha256_of: Callable[[str], str],
    poison: Collection[str] = (),
    was_cancelled: bool = False,
) -> Verdict:
    """Compare the rows of a finished job and its files with what was asked for.

    Of one that ``was_cancelled`` some may say so, and the end of the list need not have been read.
    """
    verdict = Verdict(len(urls))
    seen = Counter(row["url"] for row in rows)
    asked = set(_read_of(urls, seen) if was_cancelled else urls)
    verdict.lost = sorted(asked - seen.keys())
    verdict.strange = sorted(seen.keys() - asked)
    verdict.twice = sorted(url for url, count in seen.items() if count > 1)
    for row in rows:
        url = row["url"]
        if url in poison:
            if (row["outcome"], row["error"]) != ("failed", "poison"):
                verdict.unexpected.append(f"{url} {row['outcome']}")
        elif was_cancelled and (row["outcome"], row["error"]) == ("failed", "cancelled"):
            continue
        elif (row["outcome"], row["error"]) == ("failed", "poison"):
            verdict.worn.append(url)
        elif row["outcome"] not in ("ok", "kept"):
            verdict.unexpected.append(f"{url} {row['outcome']} {row['error']} {row['detail']}")
        elif not is_right(files / row["path"], sha256_of(url)) or row["sha256"] != sha256_of(url):
            verdict.wrong.append(url)
    return verdict


def _read_of(urls: Sequence[str], seen: Collection[str]) -> Sequence[str]:
    """Return the list up to the last URL that has a row: it is read in its order."""
    return urls[: max((index + 1 for index, url in enumerate(urls) if url in seen), default=0)]


def is_right(file: Path, sha256: str) -> bool:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() == sha256
    except OSError:
        return False


class Watch:
    """Looks at files the moment they have their names: complete and right, at any time."""

    def __init__(self, folder: Path, sha256_of_name: Callable[[str], str | None]) -> None:
        self._folder = folder
        self._sha256_of_name = sha256_of_name
        self._seen: set[str] = set()
        self.torn: list[str] = []

    def look(self, most: int = 400) -> None:
        """Check up to ``most`` files that are new since the last look."""
        if not self._folder.is_dir():
            return
        fresh = [name for name in (entry.name for entry in self._folder.iterdir()) if name not in self._seen]
        for name in fresh[:most]:
            if name.startswith("."):
                continue
            self._seen.add(name)
            expected = self._sha256_of_name(name)
            if expected is None or not is_right(self._folder / name, expected):
                self.torn.append(name)
