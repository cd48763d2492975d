"""The command that shows how a job went, from its manifest alone."""

from __future__ import annotations

from pathlib import Path

import click

from producer.cli.options import Place
from producer.cli.translation import manifest_of


@click.command(short_help="Show how a job went: throughput, errors, hosts, the slowest.")
@click.option("-o", "--output", type=Place(), default=Path("out"), help="Folder of the job.")
@click.option("--manifest", type=Place(), help="The manifest.  [default: OUT/manifest.jsonl]")
@click.option("--html", "page", type=Place(), metavar="FILE", help="Write a page with charts there.")
def report(output: Path, manifest: Path | None, page: Path | None) -> int:
    """Show what a manifest adds up to, of a job that is over or still runs; nothing else is looked at.

    The page is one file that loads nothing. It shows hosts and md5 names, no URLs.
    """
    from producer.commands.report import report as report_on

    print(report_on(manifest_of({"output": output, "manifest": manifest}), page))
    return 0
