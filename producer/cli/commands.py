"""The command ``trawl`` and its commands, in the order they are meant to be met."""

from __future__ import annotations

import os
import sys

import click

from contract import __version__
from contract.cluster.variables import hints
from producer.cli.jobs import enqueue, follow, run, set_job, status
from producer.cli.trials import compare, demo
from producer.cli.upkeep import doctor, gc


class InOrder(click.Group):
    """Lists its commands in the order they are meant to be met."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click gives it
        return list(self.commands)


@click.group(
    cls=InOrder,
    commands=[run, enqueue, follow, status, set_job, demo, compare, doctor, gc],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True},
)
@click.version_option(__version__, prog_name="trawl")
def trawl() -> None:
    """Download lists of URLs: every line ends as exactly one outcome, every body under the md5 of its URL."""
    for hint in hints(os.environ):
        print(f"trawl: {hint}", file=sys.stderr)
