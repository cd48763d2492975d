"""Job statuses for displays to show: one with everything in it, and names that try to control the terminal."""

from __future__ import annotations

from dataclasses import replace

from producer.job.hold_up import HoldUp
from producer.job.status import ErrorCount, HostCost, HostWait, JobStatus, WorkerLine

HOSTILE = "\x1b[2J\x9b31m\u202eevil\u200f\n\r[red]x[/red] :warning: \x07" + "w\u4e16" * 40

NEW = JobStatus(
    job="261128-144611-9cf1da", label="laion-1m.txt", state="sending", elapsed=3.0, done=0, known=None,
    is_complete=False, counts={"ok": 0, "kept": 0, "failed": 0, "refused": 0}, fetched=0,
)  # fmt: skip

FULL = replace(
    NEW,
    state="running",
    elapsed=761.0,
    done=534_120,
    known=1_000_000,
    is_complete=True,
    counts={"ok": 511_302, "kept": 0, "failed": 21_990, "refused": 828},
    fetched=13_900_000_000,
    rate=702.0,
    bytes_rate=18_400_000.0,
    rates=[float(value) for value in range(20)],
    bytes_rates=[float(value % 7) for value in range(20)],
    left=665.0,
    errors=[ErrorCount("http-4xx", 14_203, 402), ErrorCount("timeout", 4_110, 118), ErrorCount("dns", 2_954, 81),
            ErrorCount("connect", 600, 0), ErrorCount("tls", 123, 19), ErrorCount("truncated", 7, 1)],
    hosts=[HostCost("img.example.com", 41_220, 0.21, 124), HostCost("cdn.slow.example", 1_904, 30.0, 1_161, 12),
           HostCost("static.example.net", 12_033, 1.4, 253), HostCost("quiet.example", 0, None, 0, 3)],
    more_hosts=18_204,
    waits=[HostWait("static.example.net", 40.0), HostWait("a.example", 50.0), HostWait("b.example", 90.0)],
    workers=[WorkerLine(worker=f"celery@node-{number}", batches=2, urls=812, rate=201.0, heard=1.0)
             for number in range(1, 4)]
    + [WorkerLine(worker="celery@node-4", heard=22.0),
       WorkerLine(worker="celery@node-5", heard=1.0, trouble="The disk is full (ENOSPC).", takes_work=False)],
    waiting=931, running=8, deferred=3, undrained=2, flying=640, quiet=15, unresolved=2,
    hold_up=HoldUp("some-workers", "1 of 5 workers takes no work: The disk is full (ENOSPC)."),
)  # fmt: skip

#: Everything that comes from others, hostile.
EVIL = replace(
    FULL,
    label=HOSTILE,
    errors=[ErrorCount(HOSTILE, 5, 1)],
    hosts=[HostCost(HOSTILE, 5, 1.0, 2, 1)],
    waits=[HostWait(HOSTILE + "2", 5.0)],
    workers=[WorkerLine(worker=HOSTILE, trouble=HOSTILE, takes_work=False, heard=3.0)],
    hold_up=HoldUp("hosts", f"Everything left waits for {HOSTILE}."),
)
