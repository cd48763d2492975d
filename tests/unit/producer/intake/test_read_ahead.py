"""Reading ahead: whatever order a list has, its hosts take turns, and nothing is lost between memory and disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from contract.records.batches import BatchEntry, Listed
from producer.intake.read_ahead import CATCHES_UP, ROUND, ReadAhead, url_of


class MemoryShelf:
    """Keeps blocks as the journal does."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[int, int, bytes]] = {}

    def blocks(self) -> Sequence[tuple[int, int, int]]:
        return [(number, round_, urls) for number, (round_, urls, _) in self.kept.items()]

    def block(self, number: int) -> bytes:
        return self.kept[number][2]

    def keep(self, ahead: ReadAhead) -> None:
        changes = ahead.changes()
        for number in changes.taken:
            del self.kept[number]
        for number, round_, urls, packed in changes.kept:
            assert number not in self.kept
            self.kept[number] = (round_, urls, packed)


def _entries(host: str, numbers: Iterable[int]) -> list[Listed]:
    return [BatchEntry(url=f"http://{host}/{number}") for number in numbers]


def _hosts_of(entries: Iterable[Listed]) -> Counter[str]:
    return Counter(url_of(entry).split("/")[2] for entry in entries)


def _take(ahead: ReadAhead, least: int) -> list[Listed]:
    taken: list[Listed] = []
    while len(taken) < least:
        taken += ahead.take()
    return taken


def test_hosts_of_a_sorted_list_take_turns() -> None:
    ahead = ReadAhead(MemoryShelf())
    for host in "abcd":
        ahead.add(_entries(host, range(1000)))

    taken = _take(ahead, 8 * ROUND)

    assert _hosts_of(taken) == dict.fromkeys("abcd", 2 * ROUND)
    assert ahead.urls == 4000 - len(taken)


def test_hosts_that_come_ever_anew_do_not_keep_an_old_one_waiting_for_ever() -> None:
    """Guards CATCHES_UP: who counts from the first line would be sent before all who came earlier."""
    ahead = ReadAhead(MemoryShelf())
    ahead.add(_entries("first", range((2 * CATCHES_UP + 1) * ROUND)))
    _take(ahead, 2 * CATCHES_UP * ROUND)

    ahead.add(_entries("late", range(3 * CATCHES_UP * ROUND)))

    assert "first" in _hosts_of(_take(ahead, (CATCHES_UP + 3) * ROUND))


def test_a_list_of_many_hosts_keeps_its_order() -> None:
    ahead = ReadAhead(MemoryShelf())
    entries = [BatchEntry(url=f"http://h{number % 100}/{number}") for number in range(3000)]

    ahead.add(entries)

    assert ahead.take() == entries
    assert not ahead
    assert not ahead.is_overtaking


_lists = st.lists(st.sampled_from("aaaaabbc"), min_size=1, max_size=3 * ROUND)


@example([["a", "b"], "keep", "take", "keep", "kill"])
@given(st.lists(st.one_of(_lists, st.sampled_from(["take", "keep", "kill"])), max_size=30))
def test_what_is_read_is_taken_once_whatever_happens_between(steps: list[list[str] | str]) -> None:
    shelf, number = MemoryShelf(), 0
    ahead, safe, unsafe = ReadAhead(shelf), [], []  # type: ReadAhead, list[str], list[str]
    expected: list[str] = []
    read: list[str] = []
    for step in steps:
        if step == "kill":
            ahead, unsafe, read = ReadAhead(shelf), [], []
        elif step == "keep":
            shelf.keep(ahead)
            safe, unsafe, expected, read = safe + unsafe, [], expected + read, []
        elif step == "take":
            unsafe += [url_of(entry) for entry in ahead.take()] if ahead else []
        else:
            new = [BatchEntry(url=f"http://{host}/{number + index}") for index, host in enumerate(step)]
            number += len(new)
            ahead.add(new)
            read += [url_of(entry) for entry in new]

    while ahead:
        unsafe += [url_of(entry) for entry in ahead.take()]

    assert sorted(safe + unsafe) == sorted(expected + read)
    assert ahead.urls == 0
