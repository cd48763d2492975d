"""The command ``trawl``: run it, and the exit code tells how it went.

Everything beyond click is imported by the command that needs it, so that ``trawl --help`` is there at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper

import click

from contract.errors import AccountingError, TrawlError
from contract.interpreter import print_warnings
from producer.cli.commands import trawl
from producer.cli.exits import BAD_USAGE, BUG, INTERRUPTED, MISCOUNTED

__all__ = ["exit_code", "main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    print_warnings()
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # paths may hold what the terminal cannot show
    sys.exit(exit_code(arguments))


def exit_code(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; what a person did wrong is one sentence on standard error."""
    try:
        answer = trawl.main(args=arguments, prog_name="trawl", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except AccountingError as error:
        print(f"trawl: {error}", file=sys.stderr)
        return MISCOUNTED
    except TrawlError as error:
        print(f"trawl: {error}", file=sys.stderr)
        return BAD_USAGE
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not complain about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:
        print(f"trawl: {_report_bug(error)}", file=sys.stderr)
        return BUG
    return answer if isinstance(answer, int) else 0


def _report_bug(error: Exception) -> str:
    """Keep the traceback where the sentence returned says."""
    from producer.commands.housekeeping import keep_details

    bug = f"This is a bug of Trawlnet ({type(error).__name__})."
    try:
        return f"{bug} The details are in {keep_details(error, os.environ)}."
    except (OSError, TrawlError):
        import traceback

        traceback.print_exception(error)
        return f"{bug} The details are above."
