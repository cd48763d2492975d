"""The command ``trawl``: its commands and options, and the exit code that tells how it went.

Everything beyond click is imported by the command that needs it, so that ``trawl --help`` is there at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from contract import __version__
from contract.errors import AccountingError, TrawlError
from contract.settings import size

if TYPE_CHECKING:
    from contract.policy import JobPolicy
    from producer.console import Console
    from producer.plan import Wish
    from producer.run import WorkerOptions
    from producer.summary import Summary

# Exit codes beside 0 (all stored) and 1 (some failed or were refused); 70 is EX_SOFTWARE of sysexits.h.
BAD_USAGE, MISCOUNTED, BUG, INTERRUPTED = 2, 3, 70, 130

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
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
    from producer.housekeeping import keep_details

    bug = f"This is a bug of Trawlnet ({type(error).__name__})."
    try:
        return f"{bug} The details are in {keep_details(error, os.environ)}."
    except OSError:
        import traceback

        traceback.print_exception(error)
        return f"{bug} The details are above."


class Size(click.ParamType[int]):
    """A size in bytes, such as 500M."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def combined(*options: Callable[[Any], Any]) -> Callable[[Decorated], Decorated]:
    """Return one decorator for several options, shown in the order given."""

    def decorate(command: Decorated) -> Decorated:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


at_least_one = click.IntRange(min=1)
positive = click.FloatRange(min=0, min_open=True)

policy_options = combined(
    click.option("--allow-net", multiple=True, metavar="CIDR", help="Allow a private network (repeatable)."),
    click.option("--deny-net", multiple=True, metavar="CIDR", help="Refuse a network (repeatable)."),
    click.option("--timeout", type=positive, default=300.0, help="Seconds one URL may take in all."),
    click.option("--max-size", type=Size(), default="10G", help="Largest body."),
    click.option("--attempts", type=at_least_one, default=4, help="Times a URL is tried."),
    click.option(
        "--per-host", type=click.IntRange(min=0), default=0, help="Transfers at once to one host, per process."
    ),
    click.option(
        "--layout", type=click.Choice(["flat", "sharded"]), default="flat", help="OUT/<md5>, or OUT/ab/cd/<md5>."
    ),
    click.option(
        "--digest",
        type=click.Choice(["sha256", "blake3", "xxh3", "none"]),
        default="sha256",
        help="Content digest kept in the manifest.",
    ),
    click.option(
        "--sync",
        type=click.Choice(["none", "batch", "file"]),
        default="batch",
        help="When files must have reached the disk.",
    ),
    click.option("--splits", type=at_least_one, default=1, help="Ranges fetched at once of one large file."),
    click.option("--resume", is_flag=True, help="Go on with partial files of interrupted transfers."),
    click.option(
        "--header",
        multiple=True,
        metavar="'HOST NAME: VALUE'",
        help="Request header for one host over https; write http://HOST to send it unencrypted (repeatable).",
    ),
    click.option("--netrc", type=click.Path(dir_okay=False), help="File with logins per host, likewise; mode 600."),
    click.option("--user-agent", default="trawlnet", help="What we call ourselves."),
    click.option("--http3", is_flag=True, help="Use HTTP/3 where offered."),
    click.option("--ipv4", is_flag=True, help="Use IPv4 only."),
)

worker_options = combined(
    click.option("--processes", type=at_least_one, help="Worker processes.  [default: one per core]"),
    click.option("--threads", type=at_least_one, default=1, envvar="TRAWL_LANES", help="Lanes per process."),
    click.option(
        "--transfers", type=at_least_one, default=64, envvar="TRAWL_TRANSFERS", help="Transfers in flight per process."
    ),
    click.option(
        "--drain",
        type=click.FloatRange(min=0),
        default=10.0,
        envvar="TRAWL_DRAIN",
        help="Seconds for transfers in flight when stopped.",
    ),
    click.option("--min-free", type=Size(), default="64M", envvar="TRAWL_MIN_FREE", help="Space to leave on the disk."),
)

output_options = combined(
    click.option(
        "-o", "--output", type=click.Path(path_type=Path), default=Path("out"), help="Folder for files and manifest."
    ),
    click.option("--manifest", type=click.Path(path_type=Path), help="The manifest.  [default: OUT/manifest.jsonl]"),
)

shown_options = combined(
    click.option("--json", "is_json", is_flag=True, help="Print the summary as JSON."),
    click.option("--quiet", "-q", is_flag=True, help="No progress and no summary."),
)

batch_size_option = click.option(
    "--batch-size", type=click.IntRange(1, 100_000), default=500, help="URLs per Celery task."
)


