"""Hosts take turns, and none keeps the others out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from worker.engine.queues import Tier
from worker.engine.schedule import Schedule


@dataclass(frozen=True)
class _Item:
    host_key: str
    number: int = 0
    per_host: int = 0
    is_under_way: bool = False
    tier: Tier = Tier.FIRST


def _taken(schedule: Schedule[_Item]) -> list[_Item]:
    taken = []
    while (item := schedule.pop()) is not None:
        taken.append(item)
    return taken


def test_the_window_is_shared_evenly() -> None:
    schedule: Schedule[_Item] = Schedule(12)
    for host in "abc":
        for number in range(100):
            schedule.add(_Item(host, number))

    assert Counter(item.host_key for item in _taken(schedule)) == {"a": 4, "b": 4, "c": 4}


def test_a_host_with_little_to_do_leaves_its_share_to_others() -> None:
    schedule: Schedule[_Item] = Schedule(12)
    schedule.add(_Item("few"))
    for number in range(100):
        schedule.add(_Item("many", number))

    assert Counter(item.host_key for item in _taken(schedule)) == {"few": 1, "many": 11}


def test_a_host_starts_with_a_quarter_of_the_window() -> None:
    """Guards ``_OPENING``: it may throttle all of them at once."""
    schedule: Schedule[_Item] = Schedule(256)
    for number in range(100):
        schedule.add(_Item("a", number))
    assert len(_taken(schedule)) == 64

    for _ in range(8):
        schedule.leave("a")

    assert len(_taken(schedule)) == 16


def test_new_hosts_get_in_although_a_slow_one_holds_the_window() -> None:
    """Guards the quarter above the window."""
    schedule: Schedule[_Item] = Schedule(8)
    for number in range(100):
        schedule.add(_Item("slow", number))
    assert len(_taken(schedule)) == 8

    schedule.add(_Item("new"))
    schedule.add(_Item("newer"))

    assert {item.host_key for item in _taken(schedule)} == {"new", "newer"}


def test_a_slow_host_does_not_win_slots_by_holding_them() -> None:
    schedule: Schedule[_Item] = Schedule(10)
    for number in range(1000):
        schedule.add(_Item("slow", number))
        schedule.add(_Item("fast", number))
    flying = Counter(item.host_key for item in _taken(schedule))

    for _ in range(200):
        schedule.leave("fast")  # only the fast host ever finishes
        flying["fast"] -= 1
        flying.update(item.host_key for item in _taken(schedule))

    assert flying == {"slow": 5, "fast": 5}


def test_an_item_under_way_comes_first_when_it_is_due() -> None:
    """Guards ``first`` in ``wake``: a body of which much has come would wait behind all that has not begun."""
    schedule: Schedule[_Item] = Schedule(1)
    schedule.wait(_Item("a", number=1, is_under_way=True), until=5.0)
    schedule.add(_Item("a", number=2))

    schedule.wake(5.0)

    taken = schedule.pop()
    assert taken is not None
    assert taken.number == 1


def test_a_limit_per_host_holds() -> None:
    schedule: Schedule[_Item] = Schedule(10)
    for number in range(5):
        schedule.add(_Item("a", number, per_host=2))

    assert len(_taken(schedule)) == 2
    schedule.leave("a")
    assert len(_taken(schedule)) == 1


def test_delayed_items_come_when_they_are_due() -> None:
    schedule: Schedule[_Item] = Schedule(10)
    schedule.wait(_Item("a", 1), 5.0)
    schedule.wait(_Item("a", 2), 3.0)

    schedule.wake(4.0)

    assert [item.number for item in _taken(schedule)] == [2]
    assert schedule.next_due() == 5.0


def test_a_blocked_host_starts_nothing_and_loses_nothing() -> None:
    schedule: Schedule[_Item] = Schedule(10)
    schedule.add(_Item("a"))
    schedule.block("a")
    schedule.add(_Item("a", 1))

    assert _taken(schedule) == []
    schedule.unblock("a")
    assert len(_taken(schedule)) == 2


def test_items_can_be_removed() -> None:
    schedule: Schedule[_Item] = Schedule(10)
    for number in range(4):
        schedule.add(_Item("a", number))
    schedule.wait(_Item("a", 4), 7.0)

    removed = list(schedule.remove(lambda item: item.number % 2 == 0))

    assert [(item.number, due) for item, due in removed] == [(0, None), (2, None), (4, 7.0)]
    assert [item.number for item in _taken(schedule)] == [1, 3]


def _all_quiet(schedule: Schedule[_Item]) -> list[_Item]:
    """Start all that may start, let it go quiet at once, and repeat until nothing may start."""
    taken: list[_Item] = []
    while now := _taken(schedule):
        taken += [item for item in now if schedule.hush(item.host_key)]
    return taken


def test_a_quiet_item_gives_its_slot_to_another() -> None:
    schedule: Schedule[_Item] = Schedule(2)
    for number in range(3):
        schedule.add(_Item("a", number))
    schedule.add(_Item("b"))
    assert len(_taken(schedule)) == 2

    assert schedule.hush("a")

    assert [item.host_key for item in _taken(schedule)] == ["a"]


def test_an_item_that_resumes_may_exceed_the_window_and_nothing_starts() -> None:
    schedule: Schedule[_Item] = Schedule(4)
    for number in range(20):
        schedule.add(_Item("ab"[number % 2], number))
    _taken(schedule)
    for _ in range(2):
        assert schedule.hush("a")
    assert len(_taken(schedule)) == 2

    for _ in range(2):
        schedule.rouse("a")

    assert schedule.flying - schedule.quiet == 6
    assert _taken(schedule) == []


def test_a_quiet_host_has_no_more_in_flight_than_there_are_slots() -> None:
    """Guards the limit of ``_may_start``: a server too busy to answer would get five times as many requests."""
    schedule: Schedule[_Item] = Schedule(8)
    for number in range(1000):
        schedule.add(_Item("busy", number))

    assert len(_all_quiet(schedule)) == 8


def test_a_host_that_answers_may_have_quiet_ones_beside_the_window() -> None:
    """Guards ``prompt``: two silent URLs in a hundred would fill their host's slots and keep the others out."""
    schedule: Schedule[_Item] = Schedule(8)
    for number in range(1000):
        schedule.add(_Item("good", number))
    _taken(schedule)

    for _ in range(8):
        schedule.hush("good")
        for _ in range(7):
            schedule.leave("good")
        _taken(schedule)

    assert (schedule.quiet, schedule.flying) == (8, 16)


