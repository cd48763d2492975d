"""Translates the options of a command into the values that the producer works with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contract.records.policy import JobPolicy
    from producer.commands.preparation import WorkerOptions
    from producer.display.console import Console
    from producer.job.plan import JobSpec


def manifest_of(options: dict[str, Any]) -> Path:
    """Return the absolute path of the manifest."""
    manifest: Path = options["manifest"] or options["output"] / "manifest.jsonl"
    return manifest.absolute()


def console_of(options: dict[str, Any]) -> Console:
    from producer.display.console import Console

    return Console(is_quiet=options["quiet"], is_json=options["is_json"])


def spec_of(lists: Sequence[str], options: dict[str, Any], manifest: Path | None) -> JobSpec:
    """Return the job that the options describe; ``manifest`` is None if another command follows it."""
    from producer.job.plan import JobSpec

    return JobSpec(
        lists=lists,
        policy=policy_of(options),
        manifest=manifest,
        is_forced=options.get("force", False),
        is_fresh=options["fresh"],
    )


def policy_of(options: dict[str, Any]) -> JobPolicy:
    """Return the job's policy; networks of the environment are added to those of the options.

    Raises:
        TrawlError: a network is malformed.
    """
    from contract.cluster.settings import words
    from contract.records.policy import Digest, JobPolicy, Sync
    from contract.urls.naming import Layout
    from contract.urls.networks import parse_networks

    def networks(option: str, variable: str) -> tuple[str, ...]:
        given: tuple[str, ...] = options[option.removeprefix("--").replace("-", "_")]
        set_for_all = words(os.environ.get(variable, ""))
        parse_networks(given, setting=option)
        parse_networks(set_for_all, setting=variable)
        return *given, *set_for_all

    allowed = networks("--allow-net", "TRAWL_ALLOW_NETS")
    denied = networks("--deny-net", "TRAWL_DENY_NETS")
    return JobPolicy(
        timeout=options["timeout"],
        connect_timeout=min(JobPolicy().connect_timeout, options["timeout"]),
        first_byte_timeout=options["first_byte_timeout"],
        slowest=options["min_speed"],
        slow_window=options["min_speed_window"],
        max_size=options["max_size"],
        attempts=options["attempts"],
        per_host=options["per_host"],
        host_patience=options["host_patience"],
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


def secrets_of(options: dict[str, Any]) -> bytes | None:
    """Return the packed credentials of ``--header`` and ``--netrc``; None: there are none."""
    if not options["header"] and not options["netrc"]:
        return None
    from contract.records.credentials import read_credentials

    return read_credentials(options["header"], options["netrc"]).pack()


def worker_of(options: dict[str, Any]) -> WorkerOptions:
    """Return the options of the worker that a run without a cluster starts."""
    from producer.commands.preparation import WorkerOptions

    settings = {
        "TRAWL_LANES": str(options["threads"]),
        "TRAWL_TRANSFERS": str(options["transfers"]),
        "TRAWL_DRAIN": str(options["drain"]),
        "TRAWL_MIN_FREE": str(options["min_free"]),
    }
    return WorkerOptions(
        processes=processes_of(options),
        settings=settings,
        drain=options["drain"],
        flower_port=options["flower_port"] if options["flower"] else None,
    )


def processes_of(options: dict[str, Any]) -> int:
    """Return the number of worker processes; the default is one per core."""
    wanted: int | None = options["processes"]
    return wanted or _cores()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
