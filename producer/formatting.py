"""Formats numbers, paths and foreign text for people."""

from __future__ import annotations

import os
import shutil
import unicodedata
from pathlib import Path

_LABEL = 12  # columns of a label


def count(number: float) -> str:
    """1234567 -> 1,234,567; fractions below ten keep one digit."""
    if 0 < number < 10 and number != int(number):
        return f"{number:.1f}"
    return f"{number:,.0f}"


def counted(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun: 1 line, 2 lines; ``plural`` is for those that do not end in s."""
    return f"{count(number)} {noun if number == 1 else plural or f'{noun}s'}"


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
    """A measured time with two or three digits: 0.0123 -> 12 ms, 1.234 -> 1.23 s."""
    if value is None:
        return "-"
    if value < 0.0995:
        return f"{value * 1000:.1f} ms" if value < 0.00995 else f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 9.995 else f"{value:,.1f} s"


def command(rest: str) -> str:
    """A command of ours as it can be typed here: ``trawl status``, or ``./trawl status`` if only a checkout has it."""
    script = Path(__file__).resolve().parents[1] / "trawl"
    if shutil.which("trawl") or not script.is_file():
        return f"trawl {rest}"
    from_here = os.path.relpath(script)
    return f"{script if from_here.startswith('..') else f'./{from_here}'} {rest}"


def one_line(text: str) -> str:
    """Foreign text, safe for a terminal: control characters and the like become replacement characters."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def path(name: str | os.PathLike[str]) -> str:
    """A path as valid text: bytes that are not UTF-8 become replacement characters."""
    return os.fsencode(name).decode("utf-8", "replace")


def cells(text: str) -> int:
    """The number of terminal columns that text takes; wide characters take two (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )


def fit(text: str, width: int) -> str:
    """Foreign text in exactly ``width`` columns, cut or padded."""
    shown = one_line(text)
    if cells(shown) > width:
        while shown and cells(shown) > width - 1:
            shown = shown[:-1]
        shown += "~"
    return shown + " " * max(0, width - cells(shown))


def labelled(name: str, text: str, width: int | None) -> str:
    """Foreign text beside its label; with ``width``, broken between words into lines of so many columns."""
    return hanging(f"{name + ':' if name else '':<{_LABEL}}", text, width)


def hanging(head: str, text: str, width: int | None) -> str:
    """Foreign text after ``head``; with ``width``, broken between words into lines that begin below one another."""
    if width is None:
        return head + one_line(text)
    room = max(20, width - cells(head))
    return head + ("\n" + " " * cells(head)).join(broken(text, room, is_whole=True))


def broken(text: str, width: int, *, indent: int = 0, is_whole: bool = False) -> list[str]:
    """Foreign text in lines of at most ``width`` columns, broken between words; all but the first are indented.

    A longer word is cut, unless ``is_whole``: for paths that people copy.
    """
    lines: list[str] = []
    line, left = "", width
    for word in one_line(text).split():
        if line and cells(line) + 1 + cells(word) > left:
            lines.append(line)
            line, left = "", width - indent
        line = f"{line} {word}" if line else word
        if cells(line) > left and not is_whole:  # a word that is longer than a line
            line = fit(line, left)
    lines.append(line)
    return [each if number == 0 else " " * indent + each for number, each in enumerate(lines)]
