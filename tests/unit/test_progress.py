"""Telling how a task goes neither delays nor ends it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

from celery import Celery
from kombu.exceptions import OperationalError

from tests.support.processes import await_condition
from worker.tasks import ProgressTeller


class Events:
    """Celery's events over a broker that behaves as told."""

    def __init__(self, send: Any) -> None:
        self._send = send

    @contextmanager
    def default_dispatcher(self, hostname: str) -> Iterator[SimpleNamespace]:
        assert hostname == "worker@here"
        yield SimpleNamespace(send=self._send)


def teller(send: Any) -> ProgressTeller:
    return ProgressTeller(cast("Celery", SimpleNamespace(events=Events(send))), "worker@here", "job.1")


def test_a_line_reaches_whoever_watches_the_task() -> None:
    told: list[tuple[str, str, str]] = []

    teller(lambda kind, uuid, result, retry: told.append((kind, uuid, result)))("3/5 ok=3")

    await_condition(lambda: told, within=10, what="the event")
    assert told == [("task-progress", "job.1", "3/5 ok=3")]


def test_a_broker_that_hangs_holds_up_nobody_and_is_asked_once() -> None:
    """Guards the thread: leases are renewed by the one that tells."""
    go_on = threading.Event()
    asked: list[int] = []

    def hang(*_: Any, **__: Any) -> None:
        asked.append(1)
        go_on.wait(30)

    tell = teller(hang)
    for _ in range(3):
        tell("1/5 ok=1")
    go_on.set()

    assert len(asked) <= 1


def test_a_broker_that_is_away_ends_nothing() -> None:
    """Guards the ``except``: pytest makes an error of whatever a thread raises."""
    asked: list[int] = []

    def fail(*_: Any, **__: Any) -> None:
        asked.append(1)
        raise OperationalError("away")

    tell = teller(fail)
    tell("1/5 ok=1")
    assert tell._thread is not None
    tell._thread.join(10)

    assert asked == [1]
