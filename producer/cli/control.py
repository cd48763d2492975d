"""The commands that change a running job: pause, resume, cancel, set."""

from __future__ import annotations

from pathlib import Path

import click

from producer.cli.exits import Answer
from producer.cli.options import Place, combined

_target = combined(
    click.argument("job", required=False),
    click.option("-o", "--output", type=Place(), help="Folder of a `trawl run`, in place of JOB."),
)
_waits = click.option("--no-wait", is_flag=True, help="Return at once; do not wait until workers comply.")


def _insist_on_one(job: str | None, output: Path | None) -> None:
    if job is not None and output is not None:
        raise click.UsageError("Name a JOB or a folder, not both.")
    if job is None and output is None:
        raise click.UsageError("Name a JOB (`trawl status` lists them), or the folder of a `trawl run` with -o.")


@click.command(short_help="Stop fetching a job until it is resumed.")
@_target
@_waits
def pause(job: str | None, output: Path | None, no_wait: bool) -> int:
    """Pause JOB: within three seconds no new request starts; transfers in flight may finish.

    Workers continue with other jobs. A paused job is kept until it is resumed or cancelled.
    """
    from producer.commands.control import pause_job
    from producer.wiring import Producer

    _insist_on_one(job, output)
    print(pause_job(job, output, Producer(), waits=not no_wait))
    return Answer(0)


@click.command(short_help="Resume a paused job.")
@_target
def resume(job: str | None, output: Path | None) -> int:
    """Resume JOB where it was paused."""
    from producer.commands.control import resume_job
    from producer.wiring import Producer

    _insist_on_one(job, output)
    print(resume_job(job, output, Producer()))
    return Answer(0)


@click.command(short_help="Stop a job for good: URLs not fetched yet end as cancelled.")
@_target
@_waits
def cancel(job: str | None, output: Path | None, no_wait: bool) -> int:
    """Cancel JOB: URLs not fetched yet end as cancelled, and the rest of its list is not read.

    The command that started it, run again, starts a new job that fetches just those.
    """
    from producer.commands.control import cancel_job
    from producer.wiring import Producer

    _insist_on_one(job, output)
    print(cancel_job(job, output, Producer(), waits=not no_wait))
    return Answer(0)


@click.command("set", short_help="Change a running job's priority or weight.")
@_target
@click.option("--priority", type=click.IntRange(-9, 9), help="Jobs with a higher priority go first; the default is 0.")
@click.option(
    "--weight",
    type=click.FloatRange(min=0.001, max=1000),
    help="Turns it gets, relative to jobs of the same priority; the default is 1.",
)
def set_job(job: str | None, output: Path | None, priority: int | None, weight: float | None) -> int:
    """Change JOB, from the next batch that a worker claims."""
    from producer.commands.control import change_job
    from producer.wiring import Producer

    _insist_on_one(job, output)
    if priority is None and weight is None:
        raise click.UsageError("Say what to change: --priority or --weight.")
    print(change_job(job, output, Producer(), priority=priority, weight=weight))
    return Answer(0)
