"""Reading ahead: whatever the order of a list, its hosts take turns, and no entry is lost between memory and disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from hypothesis import example, given
from hypothesis import strategies as st

from contract.records.batches import BatchEntry, Listed
from producer.intake.read_ahead import CATCHES_UP, ROUND, ReadAhead, url_of


class MemoryBlocks:
    """Keeps blocks as the journal does."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[int, int, bytes]] = {}

    def blocks(self) -> Sequence[tuple[int, int, int]]:
        return [(number, round_, urls) for number, (round_, urls, _) in self.kept.items()]

    def block(self, number: int) -> bytes:
        return self.kept[number][2]

    def keep(self, ahead: ReadAhead) -> None:
        changes = ahead.changes()
        for number in changes.popped:
            del self.kept[number]
        for number, round_, urls, packed in changes.kept:
            assert number not in self.kept
            self.kept[number] = (round_, urls, packed)


def _entries(host: str, numbers: Iterable[int]) -> list[Listed]:
    return [BatchEntry(url=f"http://{host}/{number}") for number in numbers]


def _hosts_of(entries: Iterable[Listed]) -> Counter[str]:
    return Counter(url_of(entry).split("/")[2] for entry in entries)


def _pop(ahead: ReadAhead, least: int) -> list[Listed]:
    popped: list[Listed] = []
    while len(popped) < least:
        popped += ahead.pop()
    return popped


def test_hosts_of_a_sorted_list_take_turns() -> None:
    ahead = ReadAhead(MemoryBlocks())
    for host in "abcd":
        ahead.add(_entries(host, range(1000)))

    popped = _pop(ahead, 8 * ROUND)

    assert _hosts_of(popped) == dict.fromkeys("abcd", 2 * ROUND)
    assert ahead.urls == 4000 - len(popped)


def test_a_late_host_catches_up_beside_the_others() -> None:
    """Guards what is missed, and that it is made up for: the last host read would be the last one done."""
    ahead = ReadAhead(MemoryBlocks())
    ahead.add(_entries("first", range(20 * ROUND)))
    _pop(ahead, 4 * ROUND)
    before = ahead.is_overtaking

    ahead.add(_entries("late", range(20 * ROUND)))

    assert (before, ahead.is_overtaking) == (True, False), "all that was left was of a host that had its turn"
    assert _hosts_of(_pop(ahead, CATCHES_UP * ROUND)) == {"late": CATCHES_UP * ROUND}, "this round is its turn"
    assert ahead.is_overtaking
    assert _hosts_of(_pop(ahead, 6 * ROUND)) == {"first": 2 * ROUND, "late": 4 * ROUND}
    assert _hosts_of(_pop(ahead, 8 * ROUND)) == {"first": 4 * ROUND, "late": 4 * ROUND}, "both had six rounds before"


def test_no_host_is_alone_in_a_long_list_sorted_by_host() -> None:
    """Guards what is missed: a process holds URLs of several hosts at any time, so a limit per host slows none down."""
    ahead, popped = ReadAhead(MemoryBlocks()), list[Listed]()
    for host in range(40):
        ahead.add(_entries(f"h{host}", range(100 * ROUND)))
        if host >= 10:
            popped += _pop(ahead, 100 * ROUND)

    held = [_hosts_of(popped[start : start + 1000]) for start in range(0, len(popped), 1000)]

    assert max(max(hosts.values()) for hosts in held) <= 200


def test_a_list_of_many_hosts_keeps_its_order() -> None:
    ahead = ReadAhead(MemoryBlocks())
    entries = [BatchEntry(url=f"http://h{number % 100}/{number}") for number in range(3000)]

    ahead.add(entries)

    assert ahead.pop() == entries
    assert not ahead
    assert not ahead.is_overtaking


_lists = st.lists(st.sampled_from("aaaaabbc"), min_size=1, max_size=3 * ROUND)


@example([["a", "b"], "keep", "pop", "keep", "kill"])
@given(st.lists(st.one_of(_lists, st.sampled_from(["pop", "keep", "kill"])), max_size=30))
def test_every_entry_is_popped_once_whatever_happens_between(steps: list[list[str] | str]) -> None:
    kept, number = MemoryBlocks(), 0
    ahead, safe, unsafe = ReadAhead(kept), [], []  # type: ReadAhead, list[str], list[str]
    expected: list[str] = []
    read: list[str] = []
    for step in steps:
        if step == "kill":
            ahead, unsafe, read = ReadAhead(kept), [], []
        elif step == "keep":
            kept.keep(ahead)
            safe, unsafe, expected, read = safe + unsafe, [], expected + read, []
        elif step == "pop":
            unsafe += [url_of(entry) for entry in ahead.pop()] if ahead else []
        else:
            new = [BatchEntry(url=f"http://{host}/{number + index}") for index, host in enumerate(step)]
            number += len(new)
            ahead.add(new)
            read += [url_of(entry) for entry in new]

    while ahead:
        unsafe += [url_of(entry) for entry in ahead.pop()]

    assert sorted(safe + unsafe) == sorted(expected + read)
    assert ahead.urls == 0
