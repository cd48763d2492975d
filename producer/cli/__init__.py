"""The entry point of ``trawl``: runs a command and maps its result or error to an exit code.

Commands import what they need themselves, so that ``trawl --help`` imports nothing but click.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Sequence

import click

from contract.errors import AccountingError, TrawlError, UnknownJobError
from contract.interpreter import print_warnings
from contract.streams import Outlet, harden
from producer.cli.commands import trawl
from producer.cli.exits import BAD_USAGE, BUG, INTERRUPTED, MISCOUNTED, Answer, terminal_width

__all__ = ["exit_code", "main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    print_warnings()
    output = harden()
    sys.exit(_settled(exit_code(arguments), output))


def exit_code(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; a user's mistake is one sentence on standard error."""
    try:
        answer = trawl.main(args=arguments, prog_name="trawl", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except AccountingError as error:
        _say(str(error))
        return MISCOUNTED
    except UnknownJobError as error:
        from producer.formatting import command

        _say(f"{error} `{command('status')}` lists the jobs.")
        return BAD_USAGE
    except TrawlError as error:
        _say(str(error))
        return BAD_USAGE
    except Exception as error:
        print(f"trawl: {_report_bug(error)}", file=sys.stderr)
        return BUG
    return answer if isinstance(answer, int) else 0


def _say(sentences: str) -> None:
    """Print sentences that may quote foreign text, without its control characters."""
    from producer.formatting import hanging

    print(hanging("trawl: ", sentences, terminal_width(sys.stderr)), file=sys.stderr)


def _settled(code: int, output: Outlet) -> int:
    """Report that output was lost, unless the reader closed the pipe; return the exit code."""
    sys.stdout.flush()
    if output.fault is None or output.fault.errno == errno.EPIPE:
        return code
    reason = (output.fault.strerror or str(output.fault)).lower()
    print(f"trawl: Standard output could not be written: {reason}.", file=sys.stderr)
    return code if isinstance(code, Answer) else code or 1


def _report_bug(error: Exception) -> str:
    """Store the traceback and return a sentence that says where."""
    from producer.commands.bug_details import keep_details
    from producer.wiring import Producer

    bug = f"This is a bug in Trawlnet ({type(error).__name__})."
    try:
        return f"{bug} The details are in {keep_details(error, Producer())}."
    except (OSError, TrawlError):
        import traceback

        traceback.print_exception(error)
        return f"{bug} The details are above."
