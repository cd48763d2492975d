"""The commands for trying Trawlnet: a demonstration that checks itself, and a comparison of ways to fetch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from producer.cli.exits import Answer, print_summary
from producer.cli.options import InGroups, Place, at_least_one, policy_options, shown_options, worker_options
from producer.cli.translation import console_of, policy_of, processes_of, worker_of


@click.command(cls=InGroups, short_help="Try it out on a local web server.")
@click.option("-o", "--output", type=Place(), default=Path("trawl-demo"), help="Folder for the list and the files.")
@worker_options
@click.option("--flower", is_flag=True, help="Show the tasks in Flower while it runs.")
@click.option("--flower-port", type=click.IntRange(1, 65535), default=5555, help="Its port on loopback.")
@shown_options
def demo(output: Path, **options: Any) -> int:
    """Download a few hundred files from a local web server, and check them."""
    from producer.commands.demo import demo as run_demo
    from producer.commands.demo import faults
    from producer.formatting import command
    from producer.wiring import Producer

    summary = run_demo(output, worker_of(options), Producer(), console_of(options))
    code = print_summary(summary, options)
    if not summary.is_finished:
        return code
    found = faults(output, summary)
    for fault in found:
        print(f"trawl demo: {fault}.", file=sys.stderr)
    if not found and not options["is_json"] and not options["quiet"]:
        print("Every file was compared with what the server sent; every failure was intended.")
        print(f"Now with a list of your own: {command('run urls.txt -o out')}")
    return Answer(1 if found else 0)


@click.command(cls=InGroups, short_help="One after another, on threads, on processes: compare.")
@click.argument("lists", nargs=-1, metavar="[LIST...]")
@click.option("--demo", "is_demo", is_flag=True, help="Compare on 200 URLs of a local web server, 50 ms each.")
@click.option("--processes", type=at_least_one, help="Processes of the last two ways.  [default: one per core]")
@click.option("--threads", type=at_least_one, default=16, help="Threads per process.")
@policy_options
@shown_options
def compare(lists: tuple[str, ...], **options: Any) -> int:
    """Fetch each LIST one after another, on threads, and on processes and threads; compare the times."""
    import json
    from contextlib import nullcontext

    from producer.commands.compare import DEMO_LATENCY, demo_list, to_records, to_text, ways
    from producer.commands.compare import compare as compare_ways
    from producer.wiring import Producer

    if bool(lists) == options["is_demo"]:
        raise click.UsageError("Name a list, or --demo.")
    source = demo_list() if options["is_demo"] else nullcontext((lists, policy_of(options)))
    chosen = ways(processes_of(options), options["threads"])
    with source as (names, policy):
        measured = compare_ways(names, policy, chosen, Producer(), console_of(options))
    if options["is_json"]:
        print(json.dumps(to_records(measured)))
    elif not options["quiet"]:
        print(to_text(measured, latency=DEMO_LATENCY if options["is_demo"] else None))
    return max(each.summary.exit_code for each in measured)
