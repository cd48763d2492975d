"""The tasks that a worker's processes have in hand, as the stopping main process sees them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from worker import shutdown
from worker.shutdown import InHand


def test_a_task_is_in_hand_until_it_ends_in_whatever_way() -> None:
    in_hand = InHand()

    with in_hand.one_more(), in_hand.one_more():
        assert in_hand
    assert not in_hand
    with pytest.raises(ZeroDivisionError), in_hand.one_more():
        raise ZeroDivisionError
    assert not in_hand


def test_a_killed_processs_tasks_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards ``forget``: a worker that had lost a process would never be idle again."""
    in_hand, place = InHand(), SimpleNamespace(index=3)
    monkeypatch.setattr(shutdown, "current_process", lambda: place)
    held = in_hand.one_more()
    held.__enter__()
    place.index = 4
    in_hand.forget()
    assert in_hand

    place.index = 3
    in_hand.forget()

    assert not in_hand
