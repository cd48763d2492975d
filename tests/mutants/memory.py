"""What keeps memory flat, and what it would be to keep every URL instead."""

from __future__ import annotations

from tests.mutants.guard import Guard

_TEST = "tests/acceptance/test_flat_memory.py::test_twenty_times_as_many_urls_cost_far_less_than_keeping_them"


def _hoard(file: str, text: str, what: str, part: str) -> Guard:
    """Behind ``text``, a statement on a line of its own, keep ``what`` for ever."""
    indented = text[: len(text) - len(text.lstrip())]
    return Guard(
        file, text, (f"{_TEST}[{part}]",), f"{text}{indented}globals().setdefault('kept', []).append({what})\n"
    )


GUARDS = (
    Guard("producer/job/feeder.py", "if self._window and", (f"{_TEST}[Redis]",), "if False and"),
    _hoard("producer/job/follower.py", "        self.live.end(drained)\n", "rows", "the producer"),
    _hoard("worker/batch/runner.py", "        self._turns.remove(turn)\n", "turn", "the worker's pool process"),
)
