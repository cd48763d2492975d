"""The exit codes of ``trawl``, and the printing of summaries."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from producer.display.summary import Summary

# Exit codes beside 0 (all stored) and 1 (some failed or were refused); 70 is EX_SOFTWARE of sysexits.h.
EXIT_CODES = """Exit codes:
  0  all is stored       1  some URLs failed or were refused     2  an invalid command or setting
  3  outcomes do not add up to the lines     70  a bug in Trawlnet     130  interrupted; run it again to resume"""
BAD_USAGE, MISCOUNTED, BUG, INTERRUPTED = 2, 3, 70, 130


class Answer(int):
    """An exit code that says how the work went; it is kept even if the output could not be written."""


def terminal_width(stream: TextIO | None = None) -> int | None:
    """Return the columns of the terminal that shows a stream (standard output by default); None: no terminal does."""
    return shutil.get_terminal_size().columns if (stream or sys.stdout).isatty() else None


def print_summary(summary: Summary, options: dict[str, Any]) -> Answer:
    """Print the summary in the form that the options choose, and return the exit code."""
    import json

    if options["is_json"]:
        print(json.dumps(summary.to_record()))
    elif not options["quiet"]:
        print(summary.to_text(terminal_width()))
    return Answer(summary.exit_code if summary.is_finished else INTERRUPTED)