def test_silent_hosts_leave_others_room_to_be_quiet() -> None:
    """Guards ``_next``: ten silent hosts would use up the common allowance, and the window after it."""
    schedule: Schedule[_Item] = Schedule(8)
    for host in range(10):
        for number in range(1000):
            schedule.add(_Item(f"silent{host}", number))

    _all_quiet(schedule)

    assert schedule.quiet < 32
    schedule.add(_Item("new"))
    assert [item.host_key for item in _taken(schedule)] == ["new"]
    assert schedule.hush("new")


def test_a_host_with_a_few_quiet_items_is_not_stuck() -> None:
    """Guards ``is_mostly_quiet``: where few may be quiet, each of them would cost its host the rest of the window."""
    schedule: Schedule[_Item] = Schedule(8, most_quiet=2)
    for number in range(20):
        schedule.add(_Item("good", number))
    _taken(schedule)

    schedule.hush("good")
    schedule.leave("good")
    schedule.leave("good")

    assert len(_taken(schedule)) == 3


def test_a_stuck_host_continues_when_fewer_are_quiet() -> None:
    schedule: Schedule[_Item] = Schedule(4, most_quiet=8)
    for number in range(3):
        schedule.add(_Item("a", number))
    for number in range(9):
        schedule.add(_Item("b", number))
    assert Counter(item.host_key for item in _all_quiet(schedule)) == {"a": 3, "b": 3}

    for _ in range(3):
        schedule.leave("a", quiet=True)
    assert _taken(schedule) == []
    schedule.relieve()

    assert {item.host_key for item in _taken(schedule)} == {"b"}


