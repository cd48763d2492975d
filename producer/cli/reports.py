"""The command that sums up a job from its manifest."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from producer.cli.exits import terminal_width
from producer.cli.options import Place
from producer.cli.translation import manifest_of


@click.command(short_help="Show how a job went: throughput, errors, hosts, the slowest.")
@click.option("-o", "--output", type=Place(), default=Path("out"), help="Folder of the job.")
@click.option("--manifest", type=Place(), help="The manifest.  [default: OUT/manifest.jsonl]")
@click.option("--html", "page", type=Place(), metavar="FILE", help="Write a page with charts there; - prints it.")
def report(output: Path, manifest: Path | None, page: Path | None) -> int:
    """Sum up a manifest, of a finished or a running job; nothing else is read.

    The page is one file that loads nothing. It shows hosts and md5 names, but no URLs.
    """
    from producer.commands.report import STANDARD_OUTPUT
    from producer.commands.report import report as report_on

    said = report_on(manifest_of({"output": output, "manifest": manifest}), page, terminal_width())
    if page == STANDARD_OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(
            said.encode()
        )  # its policy contains hashes of its bytes, so the terminal's encoding must not change them
    else:
        print(said)
    return 0