class InOrder(click.Group):
    """Lists its commands in the order they are meant to be met."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click gives it
        return list(self.commands)


@click.group(
    cls=InOrder,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True},
)
@click.version_option(__version__, prog_name="trawl")
def trawl() -> None:
    """Download lists of URLs: every line ends as exactly one outcome, every body under the md5 of its URL."""


@trawl.command(short_help="Download lists of URLs.")
@click.argument("lists", nargs=-1, required=True, metavar="LIST...")
@output_options
@worker_options
@batch_size_option
@policy_options
@click.option("--force", is_flag=True, help="Fetch again what is complete already.")
@click.option("--fresh", is_flag=True, help="Start over, even if a job is unfinished in the folder.")
@click.option("--flower", is_flag=True, help="Show the tasks in Flower while it runs.")
@click.option("--flower-port", type=click.IntRange(1, 65535), default=5555, help="Its port on loopback.")
@shown_options
def run(lists: tuple[str, ...], **options: Any) -> int:
    """Download the URLs of each LIST (a file, or - for standard input; one URL per line).

    With TRAWL_BROKER_URL or CELERY_BROKER_URL set, the workers of that cluster do it; else a server and a worker
    are started here for as long as it takes. Run the same command again to go on with what was interrupted.
    """
    from producer.run import RunOptions
    from producer.run import run as run_lists

    output: Path = options["output"]
    manifest = _manifest_of(options)
    console = _console(options)
    summary = run_lists(
        RunOptions(
            wish=_wish(lists, options, manifest),
            output=output,
            manifest=manifest,
            worker=_worker(options),
            batch_size=options["batch_size"],
            secrets=_secrets(options),
        ),
        os.environ,
        console,
    )
    return _tell(summary, options)


@trawl.command(short_help="Send lists to a cluster and print the job id.")
@click.argument("lists", nargs=-1, required=True, metavar="LIST...")
@batch_size_option
@policy_options
@click.option("--fresh", is_flag=True, help="Start over, even if the same command was interrupted.")
@click.option("--json", "is_json", is_flag=True, help="Print the job and its totals as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="Print the job id only.")
def enqueue(lists: tuple[str, ...], **options: Any) -> int:
    """Send each LIST to the cluster's workers and print the job id; `trawl follow` collects the outcomes."""
    import json

    from producer.run import enqueue as enqueue_lists

    summary = enqueue_lists(
        _wish(lists, options, None),
        os.environ,
        _console(options),
        batch_size=options["batch_size"],
        secrets=_secrets(options),
    )
    if options["is_json"]:
        print(json.dumps({"job": summary.job, "sealed": summary.is_finished, **summary.totals}))
    elif summary.is_finished:
        print(summary.job)
        if not options["quiet"] and sys.stderr.isatty():
            print(f"Collect its outcomes with: trawl follow {summary.job} -o out", file=sys.stderr)
    return 0 if summary.is_finished else INTERRUPTED


@trawl.command(short_help="Collect a job's outcomes in a manifest.")
@click.argument("job")
@output_options
@shown_options
def follow(job: str, **options: Any) -> int:
    """Write the outcomes of JOB to a manifest until it is finished."""
    from producer.run import follow as follow_job

    manifest = _manifest_of(options)
    return _tell(follow_job(job, options["output"], manifest, os.environ, _console(options)), options)


@trawl.command(short_help="Show how jobs stand.")
@click.argument("job", required=False)
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def status(job: str | None, is_json: bool) -> int:
    """Show how JOB stands, or list the jobs of the cluster."""
    from producer.status import show_status

    print(show_status(job, os.environ, is_json=is_json))
    return 0


@trawl.command(short_help="Run the main job on a web server of its own.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("trawl-demo"))
@worker_options
@click.option("--flower", is_flag=True, help="Show the tasks in Flower while it runs.")
@click.option("--flower-port", type=click.IntRange(1, 65535), default=5555)
@shown_options
def demo(output: Path, **options: Any) -> int:
    """Download some hundred files from a web server of its own, and check them."""
    from producer.demo import demo as run_demo
    from producer.demo import faults

    summary = run_demo(output, _worker(options), os.environ, _console(options))
    code = _tell(summary, options)
    if not summary.is_finished:
        return code
    found = faults(output, summary)
    for fault in found:
        print(f"trawl demo: {fault}.", file=sys.stderr)
    if not found and not options["is_json"] and not options["quiet"]:
        print("Every file was compared with what the server sent, and every failure was one made on purpose.")
        print("Now with a list of your own: trawl run urls.txt -o out")
    return 1 if found else 0


@trawl.command(short_help="One after another, on threads, on processes: compare.")
@click.argument("lists", nargs=-1, metavar="[LIST...]")
@click.option("--demo", "is_demo", is_flag=True, help="Compare on 200 URLs of a web server of its own, 50 ms each.")
@click.option("--processes", type=at_least_one, help="Processes of the last ways.  [default: one per core]")
@click.option("--threads", type=at_least_one, default=16, help="Threads per process.")
@policy_options
@shown_options
def compare(lists: tuple[str, ...], **options: Any) -> int:
    """Fetch each LIST one after another, on threads, and on processes and threads; compare the times."""
    import json
    from contextlib import nullcontext

    from producer.compare import DEMO_LATENCY, demo_list, to_records, to_text, ways
    from producer.compare import compare as compare_ways

    if bool(lists) == options["is_demo"]:
        raise click.UsageError("Name a list, or --demo.")
    source = demo_list() if options["is_demo"] else nullcontext((lists, _policy(options)))
    chosen = ways(options["processes"] or _cores(), options["threads"])
    with source as (names, policy):
        measured = compare_ways(names, policy, chosen, os.environ, _console(options))
    if options["is_json"]:
        print(json.dumps(to_records(measured)))
    else:
        print(to_text(measured, latency=DEMO_LATENCY if options["is_demo"] else None))
    return max(each.summary.exit_code for each in measured)


@trawl.command(short_help="Look at what a job depends on.")
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("out"), help="Folder jobs will write to.")
@click.option("--json", "is_json", is_flag=True, help="Print JSON.")
def doctor(output: Path, is_json: bool) -> int:
    """Look at broker, Redis, workers and this machine, and say what to do."""
    import json

    from producer.doctor import Verdict, examine

    worst = Verdict.FINE
    found = []
    for finding in examine(output, os.environ):
        found.append({"verdict": finding.verdict, "subject": finding.subject, "found": finding.found})
        if not is_json:
            print(finding, flush=True)
        if finding.verdict is Verdict.BROKEN:
            worst = Verdict.BROKEN
    if is_json:
        print(json.dumps(found))
    return 1 if worst is Verdict.BROKEN else 0


