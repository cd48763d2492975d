"""Keeps the details of a bug in a file, for its report."""

from __future__ import annotations

import os
import traceback
from datetime import UTC, datetime
from pathlib import Path

from producer.wiring import Producer

DETAILS = "bug-"  # followed by the time: prefix of the files


def keep_details(error: BaseException, producer: Producer) -> Path:
    """Write a traceback to a private file in our cache folder; return its path.

    Raises:
        OSError: it cannot be written.
    """
    folder = producer.cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{DETAILS}{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.txt"
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with open(file, "w", encoding="utf-8", errors="backslashreplace") as text:
        text.write("".join(traceback.format_exception(error)))
    return path
