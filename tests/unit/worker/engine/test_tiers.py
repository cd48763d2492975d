"""First tries go before later ones, and what stalled before takes no slot."""

from __future__ import annotations

from tests.support.scheduled import Item, start_all
from worker.engine.queues import Tier
from worker.engine.schedule import Schedule


def _beside_a_silent_host(waiting: int) -> Schedule[Item]:
    """Return a schedule of four slots: the two items of a silent host went quiet, the two of a busy one did not."""
    schedule: Schedule[Item] = Schedule(4)
    for number in range(2 + waiting):
        schedule.add(Item("silent", number))
        schedule.add(Item("busy", number))
    assert len(start_all(schedule)) == 4
    for _ in range(2):
        schedule.hush("silent")
    return schedule


def test_first_tries_of_a_host_that_only_stalls_take_no_slot_from_others() -> None:
    """Guards ``set_back``: each would hold a slot until it went quiet as well."""
    schedule = _beside_a_silent_host(waiting=3)

    assert [item.host_key for item in start_all(schedule)] == ["busy", "busy"]
    stalled = schedule.pop_stalled()
    assert stalled is not None
    assert stalled.host_key == "silent"


def test_first_tries_that_a_host_gets_after_it_stalled_take_no_slot_from_others_either() -> None:
    """Guards ``stalls`` in ``add``."""
    schedule = _beside_a_silent_host(waiting=0)

    for number in range(2, 5):
        schedule.add(Item("silent", number))
        schedule.add(Item("busy", number))

    assert [item.host_key for item in start_all(schedule)] == ["busy", "busy"]


def test_first_tries_of_a_host_that_answers_after_all_are_such_again() -> None:
    """Guards ``bring_forward``."""
    for waiting in (0, 1):
        schedule = _beside_a_silent_host(waiting)
        schedule.rouse("silent")
        schedule.leave("silent")
        if not waiting:
            schedule.add(Item("silent"))

        assert start_all(schedule)[0].host_key == "silent"


def test_first_tries_of_a_host_are_such_again_when_its_silent_ones_are_over() -> None:
    schedule = _beside_a_silent_host(waiting=1)
    for _ in range(2):
        schedule.leave("silent", quiet=True)

    schedule.add(Item("silent"))

    assert start_all(schedule)[0].host_key == "silent"


def test_a_host_that_has_answered_keeps_its_turns_when_one_goes_quiet() -> None:
    """Guards ``stalls`` in ``hush``."""
    schedule: Schedule[Item] = Schedule(4)
    for number in range(6):
        schedule.add(Item("good", number))
        schedule.add(Item("busy", number))
    start_all(schedule)
    schedule.leave("good")

    schedule.hush("good")

    assert start_all(schedule)[0].host_key == "good"


def test_first_attempts_come_before_retries_without_starving_them() -> None:
    schedule: Schedule[Item] = Schedule(1)
    for number in range(20):
        schedule.add(Item("a", number, tier=Tier.AGAIN))
        schedule.add(Item("b", number))
    order = ""

    while taken := start_all(schedule):
        order += "".join(item.host_key for item in taken)
        for item in taken:
            schedule.leave(item.host_key)

    assert order == "bbbbbbba" * 2 + "bbbbbb" + "a" * 18


def test_stalled_items_take_no_slot_and_at_most_half_of_the_quiet_ones() -> None:
    schedule: Schedule[Item] = Schedule(4)
    for number in range(20):
        schedule.add(Item(f"h{number}", number, tier=Tier.STALLED))
    for number in range(4):
        schedule.add(Item("first", number))

    assert [item.host_key for item in start_all(schedule)] == ["first"] * 4
    stalled = []
    while (item := schedule.pop_stalled()) is not None:
        stalled.append(item)
        assert schedule.hush(item.host_key)

    assert len(stalled) == 8
    assert (schedule.flying, schedule.quiet) == (12, 8)