def _beside_a_silent_host(waiting: int) -> Schedule[_Item]:
    """Return a schedule of four slots: the two items of a silent host went quiet, the two of a busy one did not."""
    schedule: Schedule[_Item] = Schedule(4)
    for number in range(2 + waiting):
        schedule.add(_Item("silent", number))
        schedule.add(_Item("busy", number))
    assert len(_taken(schedule)) == 4
    for _ in range(2):
        schedule.hush("silent")
    return schedule


def test_first_tries_of_a_host_that_only_stalls_take_no_slot_from_others() -> None:
    """Guards ``set_back``: each would hold a slot until it went quiet as well."""
    schedule = _beside_a_silent_host(waiting=3)

    assert [item.host_key for item in _taken(schedule)] == ["busy", "busy"]
    stalled = schedule.pop_stalled()
    assert stalled is not None
    assert stalled.host_key == "silent"


def test_first_tries_that_a_host_gets_after_it_stalled_take_no_slot_from_others_either() -> None:
    """Guards ``stalls`` in ``add``."""
    schedule = _beside_a_silent_host(waiting=0)

    for number in range(2, 5):
        schedule.add(_Item("silent", number))
        schedule.add(_Item("busy", number))

    assert [item.host_key for item in _taken(schedule)] == ["busy", "busy"]


def test_first_tries_of_a_host_that_answers_after_all_are_such_again() -> None:
    """Guards ``bring_forward``."""
    schedule = _beside_a_silent_host(waiting=3)

    schedule.rouse("silent")
    schedule.leave("silent")

    assert _taken(schedule)[0].host_key == "silent"


def test_first_attempts_come_before_retries_without_starving_them() -> None:
    schedule: Schedule[_Item] = Schedule(1)
    for number in range(20):
        schedule.add(_Item("a", number, tier=Tier.AGAIN))
        schedule.add(_Item("b", number))
    order = ""

    while taken := _taken(schedule):
        order += "".join(item.host_key for item in taken)
        for item in taken:
            schedule.leave(item.host_key)

    assert order == "bbbbbbba" * 2 + "bbbbbb" + "a" * 18


def test_stalled_items_take_no_slot_and_at_most_half_of_the_quiet_ones() -> None:
    schedule: Schedule[_Item] = Schedule(4)
    for number in range(20):
        schedule.add(_Item(f"h{number}", number, tier=Tier.STALLED))
    for number in range(4):
        schedule.add(_Item("first", number))

    assert [item.host_key for item in _taken(schedule)] == ["first"] * 4
    stalled = []
    while (item := schedule.pop_stalled()) is not None:
        stalled.append(item)
        assert schedule.hush(item.host_key)

    assert len(stalled) == 8
    assert (schedule.flying, schedule.quiet) == (12, 8)


def test_items_that_could_take_no_slot_are_counted_separately() -> None:
    schedule: Schedule[_Item] = Schedule(1)
    for number in range(3):
        schedule.add(_Item("limited", number, per_host=1))
        schedule.add(_Item("free", number))
        schedule.add(_Item("stalled", number, tier=Tier.STALLED))
        schedule.add(_Item("blocked", number, tier=Tier.AGAIN))
    schedule.block("blocked")
    _taken(schedule)

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
        world.do(step, _Item(f"h{host}", number, tier=tier))
        world.start(float(number))
    while world.flying or world.quiet or len(world.schedule):
        world.do("leave", None)
        world.start(1e9)

    assert sorted(world.taken, key=lambda item: item.number) == world.added


class _Lane:
    """Does with a schedule what a lane does, and holds the bounds."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.schedule: Schedule[_Item] = Schedule(window)
        self.added: list[_Item] = []
        self.taken: list[_Item] = []
        self.flying: list[_Item] = []
        self.quiet: list[_Item] = []

    def do(self, step: str, item: _Item | None) -> None:
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
        started = _taken(self.schedule)
        self.taken += started
        self.flying += started
        while (item := self.schedule.pop_stalled()) is not None:
            self.taken.append(item)
            self._hush(item)
        assert self.schedule.quiet == len(self.quiet) <= 4 * self.window
        assert self.schedule.flying == len(self.flying) + len(self.quiet)
        assert len(self.flying) <= max(before, self.window + max(1, self.window // 4))

    def _hush(self, item: _Item) -> None:
        (self.quiet if self.schedule.hush(item.host_key) else self.flying).append(item)
