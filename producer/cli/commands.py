"""The group ``trawl`` and its commands, in the order of its help."""

from __future__ import annotations

import os
import sys

import click

from contract import __version__
from contract.cluster.variables import hints
from producer.cli.control import cancel, pause, resume, set_job
from producer.cli.doors import flower, show_metrics, worker
from producer.cli.exits import EXIT_CODES
from producer.cli.jobs import enqueue, follow, run, status
from producer.cli.reports import report
from producer.cli.trials import compare, demo
from producer.cli.upkeep import doctor, gc

SECTIONS: dict[str, list[click.Command]] = {
    "Jobs": [run, enqueue, follow, status, pause, resume, cancel, set_job, report],
    "Cluster": [worker, flower, show_metrics],
    "Trials": [demo, compare],
    "Upkeep": [doctor, gc],
}

_EPILOG = f"""\b
Examples:
  trawl demo                                     a few hundred files from a local web server
  trawl run urls.txt -o out                      on this machine; run it again to resume
  TRAWL_BROKER_URL=redis://host/0 trawl worker   join a cluster; there `trawl run` uses its workers
  trawl doctor                                   what is missing here, and what to do

\b
{EXIT_CODES}

What went wrong and what to do: docs/troubleshooting.md"""


class Sections(click.Group):
    """Lists its commands in sections, in the given order."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click gives it
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002  # the same
        width = max(len(name) for name in self.commands)
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                shown = [(f"{command.name:<{width}}", command.get_short_help_str(90)) for command in commands]
                formatter.write_dl(shown)


@click.group(
    cls=Sections,
    commands=[command for commands in SECTIONS.values() for command in commands],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True},
    epilog=_EPILOG,
)
@click.version_option(__version__, prog_name="trawl")
def trawl() -> None:
    """Download lists of URLs: every line ends as exactly one outcome, every body under the md5 of its URL."""
    for hint in hints(os.environ):
        print(f"trawl: {hint}", file=sys.stderr)
