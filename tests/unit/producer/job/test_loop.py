"""What a run does from its first batch to its end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from producer.job.loop import work_through


class Follower:
    """Sees the worker close its last batch at the third look."""

    def __init__(self) -> None:
        self.looks = 0
        self.record: Any = None
        self.held_up = ""

    def step(self, *, at_once: bool = False) -> int:
        self.looks += at_once
        self.record = SimpleNamespace(running=max(0, 3 - self.looks))
        return 0

    def wait(self, seconds: float) -> None: ...

    def finish(self) -> None: ...


class Worker:
    """Is busy exiting for as long as it is asked."""

    def __init__(self) -> None:
        self.is_told = False

    def watch(self) -> None: ...

    def ask_worker_to_stop(self) -> None:
        self.is_told = True

    def is_worker_running(self) -> bool:
        return True


def test_an_interrupted_run_ends_once_its_worker_holds_no_batch() -> None:
    """Guards the check of ``running``: Celery's exit takes three seconds more, with nothing left to lose."""
    follower, worker = Follower(), Worker()
    feeder = SimpleNamespace(is_done=False, held_up="", totals={}, is_complete=False)
    nothing = SimpleNamespace(look=lambda _seen: None, examples={}, stage="")
    console = SimpleNamespace(mention=lambda _line: None, exemplify=lambda _examples: None, is_due=lambda: False)

    is_finished = work_through(
        feeder=cast("Any", feeder),
        follower=cast("Any", follower),
        journal=cast("Any", SimpleNamespace(count_uncollected=lambda: 1)),
        console=cast("Any", console),
        interrupts=cast("Any", SimpleNamespace(is_requested=True)),
        observer=cast("Any", nothing),
        halts=cast("Any", nothing),
        embedded=worker,
        grace=5.0,
    )

    assert worker.is_told
    assert not is_finished
    assert follower.looks == 4, "three until it holds nothing, and one for what it closed last"
