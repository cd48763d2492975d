"""What the environment makes Python do that no command and no worker may end of."""

from __future__ import annotations

import sys
import warnings


def print_warnings() -> None:
    """Print warnings where PYTHONWARNINGS or -W would make them errors: a library's hint is no reason to end.

    Celery warns whoever starts it as root, for one.
    """
    actions = [option.partition(":")[0].strip() for option in sys.warnoptions]
    if any(action and "error".startswith(action) for action in actions):  # CPython 3.11 warnings.py, _getaction
        warnings.simplefilter("default")
