"""Hosts take turns, and none keeps the others out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from worker.engine.schedule import Schedule


@dataclass(frozen=True)
class _Turn:
    host_key: str
    number: int = 0
    per_host: int = 0
    is_under_way: bool = False


def _taken(schedule: Schedule[_Turn]) -> list[_Turn]:
    taken = []
    while (turn := schedule.take()) is not None:
        taken.append(turn)
    return taken


def test_the_window_is_shared_evenly() -> None:
    schedule: Schedule[_Turn] = Schedule(12)
    for host in "abc":
        for number in range(100):
            schedule.add(_Turn(host, number))

    assert Counter(turn.host_key for turn in _taken(schedule)) == {"a": 4, "b": 4, "c": 4}


def test_a_host_with_little_to_do_leaves_its_share_to_others() -> None:
    schedule: Schedule[_Turn] = Schedule(12)
    schedule.add(_Turn("few"))
    for number in range(100):
        schedule.add(_Turn("many", number))

    assert Counter(turn.host_key for turn in _taken(schedule)) == {"few": 1, "many": 11}


def test_newcomers_get_in_although_a_slow_host_holds_the_whole_window() -> None:
    """Guards the quarter above the window."""
    schedule: Schedule[_Turn] = Schedule(8)
    for number in range(100):
        schedule.add(_Turn("slow", number))
    assert len(_taken(schedule)) == 8

    schedule.add(_Turn("new"))
    schedule.add(_Turn("newer"))

    assert {turn.host_key for turn in _taken(schedule)} == {"new", "newer"}


def test_a_slow_host_does_not_win_places_by_holding_them() -> None:
    schedule: Schedule[_Turn] = Schedule(10)
    for number in range(1000):
        schedule.add(_Turn("slow", number))
        schedule.add(_Turn("fast", number))
    flying = Counter(turn.host_key for turn in _taken(schedule))

    for _ in range(200):
        schedule.leave("fast")  # only the fast host ever finishes
        flying["fast"] -= 1
        flying.update(turn.host_key for turn in _taken(schedule))

    assert flying == {"slow": 5, "fast": 5}


def test_what_is_under_way_goes_first_when_its_moment_comes() -> None:
    """Guards ``first`` in ``wake``: a body of which much has come would wait behind all that has not begun."""
    schedule: Schedule[_Turn] = Schedule(1)
    schedule.wait(_Turn("a", number=1, is_under_way=True), until=5.0)
    schedule.add(_Turn("a", number=2))

    schedule.wake(5.0)

    taken = schedule.take()
    assert taken is not None
    assert taken.number == 1


def test_a_limit_per_host_holds() -> None:
    schedule: Schedule[_Turn] = Schedule(10)
    for number in range(5):
        schedule.add(_Turn("a", number, per_host=2))

    assert len(_taken(schedule)) == 2
    schedule.leave("a")
    assert len(_taken(schedule)) == 1


def test_waiting_turns_come_when_they_are_due() -> None:
    schedule: Schedule[_Turn] = Schedule(10)
    schedule.wait(_Turn("a", 1), 5.0)
    schedule.wait(_Turn("a", 2), 3.0)

    schedule.wake(4.0)

    assert [turn.number for turn in _taken(schedule)] == [2]
    assert schedule.next_due() == 5.0


def test_a_blocked_host_starts_nothing_and_loses_nothing() -> None:
    schedule: Schedule[_Turn] = Schedule(10)
    schedule.add(_Turn("a"))
    schedule.block("a")
    schedule.add(_Turn("a", 1))

    assert _taken(schedule) == []
    schedule.unblock("a")
    assert len(_taken(schedule)) == 2


def test_turns_can_be_taken_out() -> None:
    schedule: Schedule[_Turn] = Schedule(10)
    for number in range(4):
        schedule.add(_Turn("a", number))
    schedule.wait(_Turn("a", 4), 7.0)

    removed = list(schedule.remove(lambda turn: turn.number % 2 == 0))

    assert [(turn.number, due) for turn, due in removed] == [(0, None), (2, None), (4, 7.0)]
    assert [turn.number for turn in _taken(schedule)] == [1, 3]


@given(
    st.integers(1, 8), st.lists(st.tuples(st.sampled_from(["add", "leave", "wait"]), st.integers(0, 3)), max_size=80)
)
def test_no_turn_is_lost_or_taken_twice(window: int, steps: list[tuple[str, int]]) -> None:
    schedule: Schedule[_Turn] = Schedule(window)
    added: list[_Turn] = []
    taken: list[_Turn] = []
    flying: list[_Turn] = []
    for number, (step, host) in enumerate(steps):
        turn = _Turn(f"h{host}", number)
        if step == "leave" and flying:
            schedule.leave(flying.pop().host_key)
        elif step == "wait":
            added.append(turn)
            schedule.wait(turn, float(number))
        else:
            added.append(turn)
            schedule.add(turn)
        schedule.wake(float(number))
        now = _taken(schedule)
        taken += now
        flying += now
        assert schedule.flying == len(flying) <= window + max(1, window // 4)
    while flying or len(schedule):
        schedule.wake(1e9)
        if flying:
            schedule.leave(flying.pop().host_key)
        now = _taken(schedule)
        taken += now
        flying += now

    assert sorted(taken, key=lambda turn: turn.number) == sorted(added, key=lambda turn: turn.number)