@trawl.command(short_help="Remove what is over: jobs from Redis, broken-off bodies from a folder.")
@click.argument("jobs", nargs=-1, metavar="[JOB...]")
@click.option(
    "--older-than", type=click.FloatRange(min=0), metavar="DAYS", help="Remove unfinished jobs older than this too."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="Remove broken-off bodies nobody continued for 30 days (or --older-than) from this folder, and nothing else.",
)
def gc(jobs: tuple[str, ...], older_than: float | None, output: Path | None) -> int:
    """Remove JOBs from Redis; without any, those that are finished and followed to their end."""
    from producer.housekeeping import remove_abandoned_partials, remove_jobs, remove_stale_cache

    days = 30.0 if older_than is None else older_than
    if output is not None:
        if jobs:
            raise click.UsageError("Name jobs or a folder, not both.")
        removed = remove_abandoned_partials(output, days)
        print(f"removed {removed.files} broken-off {'body' if removed.files == 1 else 'bodies'}, {removed.bytes} bytes")
        return 0
    for job in remove_jobs(jobs, older_than, os.environ):
        print(f"removed job {job}")
    for path in remove_stale_cache(os.environ, days):
        print(f"removed {path}")
    return 0


# ---------------------------------------------------------------------- options into values


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _manifest_of(options: dict[str, Any]) -> Path:
    manifest: Path = options["manifest"] or options["output"] / "manifest.jsonl"
    return manifest.absolute()


def _console(options: dict[str, Any]) -> Console:
    from producer.console import Console

    return Console(is_quiet=options["quiet"])


def _wish(lists: Sequence[str], options: dict[str, Any], manifest: Path | None) -> Wish:
    from producer.plan import Wish

    return Wish(
        lists=lists,
        policy=_policy(options),
        manifest=manifest,
        is_forced=options.get("force", False),
        is_fresh=options["fresh"],
    )


def _policy(options: dict[str, Any]) -> JobPolicy:
    from contract.naming import Layout
    from contract.networks import parse_networks
    from contract.policy import Digest, JobPolicy, Sync
    from contract.settings import words

    allowed = (*options["allow_net"], *words(os.environ.get("TRAWL_ALLOW_NETS", "")))
    denied = (*options["deny_net"], *words(os.environ.get("TRAWL_DENY_NETS", "")))
    parse_networks(allowed, setting="--allow-net")
    parse_networks(denied, setting="--deny-net")
    return JobPolicy(
        timeout=options["timeout"],
        connect_timeout=min(JobPolicy().connect_timeout, options["timeout"]),
        max_size=options["max_size"],
        attempts=options["attempts"],
        per_host=options["per_host"],
        allow_nets=allowed,
        deny_nets=denied,
        layout=Layout(options["layout"]),
        digest=Digest(options["digest"]),
        sync=Sync(options["sync"]),
        splits=options["splits"],
        resume=options["resume"],
        http3=options["http3"],
        ipv4_only=options["ipv4"],
        user_agent=options["user_agent"],
    )


def _secrets(options: dict[str, Any]) -> bytes | None:
    if not options["header"] and not options["netrc"]:
        return None
    from contract.credentials import read_credentials

    return read_credentials(options["header"], options["netrc"]).pack()


def _worker(options: dict[str, Any]) -> WorkerOptions:
    from producer.run import WorkerOptions

    settings = {
        "TRAWL_LANES": str(options["threads"]),
        "TRAWL_TRANSFERS": str(options["transfers"]),
        "TRAWL_DRAIN": str(options["drain"]),
        "TRAWL_MIN_FREE": str(options["min_free"]),
    }
    return WorkerOptions(
        processes=options["processes"] or _cores(),
        settings=settings,
        drain=options["drain"],
        flower_port=options["flower_port"] if options["flower"] else None,
    )


def _tell(summary: Summary, options: dict[str, Any]) -> int:
    import json

    if options["is_json"]:
        print(json.dumps(summary.to_record()))
    elif not options["quiet"]:
        print(summary.to_text())
    return summary.exit_code if summary.is_finished else INTERRUPTED
