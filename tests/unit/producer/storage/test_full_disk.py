"""A full disk of the producer: reported once, waited for, given up on request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from producer.storage.full_disk import FullDiskError, SpaceWait


def failing(times: int) -> Callable[[], str]:
    """Return what meets a full disk so many times."""
    left = iter(range(times))

    def write() -> str:
        if next(left, None) is not None:
            raise FullDiskError(Path("out"))
        return "written"

    return write


def test_a_full_disk_is_reported_once_and_waited_for() -> None:
    said: list[str] = []
    pauses: list[float] = []
    space = SpaceWait(said.append, clock=lambda: sum(pauses), sleep=pauses.append)

    assert space.call(failing(3)) == "written"

    assert said == [
        "The disk of out is full: waiting for space. Nothing is lost.",
        "The disk has space again after 3 s.",
    ]
    assert len(pauses) == 3


def test_a_successful_write_reports_nothing() -> None:
    said: list[str] = []

    assert SpaceWait(said.append).call(failing(0)) == "written"

    assert said == []


def test_the_wait_ends_on_request() -> None:
    """Guards the call between two tries: Ctrl-C would wait for space."""

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SpaceWait(lambda _line: None, stop=stop, sleep=lambda _seconds: pytest.fail("it waited")).call(failing(1))
