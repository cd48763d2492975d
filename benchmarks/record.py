"""What is kept of a race: machine, versions, command lines, every turn, the table and a plot."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import ours, plot
from benchmarks.corpora import Row
from benchmarks.rounds import Turn


def machine() -> dict[str, str]:
    """Describe where the race was run."""
    cpu = re.search(r"model name\s*:\s*(.+)", _text("/proc/cpuinfo"))
    memory = re.search(r"MemTotal:\s*(\d+)", _text("/proc/meminfo"))
    system = re.search(r'PRETTY_NAME="(.+)"', _text("/etc/os-release"))
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory[1]) / 1e6:.0f} GB" if memory else "",
        "system": system[1] if system else platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def machine_name(described: Mapping[str, str]) -> str:
    """Return a short name for file names: ``2x-amd-epyc``."""
    cpu = re.sub(r"[^a-z0-9]+", "-", described["cpu"].lower()).strip("-")[:24]
    return f"{described['cores']}x-{cpu}".strip("-")


def command_lines(turns: Sequence[Turn]) -> dict[str, str]:
    """Return the command each client ran on each row, so that anyone can repeat it."""
    return {f"{turn.row} {turn.client}": turn.command for turn in turns}


def write(
    results: Path,
    rows: Sequence[Row],
    turns: Sequence[Turn],
    *,
    versions: Mapping[str, str],
    skipped: Mapping[str, str],
    markdown: str,
    work: Path,
) -> list[Path]:
    """Write ``<date>-<machine>`` as .json, .md and .svg, and return their paths."""
    described = machine()
    now = datetime.now(UTC)
    stem = f"{now:%Y-%m-%d}-{machine_name(described)}"
    results.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {
        "taken": now.isoformat(timespec="seconds"),
        "revision": _revision(),
        "machine": described,
        "written_to": _file_system(work.parent),
        "versions": dict(versions),
        "commands": command_lines(turns),
        "not_run": dict(skipped),
        "rows": [asdict(row) for row in rows],
        "turns": [_without_command(turn) for turn in turns],
    }
    title = f"# Benchmark of {now:%Y-%m-%d}"
    where = ", ".join(f"{name} {value}" for name, value in described.items() if value)
    about = f"{where}; files on {found['written_to']}; revision {found['revision']}. {noise(turns)}"
    programs = "\n".join(f"- {name}: {version}" for name, version in versions.items())
    absent = "\n".join(f"- {name}: {reason}" for name, reason in skipped.items())
    page = "\n\n".join(
        [
            title,
            about,
            f"![rates]({stem}.svg)",
            markdown.strip(),
            "Versions:",
            programs,
            *(["Not run:", absent] if absent else []),
        ]
    )
    paths = [results / f"{stem}{suffix}" for suffix in (".json", ".md", ".svg")]
    for path, text in zip(
        paths, (json.dumps(found, indent=1), page + "\n", plot.bars(rows, turns, ours=ours.NAMES)), strict=True
    ):
        path.write_text(text, "utf-8")
    return paths


def noise(turns: Sequence[Turn]) -> str:
    """Say how much of the machine others used while the clients ran."""
    cores = os.cpu_count() or 1
    shares = [turn.foreign_cpu / (turn.wall * cores) for turn in turns if turn.wall > 0.5]
    if not shares:
        return "Every turn was too short to tell what others used of the machine meanwhile."
    return f"Others used {median(shares):.0%} of the machine in the median turn, {max(shares):.0%} in the worst."


def _without_command(turn: Turn) -> dict[str, Any]:
    return {name: value for name, value in asdict(turn).items() if name != "command"}


def _revision() -> str:
    asked = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _file_system(folder: Path) -> str:
    """Return the type of the file system a folder is on."""
    best, kind = "", "unknown"
    for line in _text("/proc/mounts").splitlines():
        _, point, named, *_ = line.split()
        inside = str(folder) == point or str(folder).startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, named
    return kind


def _text(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""
