"""Keeps Python's environment variables from ending a command or worker."""

from __future__ import annotations

import sys
import warnings


def print_warnings() -> None:
    """Print warnings that PYTHONWARNINGS or -W would turn into errors.

    A library's hint must not end a process; Celery, for example, warns when it runs as root.
    """
    actions = [option.partition(":")[0].strip() for option in sys.warnoptions]
    if any(action and "error".startswith(action) for action in actions):  # CPython 3.11 warnings.py, _getaction
        warnings.simplefilter("default")
