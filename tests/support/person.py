"""A user at a shell in a folder of their own: the lists they write, what they start, the rows they get."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.processes import await_condition, begin

PROJECT = Path(__file__).resolve().parents[2]
ENOUGH = 300  # seconds until a command that has not ended hangs


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


class Person:
    """One folder, and an environment that knows of ours only where programs are; ``variables`` are set in it."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.python = sys.executable
        self.temporary = folder / "tmp"
        self.temporary.mkdir(exist_ok=True)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "TMPDIR": str(self.temporary),
            "PYTHONPATH": str(PROJECT),
            **variables,
        }

    def write_list(self, *lines: str, name: str = "urls.txt") -> Path:
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def start(self, *arguments: object, stdin: int = subprocess.DEVNULL, **variables: str) -> subprocess.Popen[bytes]:
        """Start ``trawl`` with these arguments; it ends with the test."""
        return begin(
            [self.python, "-P", "-m", "producer", *map(str, arguments)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=self.environment | variables,
        )

    def trawl(self, *arguments: object, stdin: bytes | None = None, **variables: str) -> Ended:
        """Run ``trawl`` with these arguments to its end."""
        process = self.start(*arguments, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE, **variables)
        out, err = process.communicate(stdin, timeout=ENOUGH)
        return Ended(process.returncode, out.decode(), err.decode())

    def manifest(self, folder: str = "out") -> Path:
        return self.folder / folder / "manifest.jsonl"

    def rows(self, folder: str = "out") -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.manifest(folder).read_text("utf-8").splitlines()]

    def await_rows(self, count: int = 1) -> None:
        """Wait until the manifest has so many whole rows; the next one may be half written."""
        manifest = self.manifest()
        await_condition(
            lambda: manifest.is_file() and manifest.read_bytes().count(b"\n") >= count, within=60, what=f"{count} rows"
        )


def ran(
    *command: object, cwd: Path = PROJECT, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run any program to its end."""
    words = list(map(str, command))
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=ENOUGH, check=False)


def lines_until(process: subprocess.Popen[bytes], wanted: bytes) -> bytes:
    """Return what it says until it says this; fails where it ends before."""
    assert process.stderr is not None
    said = b""
    for line in process.stderr:
        said += line
        if wanted in line:
            return said
    raise AssertionError(said.decode())
