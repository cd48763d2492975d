"""Whatever happens to an output folder, the worker says why it stops, and its job continues a minute after the fix."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.celery_worker import CeleryWorker
from tests.support.cluster import Cluster
from tests.support.misbehaving import MisbehavingServer
from tests.support.person import ENOUGH, Person, lines_until
from tests.support.processes import await_condition
from tests.support.redis_server import RedisServer
from tests.support.tiny_disk import TinyDisk, tiny_disk_or_skip

COUNT = 40  # URLs
BEFORE = 8  # of them are stored when it happens; the others are answered after it

Act = Callable[[TinyDisk], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What happens to the folder ``out`` on the disk ``within``, what ``run`` then shows, and what fixes it."""

    happens: Act
    shown: str = ""  # in the display of `run`; "" if the worker reopens the folder before that shows
    cure: Act = lambda _disk: None
    keeps: bool = True  # are the files of before still there?
    prepare: Act = lambda _disk: None


def _within(command: str) -> Act:
    return lambda disk: disk.run("sh", "-ec", command, "sh", disk.path)


def _on_btrfs(*then: str) -> Act:
    """Mount a btrfs of 200 MB in place of the tmpfs."""

    def prepare(disk: TinyDisk) -> None:
        if os.geteuid() or shutil.which("mkfs.btrfs") is None:
            pytest.skip("it needs root and mkfs.btrfs (btrfs-progs)")
        make = ('truncate -s 200M "$1.img"', 'mkfs.btrfs -q "$1.img"', 'mount -o loop "$1.img" "$1"')
        try:
            _within("; ".join(make))(disk)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no btrfs here: {error.output.splitlines()[-1:]}")
        _within("; ".join(then))(disk)

    return prepare


_SUBVOLUME = 'btrfs subvolume create "$1/out" >/dev/null'
_ONE_MORE_FILE = 'mount -o "remount,nr_inodes=$(($(df --output=iused "$1" | tail -n 1) + 1))" "$1" 2>/dev/null'

FATES = {
    "replaced": Fate(happens=_within('rm -rf "$1/out"; mkdir "$1/out"'), keeps=False),
    "moved": Fate(happens=_within('mv "$1/out" "$1/old"'), keeps=False),
    "moved-away-and-back": Fate(
        happens=_within('mv "$1/out" "$1/old"; touch "$1/out"'),
        shown="The output folder",
        cure=_within('rm "$1/out"; mv "$1/old" "$1/out"'),
    ),
    "made-a-link": Fate(happens=_within('mv "$1/out" "$1/old"; ln -s old "$1/out"')),
    "unmounted": Fate(
        happens=_within('umount -l "$1"'),
        shown="The output folder is gone (ENOENT).",
        cure=_within('mount -t tmpfs -o size=8m tmpfs "$1"'),
        keeps=False,
    ),
    "read-only": Fate(  # even with open files there, unlike a remount
        prepare=_on_btrfs(_SUBVOLUME),
        happens=_within('btrfs property set -ts "$1/out" ro true'),
        shown="The output folder",
        cure=_within('btrfs property set -ts "$1/out" ro false'),
    ),
    "full": Fate(happens=lambda disk: disk.fill(leave=0), shown="The disk is full (ENOSPC).", cure=TinyDisk.empty),
    "no-more-files": Fate(
        happens=_within(f"until {_ONE_MORE_FILE}; do :; done"),
        shown="The disk",
        cure=_within('mount -o remount,nr_inodes=10000 "$1"'),
    ),
    "quota": Fate(
        prepare=_on_btrfs('btrfs quota enable "$1"', _SUBVOLUME),
        happens=_within('btrfs qgroup limit 1M "$1/out"'),
        shown="The disk quota is used up (EDQUOT).",
        cure=_within('btrfs qgroup limit none "$1/out"'),
    ),
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[TinyDisk]:
    with tiny_disk_or_skip(tmp_path / "disk", "8m") as mounted:
        yield mounted


def stored_in(disk: TinyDisk) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (disk.seen / "out").iterdir() if path.is_file()}


@pytest.mark.parametrize("fate", FATES.values(), ids=FATES)
def test_trouble_with_the_folder_is_shown_and_the_job_continues_after_the_fix(
    tmp_path: Path, person: Person, server: MisbehavingServer, disk: TinyDisk, fate: Fate
) -> None:
    held = ("good" if seed < BEFORE else "held" for seed in range(COUNT))
    urls = [server.url(f"/{each}?seed={seed}&size=40000") for seed, each in enumerate(held)]
    listed = person.write_list(*urls)
    fate.prepare(disk)

    with RedisServer(tmp_path / "redis") as redis:
        cluster = Cluster(redis.celery_url(), tmp_path)
        settings = {"TRAWL_OUTPUT": str(disk.path / "out"), "TRAWL_TRANSFERS": "4", "TRAWL_MIN_FREE": "0"}
        worker = CeleryWorker(tmp_path, env={**cluster.environment, **settings}, concurrency=1, python=str(disk.python))
        with worker:
            run = person.start("run", listed, "-o", "o", "--allow-net", "127.0.0.0/8", "--batch-size", "20",
                               TRAWL_BROKER_URL=redis.celery_url())  # fmt: skip
            await_condition(lambda: len(stored_in(disk)) == BEFORE, within=60, what="the first files")
            fate.happens(disk)
            server.log.let_go.set()
            said = lines_until(run, fate.shown.encode()) if fate.shown else b""
            fate.cure(disk)
            said += run.communicate(timeout=ENOUGH)[1]
            assert run.returncode == 0, said.decode()
        stored = stored_in(disk)

    rows = person.rows("o")
    assert {row["outcome"] for row in rows} == {"ok"}
    assert sorted(row["url"] for row in rows) == sorted(urls)
    assert len(stored) == COUNT if fate.keeps else 0 < len(stored) < COUNT
    sums = {row["name"]: row["sha256"] for row in rows}
    assert all(hashlib.sha256(body).hexdigest() == sums[name] for name, body in stored.items())
    assert "Traceback" not in worker.log()
