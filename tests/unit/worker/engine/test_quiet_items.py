"""A quiet item holds no slot, and quiet hosts neither fill the window nor use up the allowance that all share."""

from __future__ import annotations

from collections import Counter

from tests.support.scheduled import Item, start_all
from worker.engine.schedule import Schedule


def _all_quiet(schedule: Schedule[Item]) -> list[Item]:
    """Start all that may start, let it go quiet at once, and repeat until nothing may start."""
    taken: list[Item] = []
    while now := start_all(schedule):
        taken += [item for item in now if schedule.hush(item.host_key)]
    return taken


def test_a_quiet_item_gives_its_slot_to_another() -> None:
    schedule: Schedule[Item] = Schedule(2)
    for number in range(3):
        schedule.add(Item("a", number))
    schedule.add(Item("b"))
    assert len(start_all(schedule)) == 2

    assert schedule.hush("a")

    assert [item.host_key for item in start_all(schedule)] == ["a"]


def test_an_item_that_resumes_may_exceed_the_window_and_nothing_starts() -> None:
    schedule: Schedule[Item] = Schedule(4)
    for number in range(20):
        schedule.add(Item("ab"[number % 2], number))
    start_all(schedule)
    for _ in range(2):
        assert schedule.hush("a")
    assert len(start_all(schedule)) == 2

    for _ in range(2):
        schedule.rouse("a")

    assert schedule.flying - schedule.quiet == 6
    assert start_all(schedule) == []


def test_a_quiet_host_has_no_more_in_flight_than_there_are_slots() -> None:
    """Guards the limit of ``_may_start``: a server too busy to answer would get five times as many requests."""
    schedule: Schedule[Item] = Schedule(8)
    for number in range(1000):
        schedule.add(Item("busy", number))

    assert len(_all_quiet(schedule)) == 8


def test_a_host_that_answers_may_have_quiet_ones_beside_the_window() -> None:
    """Guards ``prompt``: two silent URLs in a hundred would fill their host's slots and keep the others out."""
    schedule: Schedule[Item] = Schedule(8)
    for number in range(1000):
        schedule.add(Item("good", number))
    start_all(schedule)

    for _ in range(8):
        schedule.hush("good")
        for _ in range(7):
            schedule.leave("good")
        start_all(schedule)

    assert (schedule.quiet, schedule.flying) == (8, 16)


def test_silent_hosts_leave_others_room_to_be_quiet() -> None:
    """Guards ``_next``: ten silent hosts would use up the common allowance, and the window after it."""
    schedule: Schedule[Item] = Schedule(8)
    for host in range(10):
        for number in range(1000):
            schedule.add(Item(f"silent{host}", number))

    _all_quiet(schedule)

    assert schedule.quiet < 32
    schedule.add(Item("new"))
    assert [item.host_key for item in start_all(schedule)] == ["new"]
    assert schedule.hush("new")


def test_a_host_with_a_few_quiet_items_is_not_stuck() -> None:
    """Guards ``is_mostly_quiet``: where few may be quiet, each of them would cost its host the rest of the window."""
    schedule: Schedule[Item] = Schedule(8, most_quiet=2)
    for number in range(20):
        schedule.add(Item("good", number))
    start_all(schedule)

    schedule.hush("good")
    schedule.leave("good")
    schedule.leave("good")

    assert len(start_all(schedule)) == 3


def test_a_stuck_host_continues_when_fewer_are_quiet() -> None:
    schedule: Schedule[Item] = Schedule(4, most_quiet=8)
    for number in range(3):
        schedule.add(Item("a", number))
    for number in range(9):
        schedule.add(Item("b", number))
    assert Counter(item.host_key for item in _all_quiet(schedule)) == {"a": 3, "b": 3}

    for _ in range(3):
        schedule.leave("a", quiet=True)
    assert start_all(schedule) == []
    schedule.relieve()

    assert {item.host_key for item in start_all(schedule)} == {"b"}
