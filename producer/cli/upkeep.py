"""The commands that check what jobs depend on and remove what they leave behind."""

from __future__ import annotations

from pathlib import Path

import click

from producer.cli.exits import BAD_USAGE, Answer, terminal_width
from producer.cli.options import Days, Place


@click.command(short_help="Check what a job depends on.")
@click.option("-o", "--output", type=Place(), default=Path("out"), help="Folder jobs will write to.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def doctor(output: Path, is_json: bool) -> int:
    """Look at broker, Redis, workers and this machine, and say what to do."""
    import json

    from producer.commands.doctor import SETTINGS, Verdict, examine
    from producer.wiring import Producer

    code = 0
    found = []
    for finding in examine(output, Producer()):
        found.append({"verdict": finding.verdict, "subject": finding.subject, "found": finding.found})
        if not is_json:
            print(finding.to_text(terminal_width()), flush=True)
        if finding.verdict is Verdict.BROKEN:
            code = BAD_USAGE if finding.subject == SETTINGS else max(code, 1)
    if is_json:
        print(json.dumps(found))
    elif any(each["verdict"] is not Verdict.FINE for each in found):
        print("What went wrong and what to do: docs/troubleshooting.md")
    return Answer(code)


@click.command(short_help="Remove old jobs from Redis, or partial bodies and old manifests from a folder.")
@click.argument("jobs", nargs=-1, metavar="[JOB...]")
@click.option("--older-than", type=Days(min=0), metavar="DAYS", help="Remove unfinished jobs older than this too.")
@click.option(
    "-o",
    "--output",
    type=Place(exists=True, file_okay=False),
    metavar="FOLDER",
    help="Clean up this folder instead of Redis: partial bodies that no run has resumed for 30 days (or --older-than),"
    " and manifests as old as that, of earlier jobs whose files all have rows in later ones.",
)
@click.option("--force", is_flag=True, help="Remove the named jobs even if batches are open.")
def gc(jobs: tuple[str, ...], older_than: float | None, output: Path | None, force: bool) -> int:
    """Remove JOBs from Redis; without any, those that are finished and collected."""
    from producer.commands.housekeeping import (
        remove_abandoned_partials,
        remove_jobs,
        remove_old_manifests,
        remove_stale_cache,
    )
    from producer.formatting import counted, size
    from producer.wiring import Producer

    days = 30.0 if older_than is None else older_than
    if output is not None:
        if jobs:
            raise click.UsageError("Name jobs or a folder, not both.")
        old = remove_old_manifests(output, days)  # first: it refuses a folder in which a job is at work
        removed = remove_abandoned_partials(output, days)
        print(f"removed {counted(removed.files, 'partial body', 'partial bodies')}, {size(removed.bytes)}")
        if old.files:
            print(f"removed {counted(old.files, 'earlier manifest')}, {size(old.bytes)}")
        return Answer(0)
    gone, messages = remove_jobs(jobs, older_than, Producer(), is_forced=force)
    for job in gone:
        print(f"removed job {job}")
    if messages:
        print(f"removed {counted(messages, 'message')} of finished jobs")
    for path in remove_stale_cache(Producer(), days):
        print(f"removed {path}")
    return Answer(0)
