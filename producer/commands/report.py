"""``trawl report``: sums up a manifest, as text or as an HTML page."""

from __future__ import annotations

import os
from pathlib import Path

from contract.errors import FolderError
from contract.named_files import in_words
from producer.formatting import path as shown
from producer.job_report.figures import Figures
from producer.job_report.page import BEGINNING, page_of
from producer.job_report.rows import read_rows
from producer.job_report.text import text_of
from producer.storage.manifest import read_lines
from producer.storage.regular import open_regular

#: With this as its path, the page is returned rather than written.
STANDARD_OUTPUT = Path("-")


def report(manifest: Path, page: Path | None, width: int | None = None) -> str:
    """Return a report as text, its sentences broken at ``width`` columns; with ``page``, write it there as HTML and
    return the path.

    Raises:
        FolderError: there is no manifest, or ``page`` exists and is not a report.
    """
    if page is not None and page != STANDARD_OUTPUT:
        _look_at(page)
    figures = Figures()
    figures.add(read_rows(read_lines(manifest)))
    if page is None:
        return text_of(figures, width)
    text = page_of(figures, shown(manifest.absolute().parent.name or manifest.name))
    if page == STANDARD_OUTPUT:
        return text
    _write(page, text)
    return shown(page)


def _look_at(page: Path) -> None:
    """Make sure that the path is free, or that it is an earlier report."""
    try:
        file = open_regular(page, os.O_RDONLY, subject=f"The report {page}")
    except FileNotFoundError:
        return
    except OSError as error:
        raise _cannot_be_written(page, error) from None
    try:
        head = os.pread(file, len(BEGINNING), 0)
    finally:
        os.close(file)
    if head not in (b"", BEGINNING.encode()):
        raise FolderError(f"{page} is not a Trawlnet report and was left alone; name another file with --html.")


def _write(page: Path, text: str) -> None:
    """Replace the page atomically: readers see the old one or the new one."""
    draft = page.with_name(f".{page.name}.{os.getpid()}")
    try:
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            with os.fdopen(file, "wb") as written:
                written.write(text.encode())
            os.replace(draft, page)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _cannot_be_written(page, error) from None


def _cannot_be_written(page: Path, error: OSError) -> FolderError:
    return FolderError(f"The report {page} cannot be written: {in_words(error)}.")
