"""Parses the dates in ``Expires=``, leniently (RFC 6265 section 5.1.1)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_TOKEN = re.compile(r"[^\x09\x20-\x2f\x3b-\x40\x5b-\x60\x7b-\x7e]+")
_TIME = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[^0-9].*)?", re.DOTALL)
_DAY = re.compile(r"([0-9]{1,2})(?:[^0-9].*)?", re.DOTALL)
_YEAR = re.compile(r"([0-9]{2,4})(?:[^0-9].*)?", re.DOTALL)


def read_date(text: str) -> float | None:
    """Return the date in Unix seconds; None if it is invalid. Each part is the first token that fits."""
    time = day = month = year = None
    for token in _TOKEN.findall(text):
        if time is None and (time := _TIME.fullmatch(token)):
            continue
        if day is None and (day := _DAY.fullmatch(token)):
            continue
        if month is None and token[:3].lower() in _MONTHS:
            month = _MONTHS.index(token[:3].lower()) + 1
            continue
        if year is None:
            year = _YEAR.fullmatch(token)
    if time is None or day is None or month is None or year is None:
        return None
    try:
        hour, minute, second = map(int, time.groups())
        moment = datetime(_full(int(year[1])), month, int(day[1]), hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return moment.timestamp() if moment.year >= 1601 else None


def _full(year: int) -> int:
    """Two digits mean 1970 to 2069."""
    return year + (1900 if 70 <= year <= 99 else 2000 if year <= 69 else 0)
