"""Hosts take turns, and none keeps the others out."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tests.support.scheduled import Item, start_all
from worker.engine.queues import Tier
from worker.engine.schedule import Schedule


def test_the_window_is_shared_evenly() -> None:
    schedule: Schedule[Item] = Schedule(12)
    for host in "abc":
        for number in range(100):
            schedule.add(Item(host, number))

    assert Counter(item.host_key for item in start_all(schedule)) == {"a": 4, "b": 4, "c": 4}


def test_a_host_with_little_to_do_leaves_its_share_to_others() -> None:
    schedule: Schedule[Item] = Schedule(12)
    schedule.add(Item("few"))
    for number in range(100):
        schedule.add(Item("many", number))

    assert Counter(item.host_key for item in start_all(schedule)) == {"few": 1, "many": 11}


def test_a_host_starts_with_a_quarter_of_the_window() -> None:
    """Guards ``_OPENING``: it may throttle all of them at once."""
    schedule: Schedule[Item] = Schedule(256)
    for number in range(100):
        schedule.add(Item("a", number))
    assert len(start_all(schedule)) == 64

    for _ in range(8):
        schedule.leave("a")

    assert len(start_all(schedule)) == 16


def test_new_hosts_get_in_although_a_slow_one_holds_the_window() -> None:
    """Guards the quarter above the window."""
    schedule: Schedule[Item] = Schedule(8)
    for number in range(100):
        schedule.add(Item("slow", number))
    assert len(start_all(schedule)) == 8

    schedule.add(Item("new"))
    schedule.add(Item("newer"))

    assert {item.host_key for item in start_all(schedule)} == {"new", "newer"}


def test_with_one_slot_nothing_overlaps() -> None:
    """Guards the quarter of a small window, and that nothing goes quiet: ``trawl compare`` fetched two URLs at once."""
    schedule: Schedule[Item] = Schedule(1, most_quiet=0)
    for host in "abc":
        schedule.add(Item(host))

    assert len(start_all(schedule)) == 1
    assert not schedule.hush("a")
    assert start_all(schedule) == []


def test_a_slow_host_does_not_win_slots_by_holding_them() -> None:
    schedule: Schedule[Item] = Schedule(10)
    for number in range(1000):
        schedule.add(Item("slow", number))
        schedule.add(Item("fast", number))
    flying = Counter(item.host_key for item in start_all(schedule))

    for _ in range(200):
        schedule.leave("fast")  # only the fast host ever finishes
        flying["fast"] -= 1
        flying.update(item.host_key for item in start_all(schedule))

    assert flying == {"slow": 5, "fast": 5}


def test_a_host_alone_and_one_joined_by_helpers_keep_their_places() -> None:
    """Guards the level of a sole host, and ``join``: both are offered by what they have in flight now."""
    schedule: Schedule[Item] = Schedule(8)
    for number in range(9):
        schedule.add(Item("alone", number))
    start_all(schedule)
    for _ in range(8):
        schedule.leave("alone")
    schedule.add(Item("new"))
    schedule.add(Item("joined"))
    schedule.join("joined")

    assert [item.host_key for item in start_all(schedule)] == ["alone", "new", "joined"]


def test_an_item_under_way_comes_first_when_it_is_due() -> None:
    """Guards ``first`` in ``wake``: a body of which much has come would wait behind all that has not begun."""
    schedule: Schedule[Item] = Schedule(1)
    schedule.wait(Item("a", number=1, is_under_way=True), until=5.0)
    schedule.add(Item("a", number=2))

    schedule.wake(5.0)

    taken = schedule.pop()
    assert taken is not None
    assert taken.number == 1


def test_a_limit_per_host_holds() -> None:
    schedule: Schedule[Item] = Schedule(10)
    for number in range(5):
        schedule.add(Item("a", number, per_host=2))

    assert len(start_all(schedule)) == 2
    schedule.leave("a")
    assert len(start_all(schedule)) == 1


def test_delayed_items_come_when_they_are_due() -> None:
    schedule: Schedule[Item] = Schedule(10)
    schedule.wait(Item("a", 1), 5.0)
    schedule.wait(Item("a", 2), 3.0)
    schedule.wait(Item("a", 3), 3.0)

    schedule.wake(4.0)

    assert [item.number for item in start_all(schedule)] == [2, 3]
    assert schedule.next_due() == 5.0


def test_a_blocked_host_starts_nothing_and_loses_nothing() -> None:
    schedule: Schedule[Item] = Schedule(10)
    schedule.add(Item("a"))
    schedule.block("a")
    schedule.add(Item("a", 1))

    assert start_all(schedule) == []
    schedule.unblock("a")
    assert len(start_all(schedule)) == 2


def test_items_can_be_removed() -> None:
    schedule: Schedule[Item] = Schedule(10)
    for number in range(4):
        schedule.add(Item("a", number))
    schedule.wait(Item("a", 4), 7.0)

    removed = list(schedule.remove(lambda item: item.number % 2 == 0))

    assert [(item.number, due) for item, due in removed] == [(0, None), (2, None), (4, 7.0)]
    assert [item.number for item in start_all(schedule)] == [1, 3]


def test_items_that_could_take_no_slot_are_counted_separately() -> None:
    schedule: Schedule[Item] = Schedule(1)
    for number in range(3):
        schedule.add(Item("limited", number, per_host=1))
        schedule.add(Item("free", number))
        schedule.add(Item("stalled", number, tier=Tier.STALLED))
        schedule.add(Item("blocked", number, tier=Tier.AGAIN))
    schedule.block("blocked")
    start_all(schedule)

    assert Counter(item.host_key for item in schedule.held_up()) == {"limited": 2, "stalled": 3, "blocked": 3}


@given(
    st.integers(1, 8),
    st.lists(
        st.tuples(st.sampled_from(["add", "leave", "wait", "hush", "rouse"]), st.integers(0, 3), st.sampled_from(Tier)),
        max_size=80,
    ),
)
def test_no_item_is_lost_or_started_twice(window: int, steps: list[tuple[str, int, Tier]]) -> None:
    world = _Lane(window)
    for number, (step, host, tier) in enumerate(steps):
        world.do(step, Item(f"h{host}", number, tier=tier))
        world.start(float(number))
    while world.flying or world.quiet or len(world.schedule):
        world.do("leave", None)
        world.start(1e9)

    assert sorted(world.taken, key=lambda item: item.number) == world.added


class _Lane:
    """Does with a schedule what a lane does, and holds the bounds."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.schedule: Schedule[Item] = Schedule(window)
        self.added: list[Item] = []
        self.taken: list[Item] = []
        self.flying: list[Item] = []
        self.quiet: list[Item] = []

    def do(self, step: str, item: Item | None) -> None:
        if step == "hush" and self.flying:
            self._hush(self.flying.pop())
        elif step == "rouse" and self.quiet:
            self.flying.append(self.quiet.pop())
            self.schedule.rouse(self.flying[-1].host_key)
        elif step == "leave" and (self.flying or self.quiet):
            is_quiet = not self.flying
            self.schedule.leave((self.quiet if is_quiet else self.flying).pop().host_key, quiet=is_quiet)
        elif item is not None:
            self.added.append(item)
            if step == "wait":
                self.schedule.wait(item, float(item.number))
            else:
                self.schedule.add(item)

    def start(self, now: float) -> None:
        self.schedule.wake(now)
        self.schedule.relieve()
        before = len(self.flying)
        started = start_all(self.schedule)
        self.taken += started
        self.flying += started
        while (item := self.schedule.pop_stalled()) is not None:
            self.taken.append(item)
            self._hush(item)
        assert self.schedule.quiet == len(self.quiet) <= 4 * self.window
        assert self.schedule.flying == len(self.flying) + len(self.quiet)
        hosts = self.schedule._hosts.values()
        assert self.schedule.flying == sum(host.flying for host in hosts)
        assert self.schedule.quiet == sum(host.quiet for host in hosts)
        assert len(self.flying) <= max(before, self.window + max(1, self.window // 4))

    def _hush(self, item: Item) -> None:
        (self.quiet if self.schedule.hush(item.host_key) else self.flying).append(item)
