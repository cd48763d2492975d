"""Options that several commands share, and their types."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from contract.cluster.settings import size

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


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


class Setting(click.Option):
    """An option with an environment variable; an error names the one that the user has set."""

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        try:
            return super().process_value(ctx, value)
        except click.BadParameter as error:
            if ctx.get_parameter_source(self.name or "") is ParameterSource.ENVIRONMENT:
                error.param_hint = str(self.envvar)
            raise


class InGroups(click.Command):
    """Lists its options in groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None:
                groups.setdefault(getattr(param, _GROUP, "Options"), []).append(record)
        for title, records in groups.items():
            with formatter.section(title):
                formatter.write_dl(records)


_GROUP = "group"  # of an option, in the help


def combined(*options: Callable[[Any], Any]) -> Callable[[Decorated], Decorated]:
    """Return a decorator that adds several options, in this order."""

    def decorate(command: Decorated) -> Decorated:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def group(title: str, *options: Callable[[Any], Any]) -> Callable[[Decorated], Decorated]:
    """Return a decorator that adds several options, listed under a title in the help of ``InGroups``."""

    def decorate(command: Decorated) -> Decorated:
        for option in reversed(options):
            command = option(command)
            setattr(command.__click_params__[-1], _GROUP, title)  # type: ignore[attr-defined]  # click's own list
        return command

    return decorate


class Place(click.Path):
    """A path. An empty one is refused: it may come from an unset variable, and would mean the current folder."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty; is a variable unset?", param, ctx)
        return super().convert(value, param, ctx)


class Seconds(click.FloatRange):
    """A finite number of seconds: ``inf`` and ``nan`` cannot be stored with a job."""

    unit = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds: float = super().convert(value, param, ctx)
        if not isfinite(seconds):
            self.fail(f"{value!r} is not a number of {self.unit}", param, ctx)
        return seconds


class Days(Seconds):
    """A finite number of days."""

    unit = "days"


at_least_one = click.IntRange(min=1)
positive = Seconds(min=0, min_open=True)

policy_options = combined(
    group(
        "Which addresses",
        click.option("--allow-net", multiple=True, metavar="CIDR", help="Allow a private network (repeatable)."),
        click.option("--deny-net", multiple=True, metavar="CIDR", help="Refuse a network (repeatable)."),
        click.option("--ipv4", is_flag=True, help="Use IPv4 only."),
        click.option("--http3", is_flag=True, help="Use HTTP/3 where offered."),
    ),
    group(
        "What is sent",
        click.option(
            "--header",
            multiple=True,
            metavar="HEADER",
            help="Request header for one host over https, 'HOST NAME: VALUE'; write http://HOST to send it unencrypted"
            " (repeatable). @FILE reads them from a file of mode 600, one per line.",
        ),
        click.option("--netrc", type=Place(), help="File with logins per host; mode 600."),
        click.option("--user-agent", default="trawlnet", help="User-Agent header to send."),
    ),
    group(
        "How long, and how often",
        click.option(
            "--timeout",
            type=positive,
            default=300.0,
            help="Seconds one URL may take, from when its first request can go out.",
        ),
        click.option(
            "--first-byte-timeout",
            type=Seconds(min=0),
            default=60.0,
            help="Seconds to wait for the first byte of a body; 0: only --timeout.",
        ),
        click.option(
            "--min-speed",
            type=Size(),
            default="100",
            help="Bytes/s below which a body that has begun is too slow; 0: none.",
        ),
        click.option(
            "--min-speed-window", type=positive, default=30.0, help="Seconds over which --min-speed is measured."
        ),
        click.option("--attempts", type=at_least_one, default=4, help="Times a URL is tried."),
        click.option(
            "--host-patience",
            type=Seconds(min=0),
            default=3600.0,
            help="Seconds one URL may wait in total because its host throttles.",
        ),
    ),
    group(
        "How much at once",
        click.option(
            "--per-host",
            type=click.IntRange(min=0),
            default=0,
            help="Transfers at once to one host, per process; 0: no limit.",
        ),
        click.option("--splits", type=at_least_one, default=1, help="Ranges of one large file to fetch at once."),
        click.option("--max-size", type=Size(), default="10G", help="Largest body."),
    ),
    group(
        "What is stored, and how",
        click.option(
            "--layout", type=click.Choice(["flat", "sharded"]), default="flat", help="OUT/<md5>, or OUT/ab/cd/<md5>."
        ),
        click.option(
            "--digest",
            type=click.Choice(["sha256", "blake3", "xxh3", "none"]),
            default="sha256",
            help="Content digest kept in the manifest; blake3 and xxh3 need pip install 'trawlnet[digests]'.",
        ),
        click.option(
            "--sync",
            type=click.Choice(["none", "batch", "file"]),
            default="batch",
            help="When files must be synced to disk.",
        ),
        click.option("--resume", is_flag=True, help="Resume partially downloaded bodies."),
    ),
)

worker_options = group(
    "The worker of this run (those of a cluster have their own settings)",
    click.option("--processes", type=at_least_one, help="Worker processes.  [default: one per core]"),
    click.option(
        "--threads", cls=Setting, type=at_least_one, default=1, envvar="TRAWL_LANES", help="Lanes per process."
    ),
    click.option(
        "--transfers",
        cls=Setting,
        type=at_least_one,
        default=128,
        envvar="TRAWL_TRANSFERS",
        help="Transfers in flight per process.",
    ),
    click.option(
        "--drain",
        cls=Setting,
        type=Seconds(min=0),
        default=10.0,
        envvar="TRAWL_DRAIN",
        help="Seconds to let transfers finish when stopped.",
    ),
    click.option(
        "--min-free",
        cls=Setting,
        type=Size(),
        default="64M",
        envvar="TRAWL_MIN_FREE",
        help="Free space to keep on the disk.",
    ),
)

output_options = group(
    "Where it goes",
    click.option("-o", "--output", type=Place(), default=Path("out"), help="Folder for files and manifest."),
    click.option("--manifest", type=Place(), help="The manifest.  [default: OUT/manifest.jsonl]"),
)

shown_options = group(
    "What is shown",
    click.option("--json", "is_json", is_flag=True, help="Print the summary as JSON."),
    click.option("--quiet", "-q", is_flag=True, help="No progress and no summary."),
)

batch_size_option = group(
    "How much at once",
    click.option("--batch-size", type=click.IntRange(1, 100_000), default=500, help="URLs per Celery task."),
)
