"""``trawl report``: what the manifest of a job says, as text or as one page."""

from __future__ import annotations

import os
from pathlib import Path

from contract.errors import FolderError
from producer.formatting import path as shown
from producer.job_report.figures import Figures
from producer.job_report.page import BEGINNING, page_of
from producer.job_report.rows import read_rows
from producer.job_report.text import text_of
from producer.storage.manifest import read_lines
from producer.storage.regular import open_regular

#: A page named so is not written: it is what ``report`` returns.
STANDARD_OUTPUT = Path("-")


def report(manifest: Path, page: Path | None) -> str:
    """Return a report as text; with ``page``, write it there as HTML and return where it is.

    Raises:
        FolderError: there is no manifest, or something that is no report lies where the page is to go.
    """
    if page is not None and page != STANDARD_OUTPUT:
        _look_at(page)
    figures = Figures()
    figures.add(read_rows(read_lines(manifest)))
    if page is None:
        return text_of(figures)
    text = page_of(figures, shown(manifest.absolute().parent.name or manifest.name))
    if page == STANDARD_OUTPUT:
        return text
    _write(page, text)
    return shown(page)


def _look_at(page: Path) -> None:
    """Make sure that a page may be written there: nothing lies there, or an earlier one."""
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
    """Replace what lies there in one step: who looks at it meanwhile sees the old page or the new one."""
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
    return FolderError(f"The report {page} cannot be written: {(error.strerror or 'unknown').lower()}.")
