"""Numbers and paths as people read them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def count(number: float) -> str:
    """1234567 -> 1,234,567; fractions below ten keep one digit."""
    if 0 < number < 10 and number != int(number):
        return f"{number:.1f}"
    return f"{number:,.0f}"


def size(number: float) -> str:
    """Bytes in powers of 1000: 1234567 -> 1.2 MB."""
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if number < 999.5 or unit == "TB":
            return f"{number:.0f} {unit}" if unit == "B" or number >= 99.5 else f"{number:.1f} {unit}"
        number /= 1000
    raise AssertionError("unreachable")


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss, or m:ss below an hour."""
    whole = int(seconds + 0.5)
    hours, minutes, left = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def seconds(value: float | None) -> str:
    """A measured time with the precision it deserves: 0.0123 -> 12 ms, 1.234 -> 1.23 s."""
    if value is None:
        return "-"
    if value < 0.0995:
        return f"{value * 1000:.1f} ms" if value < 0.00995 else f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 9.995 else f"{value:,.1f} s"


def command(rest: str) -> str:
    """Our command as it can be typed here: ``trawl status``, or ``./trawl status`` where only a checkout has it."""
    script = Path(__file__).resolve().parents[1] / "trawl"
    if shutil.which("trawl") or not script.is_file():
        return f"trawl {rest}"
    from_here = os.path.relpath(script)
    return f"{script if from_here.startswith('..') else f'./{from_here}'} {rest}"


def one_line(text: str) -> str:
    """Text of others as a terminal may show it: characters that steer one become replacement characters."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def path(name: str | os.PathLike[str]) -> str:
    """A path as valid text: bytes that are not UTF-8 become replacement characters."""
    return os.fsencode(name).decode("utf-8", "replace")
