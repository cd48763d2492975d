"""Shortcuts to Celery's own commands, for when ``celery`` is not on the PATH; their arguments are Celery's."""

from __future__ import annotations

import os
import sys

import click

_PASSED_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False}

# They save a second at the start, and Trawlnet does not use them; Flower needs heartbeats, which stay on.
_QUIET = ("--without-gossip", "--without-mingle")


@click.command(short_help="Start a worker of the cluster.", context_settings=_PASSED_ON)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF CELERY]...")
def worker(options: tuple[str, ...]) -> None:
    """Start a worker here: `celery -A worker worker`, without gossip and mingle, from any folder.

    \b
    trawl worker -c 4                      four processes; files go to TRAWL_OUTPUT (./out)
    trawl worker -c 4 -l INFO -n disk1@%h  a second one on this machine needs a name of its own
    trawl worker -- --help                 Celery's options

    TRAWL_BROKER_URL names the cluster. SIGTERM or Ctrl-C stops it: it hands off what it cannot finish.
    """
    _become("worker", *_QUIET, *options)


@click.command(short_help="Show a cluster's batches and workers in a browser.", context_settings=_PASSED_ON)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF FLOWER]...")
def flower(options: tuple[str, ...]) -> None:
    """Start Flower here: `celery -A worker flower`, with a row for each batch, from any folder.

    \b
    trawl flower                                           http://127.0.0.1:5555, for this machine
    FLOWER_BASIC_AUTH=me:secret trawl flower --address=0.0.0.0   for other machines: only with a login
    trawl flower -- --help                                 Flower's options

    TRAWL_BROKER_URL names the cluster.
    """
    from producer.cluster.embedded import flower_columns

    names_own = any(option.startswith("--conf") for option in options) or "FLOWER_CONF" in os.environ
    _become("flower", *([] if names_own else flower_columns()), *options)


@click.command("metrics", short_help="Serve the cluster's metrics to Prometheus.")
@click.option(
    "--listen",
    envvar="TRAWL_METRICS",
    default="9109",
    metavar="[ADDRESS:]PORT",
    help="Port, or address and port such as 0.0.0.0:9109; on 127.0.0.1 unless given.",
)
def show_metrics(listen: str) -> None:
    """Serve the cluster's metrics: waiting batches, jobs, workers, Redis. One such process per cluster is enough.

    Each worker serves its own metrics if TRAWL_METRICS is set for it. docs/metrics.md lists all of them.
    """
    import signal

    from producer.commands.exporter import export
    from producer.wiring import Producer

    exporter = export(Producer(), place=listen)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    address, port = exporter.place
    print(f"Metrics: http://{f'[{address}]' if ':' in address else address}:{port}/metrics", flush=True)
    try:
        exporter.wait()
    except KeyboardInterrupt:
        pass
    finally:
        exporter.close()


def _become(*arguments: str) -> None:
    """Replace this process with Celery's, so that it gets the signals."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "worker.command", *arguments])
