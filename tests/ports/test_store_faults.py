"""The Store port: every call fails once, or is the process's last, and bodies are whole or absent all the same.

Of the real store these are its system calls, of the fake the calls of the port.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path

import pytest

from contract.errors import FolderError
from contract.records.policy import Sync
from contract.urls.naming import Layout, output_name
from tests.support.bodies import body_bytes
from tests.support.drafts import every_layout, every_sync, expect_whole_or_absent, files_in, named_files, open_draft
from tests.support.faulty_calls import FaultyCalls
from tests.support.killed_writers import kill_at_every_call
from tests.support.memory_store import MemoryStore
from worker.adapters.disk import OutputFolder
from worker.engine.ports import DiskTrouble, Store

ERRORS = [errno.ENOSPC, errno.EMFILE, errno.EIO]  # the others take the ways of these

#: Name by name what may lie under it: the body of one story or another, never a part of one.
BODIES = {output_name(f"https://example.com/{size}"): body_bytes(size) for size in (0, 10, 3 * 4096 + 1)}
REPLACED = output_name("https://example.com/10")
NEWER = body_bytes(20, seed=1)
ALLOWED = {name: [body, NEWER] if name == REPLACED else [body] for name, body in BODIES.items()}

each_time = pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])


def tell_story(store: Store) -> None:
    """Store three bodies and then one of them again, as a run would: failed ones are discarded."""
    for group in (BODIES, {REPLACED: NEWER}):
        try:
            _store(store, group)
        except DiskTrouble:
            return


def _store(store: Store, group: Mapping[str, bytes]) -> None:
    with ExitStack() as drafts:
        named = []
        for name, body in group.items():
            draft = open_draft(store, name)
            drafts.callback(draft.discard)
            for at in range(0, len(body), 4096):
                draft.write(body[at : at + 4096], at)
            draft.finish(len(body))
            named.append(draft)
        store.publish(named, lambda: True)


def tell_story_in_a_folder(out: Path, layout: str, sync: str) -> None:
    try:
        folder = OutputFolder(out)
    except FolderError:
        return
    tell_story(files_in(folder, Layout(layout), Sync(sync)))
    folder.close()


def open_descriptors(below: Path) -> set[str]:
    """Return what this process has open below a folder; what others of its threads have open is not ours to count."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    return {target for target in found if target.startswith(str(below))}


@every_layout
@every_sync
@each_time
def test_if_any_call_fails_bodies_are_whole_or_absent(
    tmp_path: Path, layout: Layout, sync: Sync, lasting: bool
) -> None:
    """Guards every `except OSError` of the output folder, its closes and discards."""
    with FaultyCalls() as sound:
        tell_story_in_a_folder(tmp_path / "sound", layout, sync)
    failed: set[str] = set()

    for code in ERRORS:
        for at in range(1, len(sound.made) + 1):
            out = tmp_path / f"{code}-{at}"
            with FaultyCalls(at=at, code=code, lasting=lasting) as calls:
                tell_story_in_a_folder(out, layout, sync)
            assert calls.failed is not None
            failed.add(calls.failed.name)
            expect_whole_or_absent(out, layout, ALLOWED)

    assert open_descriptors(tmp_path) == set()
    synced = set[str]() if sync is Sync.NONE else {"fsync"}
    assert {"open", "pwrite", "rename", "close", "mkdir", "rmdir", "flock"} | synced <= failed


@each_time
def test_if_any_call_of_the_fake_fails_bodies_are_whole_or_absent(lasting: bool) -> None:
    failed: set[str] = set()

    for at in count(1):
        store, calls = MemoryStore(), count(1)

        def fault(call: str, _size: int, *, at: int = at, calls: count[int] = calls) -> DiskTrouble | None:
            number = next(calls)
            if number == at or (lasting and number > at):
                failed.add(call)
                return DiskTrouble("The disk is full (ENOSPC).")
            return None

        store.fault = fault
        tell_story(store)
        assert all(body in ALLOWED[path] for path, body in store.bodies.items())
        assert not store.drafts
        if next(calls) <= at:
            break

    assert failed == {"open", "write", "finish", "publish", "name"}


@every_layout
@every_sync
def test_wherever_the_process_is_killed_bodies_are_whole_or_absent(tmp_path: Path, layout: Layout, sync: Sync) -> None:
    """Guards write, then sync, then rename; and the reaping, which has to find every kind of debris."""
    killed = kill_at_every_call(f"{__name__}:tell_story_in_a_folder", tmp_path, layout, sync)

    assert killed > 30
    for at in range(1, killed + 2):
        expect_whole_or_absent(tmp_path / str(at), layout, ALLOWED)
    assert len(named_files(tmp_path / str(killed + 1))) == len(BODIES), "the last one ended by itself"


BROKEN_OFF = output_name("https://example.com/broken-off")
WHOLE = body_bytes(3 * 4096 + 1, seed=2)


def tell_story_of_two_runs(out: Path) -> None:
    """Keep half a body and leave it; resume it and store the whole."""
    try:
        folder = OutputFolder(out)
    except FolderError:
        return
    store = files_in(folder, sync=Sync.BATCH)
    with suppress(DiskTrouble), ExitStack() as drafts:
        draft = open_draft(store, BROKEN_OFF)
        drafts.callback(draft.discard)
        draft.keep_partial("version 1")
        for at in range(0, 8192, 4096):
            draft.write(WHOLE[at : at + 4096], at)
        drafts.pop_all()
        draft.leave()
        size = 0
        if found := store.resume(BROKEN_OFF):
            draft, size, known = found
            assert known == "version 1"
        else:
            draft = open_draft(store, BROKEN_OFF)
        drafts.callback(draft.discard)
        draft.write(WHOLE[size:], size)
        draft.finish(len(WHOLE))
        store.publish([draft], lambda: True)
    folder.close()


def expect_continuable(out: Path) -> None:
    """Expect a whole file or none, and among the partials its beginning or nothing."""
    expect_whole_or_absent(out, Layout.FLAT, {BROKEN_OFF: [WHOLE]})
    folder = OutputFolder(out)
    if found := files_in(folder).resume(BROKEN_OFF):
        draft, size, _ = found
        part = (out / ".trawl" / "partials" / f"{BROKEN_OFF}.part").read_bytes()
        assert part == WHOLE[:size]
        draft.discard()
    folder.close()
    assert not list((out / ".trawl" / "partials").glob("*.part"))


@each_time
def test_if_any_call_fails_only_the_start_of_a_body_is_resumed(tmp_path: Path, lasting: bool) -> None:
    with FaultyCalls() as sound:
        tell_story_of_two_runs(tmp_path / "sound")
    assert (tmp_path / "sound" / BROKEN_OFF).read_bytes() == WHOLE

    for code in ERRORS:
        for at in range(1, len(sound.made) + 1):
            out = tmp_path / f"{code}-{at}"
            with FaultyCalls(at=at, code=code, lasting=lasting):
                tell_story_of_two_runs(out)
            expect_continuable(out)

    assert open_descriptors(tmp_path) == set()


def test_wherever_the_process_is_killed_only_the_start_of_a_body_is_resumed(tmp_path: Path) -> None:
    killed = kill_at_every_call(f"{__name__}:tell_story_of_two_runs", tmp_path)

    assert killed > 30
    for at in range(1, killed + 2):
        expect_continuable(tmp_path / str(at))
