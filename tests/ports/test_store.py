"""The Store port, for each real store and the fake: a body is whole where the store says it is, or absent."""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.urls.naming import output_name
from tests.ports.kept import STORES, Kept
from tests.support.bodies import body_bytes
from tests.support.drafts import BODY, NAME, OTHER, a_draft, open_draft, partial_of, put
from worker.engine.ports import DiskTrouble, Store

SHA256 = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


@pytest.fixture(params=STORES)
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kept]:
    kept = STORES[request.param](tmp_path / "out")
    yield kept
    kept.close()


@pytest.fixture
def store(kept: Kept) -> Store:
    return kept.store


# ------------------------------------------------------------------------------------------------------- publishing


@pytest.mark.parametrize("size", [0, 1, 4096, 100_001])
def test_a_published_body_is_where_the_store_says(kept: Kept, store: Store, size: int) -> None:
    body = body_bytes(size)

    path = put(store, NAME, body)

    assert kept.bodies() == {path: body}
    assert path.endswith(NAME)
    assert kept.left_behind() == 0


def test_a_group_is_stored_as_a_whole_and_its_paths_come_in_its_order(kept: Kept, store: Store) -> None:
    bodies = {output_name(f"https://example.com/{number}"): body_bytes(number, number) for number in range(40)}

    paths = store.publish([a_draft(store, name, body) for name, body in bodies.items()], lambda: True)

    assert kept.bodies() == dict(zip(paths or (), bodies.values(), strict=True))


def test_a_body_replaces_one_of_its_name(kept: Kept, store: Store) -> None:
    put(store, NAME, b"old" * 10_000)

    path = put(store, NAME, b"new")

    assert kept.bodies() == {path: b"new"}


def test_pieces_may_come_in_any_order(kept: Kept, store: Store) -> None:
    draft = open_draft(store)
    draft.write(BODY[5000:], 5000)
    draft.write(BODY[:5000], 0)
    draft.finish(len(BODY))

    assert store.publish([draft], lambda: True)
    assert list(kept.bodies().values()) == [BODY]


def test_nothing_is_stored_without_permission_which_is_asked_after_the_sync(kept: Kept, store: Store) -> None:
    """Guards asking between data sync and first rename: the lease may be lost."""
    seen: list[dict[str, bytes]] = []

    def may() -> bool:
        seen.append(dict(kept.bodies()))
        return False

    draft = a_draft(store)
    assert store.publish([draft], may) is None
    draft.discard()

    assert seen == [{}]
    assert kept.bodies() == {}
    assert kept.left_behind() == 0


def test_an_open_draft_is_not_visible(kept: Kept, store: Store) -> None:
    draft = open_draft(store)
    draft.write(BODY, 0)

    assert kept.bodies() == {}
    draft.discard()
    draft.discard()
    assert kept.left_behind() == 0


def test_a_draft_of_another_size_is_not_finished(store: Store) -> None:
    """Guards the comparison in finish."""
    draft = open_draft(store)
    draft.write(BODY, 0)

    with pytest.raises(DiskTrouble):
        draft.finish(len(BODY) + 1)
    draft.discard()


def test_a_discarded_draft_is_neither_published_nor_digested(kept: Kept, store: Store) -> None:
    draft = a_draft(store)
    draft.discard()

    with pytest.raises(DiskTrouble):
        store.publish([draft], lambda: True)
    with pytest.raises(DiskTrouble):
        draft.digest(["sha256"])
    assert kept.bodies() == {}


@pytest.mark.parametrize("name", ["", "..", "../" + NAME, NAME.upper(), NAME + "\n", "/etc/passwd", "a" * 31])
def test_no_path_comes_from_outside(kept: Kept, store: Store, name: str) -> None:
    """Guards output_path's check of the name, in the flat layout too."""
    with pytest.raises(ValueError, match="32 lower-case hexadecimal"):
        open_draft(store, name)

    assert kept.bodies() == {}
    assert kept.left_behind() == 0
    assert not store.holds(name, 0, "")


