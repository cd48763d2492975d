"""The commands of a job's life: run it, enqueue it, follow it, show its status."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from producer.cli.exits import EXIT_CODES, INTERRUPTED, print_summary, terminal_width
from producer.cli.options import (
    InGroups,
    Place,
    batch_size_option,
    group,
    output_options,
    policy_options,
    shown_options,
    worker_options,
)
from producer.cli.translation import console_of, manifest_of, secrets_of, spec_of, worker_of

_RUN_EXAMPLES = f"""\b
Examples:
  trawl run urls.txt -o out                            run it again to resume, or to fetch what failed
  cut -d, -f2 table.csv | trawl run - -o out           a column of a table
  trawl run urls.txt -o out --allow-net 10.0.0.0/8     servers of a private network
  trawl run urls.txt -o out --per-host 4               polite
  trawl run urls.txt -o out --flower                   watch it in a browser
  trawl run urls.txt -o out --header @headers.txt      a line in it: example.com Authorization: Bearer TOKEN

\b
{EXIT_CODES}
"""

_ENQUEUE_EXAMPLES = """\b
Examples:
  JOB=$(trawl enqueue urls.txt) && trawl follow $JOB -o out
  trawl enqueue urls.txt --json                        the job and its totals, for a script

\b
Exit codes: 0 all sent, 2 a mistake, 70 a bug, 130 interrupted; the same command sends the rest.
"""


@click.command(cls=InGroups, short_help="Download lists of URLs.", epilog=_RUN_EXAMPLES)
@click.argument("lists", nargs=-1, required=True, metavar="LIST...")
@output_options
@worker_options
@batch_size_option
@policy_options
@group(
    "Which URLs",
    click.option("--force", is_flag=True, help="Fetch files again even if they are complete."),
    click.option("--fresh", is_flag=True, help="Start over, even if a job is unfinished in the folder."),
)
@group(
    "What is shown",
    click.option("--flower", is_flag=True, help="Show the tasks in Flower while it runs."),
    click.option("--flower-port", type=click.IntRange(1, 65535), default=5555, help="Its port on loopback."),
)
@shown_options
def run(lists: tuple[str, ...], **options: Any) -> int:
    """Download the URLs of each LIST (a file, or - for standard input; one URL per line).

    If TRAWL_BROKER_URL or CELERY_BROKER_URL is set, that cluster's workers fetch them; otherwise the command starts
    its own server and worker, and stops them at the end. To resume an interrupted run, run the same command again.
    """
    from producer.commands.preparation import RunOptions, prepared
    from producer.wiring import Producer

    output: Path = options["output"]
    manifest = manifest_of(options)
    console = console_of(options)
    wanted = RunOptions(
        spec=spec_of(lists, options, manifest),
        output=output,
        manifest=manifest,
        worker=worker_of(options),
        batch_size=options["batch_size"],
        secrets=secrets_of(options),
    )
    with prepared(wanted, Producer(), console) as ready:
        from producer.commands.run import carry_out  # it takes a while, during which the worker starts

        summary = carry_out(ready, console)
    return print_summary(summary, options)


@click.command(cls=InGroups, short_help="Send lists to a cluster and print the job id.", epilog=_ENQUEUE_EXAMPLES)
@click.argument("lists", nargs=-1, required=True, metavar="LIST...")
@batch_size_option
@policy_options
@group(
    "Which URLs", click.option("--fresh", is_flag=True, help="Start over, even if the same command was interrupted.")
)
@group(
    "What is shown",
    click.option("--json", "is_json", is_flag=True, help="Print the job and its totals as JSON."),
    click.option("--quiet", "-q", is_flag=True, help="Print the job id only."),
)
def enqueue(lists: tuple[str, ...], **options: Any) -> int:
    """Send each LIST to the cluster's workers and print the job id; `trawl follow` collects the outcomes."""
    import json

    from producer.commands.run import enqueue as enqueue_lists
    from producer.formatting import command
    from producer.wiring import Producer

    summary = enqueue_lists(
        spec_of(lists, options, None),
        Producer(),
        console_of(options),
        batch_size=options["batch_size"],
        secrets=secrets_of(options),
    )
    if options["is_json"]:
        print(json.dumps({"job": summary.job, "sealed": summary.is_finished, **summary.totals}))
    elif summary.is_cancelled:
        print(f"trawl: Job {summary.job} was cancelled while it was enqueued.", file=sys.stderr)
    elif summary.is_finished:
        print(summary.job)
        if not options["quiet"] and sys.stderr.isatty():
            print(f"Collect its outcomes with: {command(f'follow {summary.job} -o out')}", file=sys.stderr)
    if not summary.is_finished:
        return INTERRUPTED
    return 1 if summary.is_cancelled else 0


@click.command(cls=InGroups, short_help="Collect a job's outcomes in a manifest.")
@click.argument("job")
@output_options
@shown_options
def follow(job: str, **options: Any) -> int:
    """Write the outcomes of JOB to a manifest until it is finished."""
    from producer.commands.run import follow as follow_job
    from producer.wiring import Producer

    manifest = manifest_of(options)
    return print_summary(follow_job(job, options["output"], manifest, Producer(), console_of(options)), options)


@click.command(short_help="Show the status of jobs, and what holds them up.")
@click.argument("job", required=False)
@click.option("-o", "--output", type=Place(), metavar="OUT", help="The job that runs in this folder.")
@click.option("--watch", "-w", is_flag=True, help="Show it until it is finished, or Ctrl-C.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON; with --watch, a line every few seconds.")
def status(job: str | None, output: Path | None, watch: bool, is_json: bool) -> int:
    """Show the status of JOB or of the job in a folder, or list the jobs of the cluster; changes nothing."""
    from producer.commands.status import Target, show_status, watch_status
    from producer.wiring import Producer

    if job and output is not None:
        raise click.UsageError("Name a job or a folder, not both.")
    target = Target(job, output)
    if watch:
        from producer.display.console import Console

        watch_status(target, Producer(), Console(stream=sys.stdout, is_json=is_json))
        return 0
    print(show_status(target, Producer(), is_json=is_json, width=terminal_width()))
    return 0