def test_several_threads_may_write_and_publish_at_once(kept: Kept, store: Store) -> None:
    paths: dict[str, bytes] = {}

    def work(number: int) -> None:
        for turn in range(10):
            body = body_bytes(1000, number * 100 + turn)
            paths[put(store, output_name(f"https://example.com/{number}/{turn}"), body)] = body

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(paths) == 80
    assert kept.bodies() == paths


# ------------------------------------------------------------------------------------------------ what a body is


def test_a_stored_body_is_recognised_by_name_size_and_digest(store: Store) -> None:
    path = put(store)

    assert store.holds(NAME, len(BODY), SHA256) == path
    assert store.holds(NAME, len(BODY), "") == path
    assert store.holds(NAME, len(BODY) + 1, SHA256) is None
    assert store.holds(NAME, len(BODY), f"sha256:{'0' * 64}") is None
    assert store.holds(OTHER, len(BODY), SHA256) is None


@pytest.mark.parametrize("digest", ["nonsense:00", ":00"])
def test_a_body_is_not_kept_if_its_digest_cannot_be_computed(store: Store, digest: str) -> None:
    put(store)

    assert not store.holds(NAME, len(BODY), digest)


def test_a_finished_draft_is_digested_by_every_algorithm(store: Store) -> None:
    body = body_bytes(3 * 1024 * 1024 + 1)
    draft = a_draft(store, NAME, body)

    found = draft.digest(["sha256", "md5", "sha512", "crc32"])
    draft.discard()

    assert found == {
        "sha256": hashlib.sha256(body).hexdigest(),
        "md5": hashlib.md5(body).hexdigest(),
        "sha512": hashlib.sha512(body).hexdigest(),
        "crc32": f"{zlib.crc32(body):08x}",
    }


def test_a_healthy_store_has_no_trouble(store: Store) -> None:
    assert store.trouble() is None


# ------------------------------------------------------------------------------------------- bodies that broke off


def test_a_kept_partial_is_resumed_by_the_next_draft(kept: Kept, store: Store) -> None:
    partial_of(store, BODY[:5000]).leave()

    found = kept.other.resume(NAME)
    assert found is not None
    draft, size, known = found
    assert (size, known) == (5000, "version 1")
    draft.write(BODY[5000:], 5000)
    draft.finish(len(BODY))
    assert kept.other.publish([draft], lambda: True)

    assert list(kept.bodies().values()) == [BODY]
    assert kept.left_behind() == 0


def test_a_partial_still_being_written_is_not_resumed(kept: Kept, store: Store) -> None:
    """Guards the lock of a kept partial."""
    mine = partial_of(store)

    assert kept.other.resume(NAME) is None
    partial_of(kept.other, b"of the other").leave()

    mine.leave()
    found = kept.other.resume(NAME)
    assert found is not None
    assert found[1] == len(BODY)
    found[0].discard()
    assert kept.left_behind() == 0


def test_a_finished_body_is_not_resumed_by_another(kept: Kept, store: Store) -> None:
    """Guards moving it back in finish: two jobs fetch one URL, and one would publish the other's half."""
    mine = partial_of(store)
    mine.finish(len(BODY))

    assert kept.other.resume(NAME) is None
    theirs = partial_of(kept.other, b"half of")
    assert store.publish([mine], lambda: True)

    assert list(kept.bodies().values()) == [BODY]
    theirs.discard()
    assert list(kept.bodies().values()) == [BODY]
    assert kept.left_behind() == 0


def test_a_partial_that_is_not_resumed_is_replaced_by_the_next(kept: Kept, store: Store) -> None:
    partial_of(store, b"of long ago").leave()

    partial_of(kept.other).leave()

    found = store.resume(NAME)
    assert found is not None
    assert found[1] == len(BODY)
    found[0].discard()


def test_a_partial_can_be_discarded_and_another_draft_is_not_kept(kept: Kept, store: Store) -> None:
    partial_of(store).discard()
    a_draft(store).leave()

    assert store.resume(NAME) is None
    assert kept.left_behind() == 0
